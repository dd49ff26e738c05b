//! The calls of one sequence, made by its component instances.

use crate::Error;
use crate::bindings::engine::artisanal::integers::types as wit;
use crate::call_log::CallNotes;
use crate::component::CLAIMS;
use crate::instance::{EngineInstance, Opening};
use crate::metrics::{Operation, SequenceMetrics};
use crate::to_the_end::ToTheEnd;
use artisanal_core::{Driver, Lattice, Span};
use std::pin::Pin;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The upstream of the coalescer: makes the calls of one sequence.
#[derive(Clone)]
pub(crate) struct EngineCalls(Arc<Inner>);

pub(crate) struct Inner {
    pub(super) instances: Instances,
    pub(super) opening: Opening,
    /// The lattice that the first instance returned; later ones have the same configuration.
    pub(crate) lattice: Lattice,
    /// How many calls of each kind may wait.
    pub(crate) queue: usize,
    /// The runtime for calls that several callers share, and for those without callers.
    pub(crate) runtime: Handle,
    pub(super) metrics: SequenceMetrics,
    pub(super) calls: CallNotes,
}

impl std::ops::Deref for EngineCalls {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for slot in 0..self.instances.count() {
            self.instances.at(slot).close(self.opening.id);
        }
    }
}

/// What came of a claim.
pub(crate) struct Claimed {
    pub(crate) result: Result<(), Error>,
    /// The generation after the claim; None if it was not asked for.
    pub(crate) generation: Result<Option<String>, Error>,
}

/// The instances that make the calls of one sequence, each one call at a time. Other sequences may share
/// them.
pub(super) struct Instances {
    pub(super) first: Arc<EngineInstance>,
    pub(super) others: Vec<Arc<EngineInstance>>,
}

impl Instances {
    /// The instance of a slot, counted from 0.
    fn at(&self, slot: usize) -> &EngineInstance {
        slot.checked_sub(1)
            .and_then(|other| self.others.get(other))
            .unwrap_or(&self.first)
    }

    /// How many calls may be in flight at a time.
    fn count(&self) -> usize {
        1 + self.others.len()
    }
}

impl EngineCalls {
    pub(super) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The key of the sequence.
    #[cfg(feature = "serve")]
    pub(super) fn key(&self) -> &str {
        self.opening.key()
    }

    /// Counts a request that failed.
    pub(super) fn refused(&self, error: &Error) {
        self.metrics.refused(error);
    }

    /// Claims, and then asks for the generation if `verified`. One call does both, which takes little longer than the claim.
    pub(super) fn claim(&self, first: i64, last: i64, verified: bool) -> ToTheEnd<Claimed> {
        let calls = self.clone();
        ToTheEnd::new(self.runtime.clone(), |begun| async move {
            let mut generation = Ok(None);
            let call = calls.instances.first.call_begun(
                &calls.opening,
                &begun,
                async |exports, accessor, sequence| {
                    let Some(claims) = &exports.claims else {
                        return Ok(Err(no_claims()));
                    };
                    let claimed = claims.call_claim(accessor, sequence, first, last).await?;
                    if verified && matches!(claimed, Ok(()) | Err(wit::Error::TooSmall(_))) {
                        generation = claims.call_generation(accessor, sequence).await?;
                    }
                    Ok(claimed)
                },
            );
            Claimed {
                result: calls.metrics.count(Operation::Claim, call).await,
                generation: generation.map_err(Error::from),
            }
        })
    }

    pub(super) fn generation(&self) -> ToTheEnd<Result<Option<String>, Error>> {
        let calls = self.clone();
        ToTheEnd::new(self.runtime.clone(), |begun| async move {
            let call = calls.instances.first.call_begun(
                &calls.opening,
                &begun,
                async |exports, accessor, sequence| match &exports.claims {
                    Some(claims) => claims.call_generation(accessor, sequence).await,
                    None => Ok(Err(no_claims())),
                },
            );
            call.await
        })
    }
}

/// The error of a component that is only an engine.
fn no_claims() -> wit::Error {
    wit::Error::Other(format!(
        "this engine can neither carry a node of a quorum nor lease a node number to flakes: it does not export {CLAIMS}"
    ))
}

impl artisanal_core::Upstream for EngineCalls {
    type Call<T: Send + 'static> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

    fn next(&self, slot: usize, count: u32) -> Self::Call<Span> {
        let calls = self.clone();
        Box::pin(async move {
            let instance = calls.instances.at(slot);
            let call = instance.call(&calls.opening, async |exports, accessor, sequence| {
                exports
                    .engine
                    .sequence()
                    .call_next(accessor, sequence, count)
                    .await
            });
            let begun = calls.calls.begin();
            let span = calls.metrics.count(Operation::Next, call).await?;
            let span = Span::checked(span.first, span.step, span.count)
                .filter(|span| calls.lattice.covers(*span))
                .ok_or_else(|| {
                    Error::Broken(format!(
                        "the component returned the impossible span {span:?}"
                    ))
                })?;
            calls.metrics.minted(span);
            calls.calls.note(span, begun);
            Ok(span)
        })
    }

    fn last(&self) -> Self::Call<Option<i64>> {
        let calls = self.clone();
        Box::pin(async move {
            let instance = &calls.instances.first;
            if calls.opening.forgets {
                instance.close(calls.opening.id);
            }
            let call = instance.call(&calls.opening, async |exports, accessor, sequence| {
                exports
                    .engine
                    .sequence()
                    .call_last(accessor, sequence)
                    .await
            });
            let last = calls.metrics.count(Operation::Last, call).await?;
            calls.metrics.reached(last.unwrap_or(0));
            Ok(last)
        })
    }

    fn set_last(&self, value: i64) -> Self::Call<()> {
        let calls = self.clone();
        Box::pin(async move {
            let instance = &calls.instances.first;
            let call = instance.call(&calls.opening, async |exports, accessor, sequence| {
                exports
                    .engine
                    .sequence()
                    .call_set_last(accessor, sequence, value)
                    .await
            });
            calls.metrics.count(Operation::SetLast, call).await?;
            calls.metrics.reached(value);
            Ok(())
        })
    }

    fn slots(&self) -> usize {
        self.instances.count()
    }

    fn spawn(driver: Driver<Self>) {
        // Not the ambient runtime: this may run when a request is dropped outside of any runtime.
        let runtime = driver.upstream().runtime.clone();
        runtime.spawn(driver.run());
    }
}

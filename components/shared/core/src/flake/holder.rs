//! A process that holds a node number on lease.
//!
//! The lease is a claim on time itself: for each node number the backend keeps a mark, which is the last
//! millisecond for which the number is held, and a holder moves that mark in one atomic step, from below the
//! present to some seconds after it. So each pair of a node number and a millisecond belongs to one holder, and
//! flakes of different holders differ whatever their clocks show. A clock decides only which
//! milliseconds a process asks for.

use super::generator::{Generator, Look, Request, Step, Tenure};
use super::layout::Layout;
use crate::{Error, Span};
use futures::lock::Mutex;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For how long a node number is held after a claim. After a crash the number is free again when this has passed.
pub const HOLD: Duration = Duration::from_secs(10);

/// [`HOLD`] in milliseconds.
const HOLD_MS: i64 = HOLD.as_millis() as i64;

/// What a holder needs to know of the time.
pub trait Clock {
    /// The time since the Unix epoch.
    fn now(&self) -> Duration;

    /// Resolves after this time.
    fn sleep(&self, pause: Duration) -> impl Future<Output = ()>;
}

/// The marks of the backend that node numbers are leased from.
pub trait Numbers: Clock {
    /// Sets the mark of a key to `last` if it is below `first` or missing, in one atomic and durable step.
    ///
    /// # Errors
    /// [`Error::TooSmall`] with the mark when that is not below `first`, otherwise any other error. If the outcome is
    /// unknown, the claim may have been made.
    fn claim(&self, key: &str, first: i64, last: i64) -> impl Future<Output = Result<(), Error>>;
}

/// A sequence of flakes with a node number on lease. Any number of calls may share it.
pub struct Holder<N> {
    backend: N,
    layout: Layout,
    /// The key of the sequence, from which those of the marks are derived.
    key: String,
    /// The only node number to hold; None for any.
    only: Option<u32>,
    generator: StdMutex<Generator>,
    claiming: Mutex<Claiming>,
    /// Mints are made one after the other, so that many small ones do not hold up a large one for ever.
    minting: Mutex<()>,
    /// Whether a caller was told to extend the lease, and did not do so yet.
    asked: AtomicBool,
}

/// Held by the call that claims.
#[derive(Default)]
struct Claiming {
    /// Whether all holders of this sequence are known to use the same layout.
    same_layout: bool,
}

/// Integers that were minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The integers.
    pub span: Span,
    /// Whether [`Holder::extend`] is to be run in the background.
    pub ahead: bool,
}

impl<N: Numbers> Holder<N> {
    /// A holder that holds no number yet. `only` is the only number to hold; None for any that is free.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the number does not fit, or when the key leaves no room for those of the
    /// marks.
    pub fn new(backend: N, layout: Layout, key: &str, only: Option<u32>) -> Result<Self, Error> {
        layout.lattice(only.unwrap_or(0))?;
        crate::limits::check_key(&mark_key(key, layout.nodes()))?;
        Ok(Self {
            backend,
            layout,
            key: key.to_owned(),
            only,
            generator: StdMutex::new(Generator::new(layout)),
            claiming: Mutex::default(),
            minting: Mutex::default(),
            asked: AtomicBool::new(false),
        })
    }

    /// Mints `count` integers, 1 to 100 000, within `timeout`.
    ///
    /// # Errors
    /// Those of [`Generator::mint`], and those of the backend while no number is held.
    pub async fn mint(&self, count: u32, timeout: Duration) -> Result<Taken, Error> {
        let mut request = Request::new(count)?;
        let begin = Instant::now();
        let _turn = self.minting.lock().await;
        loop {
            let left = timeout.saturating_sub(begin.elapsed());
            let now = self.backend.now();
            // The guard must not be held while this waits.
            let (step, held) = {
                let mut generator = self.generator();
                let step = generator.mint(now, &mut request, left)?;
                (step, generator.held())
            };
            match step {
                Step::Minted(span) => {
                    // Less than half of the lease is left.
                    let ends_soon = held < HOLD_MS / 2;
                    return Ok(Taken {
                        span,
                        ahead: ends_soon && !self.asked.swap(true, Ordering::AcqRel),
                    });
                }
                Step::Wait(pause) => self.backend.sleep(pause).await,
                Step::Hold(_) if left.is_zero() => {
                    return Err(Error::Unavailable(format!(
                        "no node number could be held within {} ms",
                        timeout.as_millis()
                    )));
                }
                Step::Hold(needed) => self.hold(needed).await?,
            }
        }
    }

    /// Extends the lease before it ends. Run it in the background when [`Taken::ahead`] says so. After a
    /// failure, or if the future is dropped, a later caller is told so.
    ///
    /// # Errors
    /// Those of the backend. The current lease is not affected.
    pub async fn extend(&self) -> Result<(), Error> {
        let _ask_again = AskAgain(&self.asked);
        let needed = self.generator().tenure().map(|tenure| tenure.until + 1);
        match needed {
            Some(needed) => self.hold(needed).await,
            None => Ok(()),
        }
    }

    /// The backend that it leases from.
    pub fn backend(&self) -> &N {
        &self.backend
    }

    /// The key of the mark that tells the layout.
    pub fn layout_key(&self) -> String {
        layout_key(&self.key)
    }

    /// The greatest integer that this holder has minted or was raised to.
    pub fn last(&self) -> Option<i64> {
        self.generator().last()
    }

    /// As [`Generator::raise`].
    ///
    /// # Errors
    /// As [`Generator::raise`].
    pub fn raise(&self, value: i64) -> Result<(), Error> {
        let now = self.backend.now();
        self.generator().raise(now, value)
    }

    /// Holds a number at the time `needed`, in milliseconds since the layout's epoch.
    async fn hold(&self, needed: i64) -> Result<(), Error> {
        let mut claiming = self.claiming.lock().await;
        let (time, held) = {
            let mut generator = self.generator();
            match generator.look(self.backend.now())? {
                Look::Time(time) => (time, generator.tenure()),
                // The caller will wait.
                Look::Behind(_) => return Ok(()),
            }
        };
        if held.is_some_and(|tenure| tenure.until >= needed.max(time)) {
            return Ok(());
        }
        if !claiming.same_layout {
            self.agree_on_layout().await?;
            claiming.same_layout = true;
        }
        let until = needed
            .max(time)
            .saturating_add(HOLD_MS)
            .min(self.layout.length() - 1);
        if let Some(tenure) = held {
            match self.keep(tenure, time, until).await {
                // Somebody else held it in between, or this is the effect of a claim whose reply was lost.
                Err(Error::TooSmall(_)) => self.generator().hold(None),
                kept => return kept,
            }
        }
        self.take(time, until).await
    }

    /// Goes on holding a number.
    async fn keep(&self, tenure: Tenure, time: i64, until: i64) -> Result<(), Error> {
        let first = time.max(tenure.until + 1);
        self.claim(tenure.node, first, until).await?;
        let contiguous = first == tenure.until + 1;
        self.generator().hold(Some(Tenure {
            from: if contiguous { tenure.from } else { first },
            until,
            ..tenure
        }));
        Ok(())
    }

    /// Takes a number that nobody holds.
    async fn take(&self, time: i64, until: i64) -> Result<(), Error> {
        let nodes = self.layout.nodes();
        // Processes that start together begin at different numbers.
        let random = RandomState::new().build_hasher().finish();
        let (begin, tries) = match self.only {
            Some(node) => (node, 1),
            None => {
                let begin = u32::try_from(random % u64::from(nodes)).unwrap_or(0);
                (begin, nodes.min(MAX_TRIES))
            }
        };
        let mut free_at = i64::MAX;
        for node in (0..tries).map(|i| (begin + i) % nodes) {
            match self.claim(node, time, until).await {
                Ok(()) => {
                    let from = time;
                    self.generator().hold(Some(Tenure { node, from, until }));
                    return Ok(());
                }
                Err(Error::TooSmall(mark)) => free_at = free_at.min(mark.saturating_add(1)),
                Err(error) => return Err(error),
            }
        }
        let wait = free_at.saturating_sub(time);
        Err(Error::Unavailable(match self.only {
            Some(node) => format!(
                "the node number {node} is held by another process, for {wait} ms more unless that extends it"
            ),
            None => format!(
                "{tries} of {nodes} node numbers were tried and all are held; one of them is free in {wait} ms"
            ),
        }))
    }

    /// Makes sure that all holders of the sequence use one layout: with different ones they could mint the same
    /// integers.
    async fn agree_on_layout(&self) -> Result<(), Error> {
        let ours = self.layout.fingerprint();
        let claimed = self.backend.claim(&self.layout_key(), 1, ours).await;
        match claimed {
            Err(Error::TooSmall(theirs)) if theirs == ours => Ok(()),
            Err(Error::TooSmall(_)) => Err(Error::Denied(format!(
                "the layout is {}, and the flakes of `{}` in this backend were begun with another one; use that \
                 one, or another key",
                self.layout, self.key
            ))),
            claimed => claimed,
        }
    }

    async fn claim(&self, node: u32, first: i64, last: i64) -> Result<(), Error> {
        self.backend
            .claim(&mark_key(&self.key, node), first, last)
            .await
    }

    fn generator(&self) -> MutexGuard<'_, Generator> {
        self.generator
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many node numbers one call tries.
const MAX_TRIES: u32 = 4096;

/// The key of the mark that tells the layout.
fn layout_key(key: &str) -> String {
    format!("flake-layout:{key}")
}

/// The key of the mark of a node number.
fn mark_key(key: &str, node: u32) -> String {
    format!("flake-node-{node}:{key}")
}

/// Lets a later caller be told to extend the lease.
struct AskAgain<'a>(&'a AtomicBool);

impl Drop for AskAgain<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

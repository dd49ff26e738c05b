//! Holders of leases: sequences that mint from spans that they fetched before.

use crate::sequence::EngineCalls;
use crate::{Error, Sequence};
use artisanal_core::lease::Lease;
use artisanal_core::limits::check_count;
use artisanal_core::{Coalescer, Driver, Span, Upstream};
use std::pin::Pin;
use std::sync::Arc;

impl Sequence {
    /// The same sequence for a new holder of leases: integers are fetched in spans of up to `most` integers, 1 to
    /// 100 000, and minted from memory. Clones of the result are the same holder.
    ///
    /// The next span is fetched in the background when half of the current one is left. Spans begin with what a
    /// call asks for; their size doubles when a span lasts for less than a second and halves when it lasts for more
    /// than a minute. While the backend fails, calls succeed until the integers are used up.
    ///
    /// **Integers of different holders are not in order**: of two holders, the one that mints later may mint the
    /// smaller integers. Those of one holder are in order, and every integer is minted once. A holder obeys
    /// [`Sequence::set_last`] at once if it is called on that holder; what a holder does not mint is a gap.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `most` is out of range.
    pub fn lease(&self, most: u32) -> Result<Self, Error> {
        let calls = self.coalescer.upstream().clone();
        Ok(Self {
            coalescer: self.coalescer.clone(),
            holder: Some(Holder::new(calls, most)?),
        })
    }

    /// Mints `count` integers that this holder has fetched already, without waiting. None if it has too few, if
    /// this sequence has no leases, or if `count` is out of range: [`Sequence::next`] is to be called then.
    #[inline]
    pub fn take(&self, count: u32) -> Option<Span> {
        self.holder.as_ref()?.take(count)
    }

    /// How many integers this holder has fetched and neither minted nor dropped. They are a gap if it ends now.
    pub fn held(&self) -> u64 {
        self.holder.as_ref().map_or(0, Holder::held)
    }

    /// How many integers this holder has fetched and dropped: because the sequence was raised, or because a call
    /// needed more than were left. They are a gap.
    pub fn skipped(&self) -> u64 {
        self.holder.as_ref().map_or(0, Holder::skipped)
    }
}

/// A holder of leases. Clones are the same holder.
///
/// A call first takes from the spans that are there. A call that finds too few integers waits in the coalescer,
/// where one fetch serves all that wait.
#[derive(Clone)]
pub(crate) struct Holder {
    fetches: Fetches,
    waiting: Coalescer<Fetches>,
}

/// Fetches spans; the upstream of the coalescer.
#[derive(Clone)]
struct Fetches {
    lease: Arc<Lease>,
    calls: EngineCalls,
}

impl Holder {
    fn new(calls: EngineCalls, most: u32) -> Result<Self, Error> {
        let lease = Arc::new(Lease::new(calls.lattice, most)?);
        let queue = calls.queue;
        let fetches = Fetches { lease, calls };
        Ok(Self {
            waiting: Coalescer::new(fetches.clone(), queue),
            fetches,
        })
    }

    #[inline]
    fn take(&self, count: u32) -> Option<Span> {
        let taken = self.fetches.lease.take(count)?;
        if taken.ahead {
            self.fetch_ahead();
        }
        Some(taken.span)
    }

    #[inline]
    pub(crate) async fn next(&self, count: u32) -> Result<Span, Error> {
        match self.take(count) {
            Some(span) => Ok(span),
            None => self.waiting.next(check_count(count)?).await,
        }
    }

    pub(crate) async fn set_last(&self, value: i64) -> Result<(), Error> {
        self.waiting.set_last(value).await
    }

    pub(crate) fn after_raise(&self, value: i64, raised: &Result<(), Error>) {
        self.fetches.lease.after_raise(value, raised);
    }

    fn held(&self) -> u64 {
        self.fetches.lease.held()
    }

    fn skipped(&self) -> u64 {
        self.fetches.lease.skipped()
    }

    #[cold]
    fn fetch_ahead(&self) {
        let Fetches { lease, calls } = self.fetches.clone();
        let runtime = calls.runtime.clone();
        runtime.spawn(async move {
            let fetched = lease.ahead(|count| calls.next(0, count)).await;
            if let Err(error) = fetched {
                let left = lease.held();
                tracing::warn!(left, "cannot fetch the next integers yet: {error}");
            }
        });
    }
}

impl Upstream for Fetches {
    type Call<T: Send + 'static> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

    fn next(&self, _slot: usize, count: u32) -> Self::Call<Span> {
        let Self { lease, calls } = self.clone();
        Box::pin(async move { lease.mint(count, |count| calls.next(0, count)).await })
    }

    fn last(&self) -> Self::Call<Option<i64>> {
        self.calls.last()
    }

    fn set_last(&self, value: i64) -> Self::Call<()> {
        let Self { lease, calls } = self.clone();
        Box::pin(async move {
            let raised = calls.set_last(value).await;
            lease.after_raise(value, &raised);
            raised
        })
    }

    fn spawn(driver: Driver<Self>) {
        let runtime = driver.upstream().calls.runtime.clone();
        runtime.spawn(driver.run());
    }
}

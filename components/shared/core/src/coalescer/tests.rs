//! Tests on a multi-threaded runtime, with an upstream whose calls a semaphore releases one by one.

mod batches;
mod faults;
mod leaving;
mod shared;
mod slots;

use super::{Coalescer, Driver, Upstream};
use crate::{Error, Span};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, yield_now};

/// Mints 1, 2, 3, … and lets a call return only when the gate has a permit.
struct Gated {
    gate: Semaphore,
    mark: AtomicI64,
    top: i64,
    costly: bool,
    batch_window: Duration,
    /// If set, a pause before a call lasts until it gets a permit.
    pauses: Option<Semaphore>,
    slots: usize,
    calls: Mutex<Vec<u32>>,
    /// The number of calls of `last`, and the values of `set_last`.
    reads: AtomicUsize,
    raises: Mutex<Vec<i64>>,
    drivers: AtomicUsize,
    /// Outcomes that take precedence over the regular ones.
    script: Mutex<VecDeque<Act>>,
}

enum Act {
    Fail(Error),
    Give(Span),
    Panic,
}

impl Gated {
    fn new(permits: usize) -> Self {
        Self {
            gate: Semaphore::new(permits),
            mark: AtomicI64::new(0),
            top: i64::MAX,
            costly: true,
            batch_window: Duration::ZERO,
            pauses: None,
            slots: 1,
            calls: Mutex::default(),
            reads: AtomicUsize::new(0),
            raises: Mutex::default(),
            drivers: AtomicUsize::new(0),
            script: Mutex::default(),
        }
    }

    fn calls(&self) -> Vec<u32> {
        self.calls.lock().unwrap().clone()
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn raises(&self) -> Vec<i64> {
        self.raises.lock().unwrap().clone()
    }

    fn mark(&self) -> i64 {
        self.mark.load(Ordering::SeqCst)
    }

    fn act(&self, act: Act) {
        self.script.lock().unwrap().push_back(act);
    }
}

impl Gated {
    /// Waits for the gate, then applies the next outcome of the script, if there is one.
    async fn pass(&self) -> Result<Option<Span>, Error> {
        self.gate.acquire().await.unwrap().forget();
        let act = self.script.lock().unwrap().pop_front();
        match act {
            Some(Act::Fail(error)) => Err(error),
            Some(Act::Give(span)) => Ok(Some(span)),
            Some(Act::Panic) => panic!("on purpose"),
            None => Ok(None),
        }
    }

    async fn mint(&self, count: u32) -> Result<Span, Error> {
        self.calls.lock().unwrap().push(count);
        if let Some(span) = self.pass().await? {
            return Ok(span);
        }
        let by = i64::from(count);
        let mark = self
            .mark
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |mark| {
                mark.checked_add(by).filter(|new| *new <= self.top)
            })
            .map_err(|_| Error::Exhausted("full".into()))?;
        Ok(Span::checked(mark + 1, 1, count).unwrap())
    }

    /// Reads the mark as soon as it is called, like a backend whose reply is late.
    async fn read(&self) -> Result<Option<i64>, Error> {
        let mark = self.mark();
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.pass().await?;
        Ok(Some(mark).filter(|mark| *mark > 0))
    }

    async fn raise(&self, value: i64) -> Result<(), Error> {
        self.raises.lock().unwrap().push(value);
        self.pass().await?;
        if value > self.top {
            return Err(Error::Exhausted("full".into()));
        }
        match self.mark.fetch_max(value, Ordering::SeqCst) {
            mark if mark > value => Err(Error::TooSmall(mark)),
            _ => Ok(()),
        }
    }
}

impl Upstream for Arc<Gated> {
    type Call<T: Send + 'static> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

    fn next(&self, _slot: usize, count: u32) -> Self::Call<Span> {
        let upstream = Arc::clone(self);
        Box::pin(async move { upstream.mint(count).await })
    }

    fn last(&self) -> Self::Call<Option<i64>> {
        let upstream = Arc::clone(self);
        Box::pin(async move { upstream.read().await })
    }

    fn set_last(&self, value: i64) -> Self::Call<()> {
        let upstream = Arc::clone(self);
        Box::pin(async move { upstream.raise(value).await })
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn is_costly(&self) -> bool {
        self.costly
    }

    fn batch_window(&self) -> Duration {
        self.batch_window
    }

    fn pause(&self) -> Option<Self::Call<()>> {
        self.pauses.as_ref()?;
        let upstream = Arc::clone(self);
        Some(Box::pin(async move {
            if let Some(pauses) = &upstream.pauses {
                pauses.acquire().await.unwrap().forget();
            }
            Ok(())
        }))
    }

    fn spawn(driver: Driver<Self>) {
        driver.upstream().drivers.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(driver.run());
    }
}

type Subject = Coalescer<Arc<Gated>>;
type Reply = JoinHandle<Result<Span, Error>>;

fn subject(permits: usize, limit: usize) -> (Arc<Gated>, Subject) {
    let upstream = Arc::new(Gated::new(permits));
    (Arc::clone(&upstream), Coalescer::new(upstream, limit))
}

/// The same with this many slots.
fn with_slots(slots: usize, permits: usize, limit: usize) -> (Arc<Gated>, Subject) {
    let upstream = Arc::new(Gated {
        slots,
        ..Gated::new(permits)
    });
    (Arc::clone(&upstream), Coalescer::new(upstream, limit))
}

/// Makes a request in a separate task and returns once it is in the queue.
async fn ask(subject: &Subject, count: u32) -> Reply {
    let before = subject.pending();
    let clone = subject.clone();
    let reply = tokio::spawn(async move { clone.next(count).await });
    until(|| subject.pending() == before + 1).await;
    reply
}

/// Makes a request in a separate task while no other is pending, and returns once its call is in
/// flight.
async fn lead(subject: &Subject, count: u32) -> Reply {
    idle(subject).await;
    let before = subject.upstream().calls().len();
    let reply = ask(subject, count).await;
    until(|| subject.upstream().calls().len() == before + 1).await;
    reply
}

/// Returns once all slots are free, so that the last driver has ended, too.
async fn idle(subject: &Subject) {
    until(|| subject.shared.lock().is_idle()).await;
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        yield_now().await;
    }
}

fn integers(span: &Span) -> Vec<i64> {
    span.iter().collect()
}

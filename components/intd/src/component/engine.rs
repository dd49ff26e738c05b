//! The engine that the component is composed with.

use super::bindings::artisanal::integers::{engine, types};
use super::bindings::wasi::clocks::monotonic_clock;
use crate::Settings;
use artisanal_core::yield_once;
use artisanal_core::{Coalescer, Driver, Error, Lattice, Sequence, Span, Upstream};
use futures::lock::Mutex;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One sequence, shared by all requests of the instance.
pub(super) struct Engine(Coalescer<Remote>);

impl Engine {
    pub(super) fn new(settings: &Settings, key: &str) -> Self {
        let remote = Remote(Rc::new(Inner {
            config: types::Config {
                dsn: settings.dsn.reveal().to_owned(),
                key: key.to_owned(),
                increment: settings.increment,
                offset: settings.offset,
            },
            opened: Mutex::new(None),
            took: Cell::new(Duration::ZERO),
            least: Cell::new(None),
            untimed: Cell::new(0),
        }));
        Self(Coalescer::new(remote, settings.queue_limit))
    }
}

impl Sequence for Engine {
    async fn next(&self, count: u32) -> Result<Span, Error> {
        self.0.next(count).await
    }

    async fn last(&self) -> Result<Option<i64>, Error> {
        self.0.last().await
    }

    async fn set_last(&self, value: i64) -> Result<(), Error> {
        self.0.set_last(value).await
    }

    async fn lattice(&self) -> Result<Lattice, Error> {
        let types::Lattice { increment, offset } = self.0.upstream().0.sequence().await?.lattice();
        Lattice::new(increment, offset).map_err(|_| {
            Error::Broken(format!(
                "the engine returned an invalid lattice: increment {increment}, offset {offset}"
            ))
        })
    }
}

/// The engine's sequence resource, opened by the first request that needs it.
struct Remote(Rc<Inner>);

struct Inner {
    config: types::Config,
    /// Locked while it is being opened. A failure is not cached: the next request tries again.
    opened: Mutex<Option<Rc<engine::Sequence>>>,
    /// The duration of the latest call that was timed.
    took: Cell<Duration>,
    /// About the shortest duration of a call. It rises slowly, since backends can become slower. None before
    /// the first call.
    least: Cell<Option<Duration>>,
    /// How many calls remain before one is timed again.
    untimed: Cell<u32>,
}

/// Roughly the cost of yielding to other requests and waking them again.
const CHEAP: Duration = Duration::from_micros(20);

/// After a cheap call was timed, this many calls are not.
const SAMPLE: u32 = 16;

/// Shorter calls are never waited for: hosts round timers up to a millisecond.
const CONTENDED: Duration = Duration::from_micros(500);

/// The pause before a contended call.
const PAUSE_NANOSECONDS: u64 = 1_000_000;

/// The longest time for which requests gather before a call.
const LONGEST_WINDOW: Duration = Duration::from_millis(250);

/// How often to yield to the host after a call, before its result is returned. Cheap mints do not yield.
///
/// Spin runs a call to its own store in tokio's `block_in_place`, which takes the instance's task off
/// the scheduler until it is polled next. A response sent in that state wakes the connection's task on
/// another thread, where it races with this one for the body: if it wins, it sends the head alone, and
/// without `TCP_NODELAY` the body waits until the client has acknowledged the head. After a yield, the
/// connection's task runs behind this one. The host may use one yield to admit another request, so
/// there are two.
const TURNS: u32 = 2;

impl Inner {
    async fn sequence(&self) -> Result<Rc<engine::Sequence>, Error> {
        let mut opened = self.opened.lock().await;
        if let Some(sequence) = &*opened {
            return Ok(Rc::clone(sequence));
        }
        let sequence = engine::Sequence::open(self.config.clone())
            .await
            .map_err(|error| match Error::from(error) {
                // The server configured this, not the client.
                Error::Invalid(reason) => Error::Misconfigured(reason),
                other => other,
            })?;
        Ok(Rc::clone(opened.insert(Rc::new(sequence))))
    }

    async fn next(&self, count: u32) -> Result<Span, Error> {
        let sequence = self.sequence().await?;
        // Reading the clock twice takes a tenth of the time of a cheap call.
        let untimed = self.untimed.get();
        let result = if untimed > 0 {
            self.untimed.set(untimed - 1);
            sequence.next(count).await
        } else {
            let begin = Instant::now();
            let result = sequence.next(count).await;
            self.note(begin.elapsed());
            self.untimed.set(if self.is_costly() { 0 } else { SAMPLE });
            result
        };
        if self.is_costly() {
            give_way().await;
        }
        let given = result?;
        Span::checked(given.first, given.step, given.count)
            .ok_or_else(|| Error::Broken(format!("the engine returned an invalid span: {given:?}")))
    }

    async fn last(&self) -> Result<Option<i64>, Error> {
        let result = self.sequence().await?.last().await;
        give_way().await;
        result.map_err(Error::from)
    }

    async fn set_last(&self, value: i64) -> Result<(), Error> {
        let result = self.sequence().await?.set_last(value).await;
        give_way().await;
        result.map_err(Error::from)
    }

    fn is_costly(&self) -> bool {
        self.took.get() > CHEAP
    }

    /// Records the duration of a call.
    fn note(&self, took: Duration) {
        self.took.set(took);
        let least = self.least.get().map(|least| took.min(least + least / 16));
        self.least.set(least.or(Some(took)));
    }

    /// Whether the next call probably has to wait for calls of other instances: the latest one took much
    /// longer than the shortest. The calls of a lone client all take about the same time.
    ///
    /// Before the first call nothing is known. Hosts start instances because the others are busy, so
    /// there are probably others; a lone client waits for a new instance anyway.
    fn is_contended(&self) -> bool {
        let took = self.took.get();
        self.least
            .get()
            .is_none_or(|least| took > CONTENDED && took > least * 2)
    }
}

/// Yields to the host.
async fn give_way() {
    for _ in 0..TURNS {
        yield_once().await;
    }
}

impl Upstream for Remote {
    type Call<T: Send + 'static> = Pin<Box<dyn Future<Output = Result<T, Error>>>>;

    fn next(&self, _slot: usize, count: u32) -> Self::Call<Span> {
        let inner = Rc::clone(&self.0);
        Box::pin(async move { inner.next(count).await })
    }

    fn last(&self) -> Self::Call<Option<i64>> {
        let inner = Rc::clone(&self.0);
        Box::pin(async move { inner.last().await })
    }

    fn set_last(&self, value: i64) -> Self::Call<()> {
        let inner = Rc::clone(&self.0);
        Box::pin(async move { inner.set_last(value).await })
    }

    fn is_costly(&self) -> bool {
        self.0.is_costly()
    }

    fn batch_window(&self) -> Duration {
        if self.0.is_costly() {
            (self.0.took.get() / 4).min(LONGEST_WINDOW)
        } else {
            Duration::ZERO
        }
    }

    fn pause(&self) -> Option<Self::Call<()>> {
        self.0.is_contended().then(|| {
            let pause: Self::Call<()> = Box::pin(async {
                monotonic_clock::wait_for(PAUSE_NANOSECONDS).await;
                Ok(())
            });
            pause
        })
    }

    fn spawn(driver: Driver<Self>) {
        wit_bindgen::spawn_local(driver.run());
    }
}

artisanal_core::convert_wit_error!(types::Error);

//! Worker threads: each runs one component instance at a time, which handles requests concurrently.
//!
//! This replaces `wasmtime_wasi_http::handler::ProxyHandler` and is built from the same parts. The
//! difference: `ProxyHandler` starts another instance whenever all existing ones are computing, so under
//! load it ends up with nearly as many instances as requests in flight. Here the number of instances is
//! bounded, and each takes all waiting requests, so that requests of one instance can share a call to a
//! backend.

use super::queue::{Full, Job};
use super::shared::{Shared, Unstarted};
use crate::state::State;
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use wasmtime::component::{Accessor, Func};
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{ExpirationError, Prepared, Proxy};

/// Starts a worker on its own thread.
///
/// Guest code is CPU-bound. On the threads that serve connections it would either block the connections,
/// or be scheduled only once per round of thousands of clients whose requests are merely rejected.
pub(super) fn start(shared: Arc<Shared>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("instance".into())
        .spawn(move || runtime.block_on(work(shared)))
        .map(drop)
}

/// Handles requests, with one instance after another, until the queue is empty and the last instance
/// has reached its idle timeout.
///
/// A retired instance accepts no further requests but may have work left, such as response bodies that
/// clients read slowly. It finishes that work while the next instance runs.
async fn work(shared: Arc<Shared>) {
    let mut instances = JoinSet::new();
    let alone = shared.options.instance_requests == Some(1)
        || shared.options.instance_concurrency == Some(1);
    loop {
        let Some(job) = shared.queue.first(alone) else {
            if shared.queue.leave() {
                break;
            }
            continue;
        };
        let Ok(place) = Arc::clone(&shared.places).acquire_owned().await else {
            break;
        };
        let (retire, retired) = oneshot::channel();
        let shared = Arc::clone(&shared);
        instances.spawn(async move {
            let full = Full::new(&shared.queue, alone);
            lifetime(&shared, job, full, retire).await;
            drop(place);
        });
        // Resolves however the instance ends: its sender is sent to or dropped.
        let _ = retired.await;
        while instances.try_join_next().is_some() {}
    }
    instances.join_all().await;
}

/// Creates an instance, lets it handle `first` and later requests, and drops it.
async fn lifetime(shared: &Shared, first: Job, full: Full<'_>, retire: Retire) {
    let request_timeout = shared.options.request_timeout;
    let (mut store, proxy) = match timeout(request_timeout, shared.instantiate()).await {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => {
            tracing::error!("the component failed to start: {error:#}");
            let _ = first.reply.send(Err(error.context(Unstarted)));
            return;
        }
        Err(_) => {
            tracing::error!("the component did not start within {request_timeout:?}");
            let _ = first.reply.send(Err(ExpirationError.into()));
            return;
        }
    };
    let pulse = Pulse::new();
    let ended = tokio::select! {
        ended = handle(shared, &mut store, &proxy, first, &pulse, full, retire) => ended,
        () = pulse.missed(request_timeout) => {
            Err(wasmtime::format_err!("it blocked all its requests for longer than the request timeout"))
        }
        () = shared.closed.requested() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::error!(
            "the component failed; the next request gets a new instance: {}",
            error.root_cause()
        );
        tracing::debug!("details of the failure: {error:?}");
    }
}

async fn handle(
    shared: &Shared,
    store: &mut Store<State>,
    proxy: &Proxy,
    first: Job,
    pulse: &Pulse,
    full: Full<'_>,
    retire: Retire,
) -> wasmtime::Result<()> {
    let function = match proxy {
        Proxy::P3(guest) => *guest.wasi_http_handler().func_handle().func(),
        Proxy::P2(guest) => *guest.wasi_http_incoming_handler().func_handle().func(),
    };
    let meter = store.data().meter();
    let instance = store.run_concurrent(async |accessor| {
        let jobs = VecDeque::from([first]);
        RunningInstance {
            shared,
            accessor,
            proxy,
            function,
            jobs,
            begun: 0,
            late: false,
            full,
            retire: Some(retire),
        }
        .run(pulse)
        .await
    });
    meter.run(instance).await?
}

/// Signals the worker that its instance accepts no further requests.
type Retire = oneshot::Sender<()>;

/// An instance and its requests.
struct RunningInstance<'a> {
    shared: &'a Shared,
    accessor: &'a Accessor<State>,
    proxy: &'a Proxy,
    function: Func,
    /// Requests taken from the queue but not yet started.
    jobs: VecDeque<Job>,
    /// How many requests were started.
    begun: usize,
    /// Whether a request exceeded its deadline. The guest is still working on it, so this instance gets no
    /// further requests.
    late: bool,
    /// Tells the queue whether this instance is at capacity.
    full: Full<'a>,
    /// Sent once the instance accepts no further requests.
    retire: Option<Retire>,
}

impl Drop for RunningInstance<'_> {
    fn drop(&mut self) {
        self.shared.queue.give_back(&mut self.jobs);
    }
}

impl<'a> RunningInstance<'a> {
    async fn run(&mut self, pulse: &Pulse) -> wasmtime::Result<()> {
        let options = &self.shared.options;
        let (accessor, function) = (self.accessor, self.function);
        let mut running = FuturesUnordered::new();
        loop {
            let room = self.room(running.len());
            if room > 0 {
                self.shared.queue.take(room, &mut self.jobs);
            }
            if !self.jobs.is_empty() && is_ready(accessor, function).await {
                while let Some(job) = self.jobs.pop_front() {
                    match options.request_timeout.checked_sub(job.since.elapsed()) {
                        Some(left) => {
                            let beginning = self.begin(job, left, running.len())?;
                            running.push(beginning);
                        }
                        None => drop(job.reply.send(Err(ExpirationError.into()))),
                    }
                }
            }
            let room = self.room(running.len());
            if self.late || (running.is_empty() && self.jobs.is_empty() && room == 0) {
                self.shared.queue.give_back(&mut self.jobs);
                if let Some(retire) = self.retire.take() {
                    // The worker's next instance will have capacity.
                    self.full.set(false);
                    let _ = retire.send(());
                }
                if running.is_empty() {
                    // Lets the guest finish the work it does after its responses.
                    let _ = timeout(options.request_timeout, rest(accessor)).await;
                    return Ok(());
                }
            }
            if self.retire.is_some() {
                self.full.set(room == 0);
            }
            pulse.beat(!running.is_empty());
            tokio::select! {
                biased;
                Some(in_time) = running.next(), if !running.is_empty() => self.late |= !in_time?,
                () = ready(accessor, function), if !self.jobs.is_empty() => {}
                () = self.shared.queue.pushed(), if room > 0 => {}
                () = idle(accessor, options.idle), if running.is_empty() => return Ok(()),
                () = sleep(options.request_timeout / 4), if !running.is_empty() => {}
            }
        }
    }

    /// How many more requests the instance may take at the moment.
    fn room(&self, running: usize) -> usize {
        let options = &self.shared.options;
        if self.late {
            return 0;
        }
        let ever = options
            .instance_requests
            .unwrap_or(usize::MAX)
            .saturating_sub(self.begun);
        let now = options
            .instance_concurrency
            .unwrap_or(usize::MAX)
            .saturating_sub(running);
        ever.min(now).saturating_sub(self.jobs.len())
    }

    /// Starts a request while `others` are running. The future resolves to whether it was answered in time.
    fn begin(
        &mut self,
        job: Job,
        left: Duration,
        others: usize,
    ) -> wasmtime::Result<impl Future<Output = wasmtime::Result<bool>> + use<'a>> {
        self.begun += 1;
        let (accessor, proxy) = (self.accessor, self.proxy);
        let limits = self.shared.limits();
        let prepared = accessor.with(|mut store| {
            store.data_mut().new_call_among(others, limits);
            Prepared::new(
                store.as_context_mut(),
                proxy,
                job.request,
                WasiHttpView::http,
                job.reply,
            )
        })?;
        let permit = job.permit;
        Ok(async move {
            let in_time = prepared.run(accessor, sleep(left)).await;
            // The guest made progress (with a long response, for example), so the compute budget of the
            // other requests starts again.
            accessor.with(|mut store| store.data_mut().new_call_among(others, limits));
            drop(permit);
            in_time
        })
    }
}

/// Resolves when the guest can be called.
async fn ready(accessor: &Accessor<State>, function: Func) {
    poll_fn(|context| accessor.poll_ready_for_concurrent_call(function, context)).await;
}

async fn is_ready(accessor: &Accessor<State>, function: Func) -> bool {
    poll_fn(|context| {
        Poll::Ready(
            accessor
                .poll_ready_for_concurrent_call(function, context)
                .is_ready(),
        )
    })
    .await
}

/// Resolves when the guest has no tasks left.
async fn rest(accessor: &Accessor<State>) {
    poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
}

/// Resolves `time` after the guest has no tasks left; never if `time` is None.
async fn idle(accessor: &Accessor<State>, time: Option<Duration>) {
    match time {
        None => pending().await,
        Some(time) => {
            rest(accessor).await;
            sleep(time).await;
        }
    }
}

/// A watchdog heartbeat: shows from outside the instance's event loop whether the loop makes progress.
struct Pulse {
    start: Instant,
    /// When the loop last ran, in milliseconds after the start.
    last: AtomicU64,
    /// Whether requests are running, so that the loop is expected to run.
    busy: AtomicBool,
}

impl Pulse {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
            busy: AtomicBool::new(true),
        }
    }

    fn beat(&self, busy: bool) {
        self.last
            .store(millis(self.start.elapsed()), Ordering::Relaxed);
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Resolves when the loop was expected to run but has not for `request_timeout`.
    async fn missed(&self, request_timeout: Duration) {
        // A request that takes exactly `request_timeout` is ended by its own timeout.
        let request_timeout = request_timeout + Duration::from_millis(100);
        loop {
            let since =
                millis(self.start.elapsed()).saturating_sub(self.last.load(Ordering::Relaxed));
            let left = request_timeout.saturating_sub(Duration::from_millis(since));
            match (self.busy.load(Ordering::Relaxed), left.is_zero()) {
                (true, true) => return,
                (true, false) => sleep(left).await,
                (false, _) => sleep(request_timeout).await,
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

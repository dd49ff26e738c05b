//! A sequence in an engine, shared by any number of tasks.

use crate::bindings::engine::artisanal::integers::types as wit;
use crate::bindings::engine::exports::artisanal::integers::engine::Guest;
use crate::bindings::engine::{EngineProvider, EngineProviderPre};
use crate::component::Source;
use crate::network::Grant;
use crate::state::{OVERRUN, Rights, State};
use crate::{Builtin, Error, Host};
use engine_dsn::Dsn;
use intd::{Coalescer, Driver, Lattice, Span};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use wasmtime::component::{Accessor, ResourceAny};

/// How to reach one sequence. Only `dsn` has no default that suits every engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the backend is; empty for the engine's default.
    pub dsn: String,
    /// The name of the sequence: 1 to 128 bytes.
    pub key: String,
    /// The distance between integers; None for 2.
    pub increment: Option<i64>,
    /// The residue class of the integers; None for the engine's default.
    pub offset: Option<i64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dsn: String::new(),
            key: "integers".into(),
            increment: None,
            offset: None,
        }
    }
}

/// A sequence that any number of tasks may share; clones are the same sequence.
///
/// Calls of [`Sequence::next`] that arrive while one is under way are gathered and answered by one
/// round trip to the backend, in the order they arrived.
#[derive(Clone)]
pub struct Sequence {
    coalescer: Coalescer<Worker>,
}

impl Host {
    /// Opens a sequence.
    ///
    /// # Errors
    /// What the engine says of the configuration, [`Error::Misconfigured`] when the component is
    /// no engine or the host cannot give it what it needs, [`Error::Broken`] when it traps.
    pub async fn open(&self, source: Source, config: Config) -> Result<Sequence, Error> {
        let (component, shape) = self.engine_component(&source)?;
        let rights = Rights {
            grant: grant(&source, &config.dsn)?.and(&self.options().allow),
            store: match shape.imports("wasi:keyvalue/") {
                true => Some(self.store()?),
                false => None,
            },
            ..Rights::default()
        };
        let pre = self
            .linker()
            .instantiate_pre(&component)
            .and_then(EngineProviderPre::new)
            .map_err(|e| Error::Misconfigured(format!("{source} does not fit this host: {e:#}")))?;
        let worker = Worker(Arc::new(Inner {
            host: self.clone(),
            pre,
            config: wit::Config {
                dsn: config.dsn,
                key: config.key,
                increment: config.increment,
                offset: config.offset,
            },
            rights,
            runtime: Handle::current(),
            lattice: OnceLock::new(),
            live: Mutex::default(),
        }));
        // A bad configuration must be told now, not at the first mint.
        let live = worker.start().await?;
        let _ = worker.lattice.set(live.lattice);
        *worker.live.lock().await = Some(live);
        Ok(Sequence {
            coalescer: Coalescer::new(worker, self.options().queue),
        })
    }
}

impl Sequence {
    /// Mints `count` integers, 1 to 100 000.
    ///
    /// Dropping the future wastes these integers and disturbs nobody else.
    ///
    /// # Errors
    /// What the engine says, [`Error::Busy`] when too many calls wait, [`Error::Broken`] when the
    /// component trapped or broke its contract. Trying again is right after `Busy`,
    /// `Unavailable` and `Broken`: the component is started anew.
    pub async fn next(&self, count: u32) -> Result<Span, Error> {
        self.coalescer.next(count).await
    }

    /// The greatest integer taken so far; None before the first mint.
    ///
    /// # Errors
    /// As [`Sequence::next`].
    pub async fn last(&self) -> Result<Option<i64>, Error> {
        self.coalescer
            .source()
            .finish(async |worker| {
                worker
                    .call(async |guest, accessor, sequence| {
                        guest.sequence().call_last(accessor, sequence).await
                    })
                    .await
            })
            .await
    }

    /// Raises the sequence so that every later integer is greater than `value`, 0 or more.
    ///
    /// # Errors
    /// [`Error::TooSmall`] with the current value, else as [`Sequence::next`].
    pub async fn set_last(&self, value: i64) -> Result<(), Error> {
        self.coalescer
            .source()
            .finish(async move |worker| {
                worker
                    .call(async move |guest, accessor, sequence| {
                        guest
                            .sequence()
                            .call_set_last(accessor, sequence, value)
                            .await
                    })
                    .await
            })
            .await
    }

    /// Which integers it mints.
    ///
    /// # Errors
    /// As [`Sequence::next`], when the component has to be started anew for it.
    pub async fn lattice(&self) -> Result<Lattice, Error> {
        self.coalescer
            .source()
            .finish(async |worker| {
                let mut slot = worker.live.lock().await;
                if let Some(live) = &*slot {
                    return Ok(live.lattice);
                }
                Ok(slot.insert(worker.start().await?).lattice)
            })
            .await
    }
}

impl intd::Sequence for Sequence {
    fn next(&self, count: u32) -> impl Future<Output = Result<Span, Error>> {
        self.next(count)
    }

    fn last(&self) -> impl Future<Output = Result<Option<i64>, Error>> {
        self.last()
    }

    fn set_last(&self, value: i64) -> impl Future<Output = Result<(), Error>> {
        self.set_last(value)
    }

    fn lattice(&self) -> impl Future<Output = Result<Lattice, Error>> {
        self.lattice()
    }
}

/// A call that runs to its end also when nobody waits for it any more: an instance that is
/// dropped in the middle of a call would have to be started anew, and with it what it remembers.
struct Finish<F: Future<Output: Send> + Send + 'static> {
    call: Option<Pin<Box<F>>>,
    runtime: Handle,
}

impl<F: Future<Output: Send> + Send + 'static> Future for Finish<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(call) = &mut self.call else {
            return Poll::Pending;
        };
        let output = ready!(call.as_mut().poll(context));
        self.call = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Finish<F> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.runtime.spawn(call);
        }
    }
}

/// Owns the instance behind a sequence, and starts another one when it breaks.
#[derive(Clone)]
struct Worker(Arc<Inner>);

struct Inner {
    host: Host,
    pre: EngineProviderPre<State>,
    config: wit::Config,
    rights: Rights,
    /// Where calls are finished that nobody waits for any more.
    runtime: Handle,
    /// What the first instance said; every later one has the same configuration.
    lattice: OnceLock<Lattice>,
    live: Mutex<Option<Live>>,
}

impl std::ops::Deref for Worker {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Whether a span is of the lattice that the component named when it was opened.
fn on(lattice: Lattice, span: &Span) -> bool {
    span.step == lattice.increment
        && span.first % lattice.increment == lattice.offset % lattice.increment
}

/// A running instance with its open sequence.
struct Live {
    store: wasmtime::Store<State>,
    provider: EngineProvider,
    sequence: ResourceAny,
    lattice: Lattice,
}

impl intd::Source for Worker {
    fn next(&self, count: u32) -> impl Future<Output = Result<Span, Error>> {
        self.finish(async move |worker| {
            let span = worker
                .call(async move |guest, accessor, sequence| {
                    guest.sequence().call_next(accessor, sequence, count).await
                })
                .await?;
            Span::checked(span.first, span.step, span.count)
                .filter(|span| {
                    worker
                        .lattice
                        .get()
                        .is_none_or(|lattice| on(*lattice, span))
                })
                .ok_or_else(|| {
                    Error::Broken(format!(
                        "the component answered with the impossible span {span:?}"
                    ))
                })
        })
    }

    fn spawn(driver: Driver<Self>) {
        // Not the ambient one: this may run while a request is dropped outside of it.
        let runtime = driver.source().runtime.clone();
        runtime.spawn(driver.run());
    }
}

impl Worker {
    /// Runs a call of this worker to its end, come what may.
    fn finish<F: Future<Output: Send> + Send + 'static>(
        &self,
        call: impl FnOnce(Self) -> F,
    ) -> Finish<F> {
        Finish {
            call: Some(Box::pin(call(self.clone()))),
            runtime: self.runtime.clone(),
        }
    }

    /// Makes one call of the open sequence, on a fresh instance when there is none.
    ///
    /// An instance that traps, computes too long or does not answer in time is thrown away.
    async fn call<T: Send + 'static>(
        &self,
        call: impl AsyncFnOnce(
            &Guest,
            &Accessor<State>,
            ResourceAny,
        ) -> wasmtime::Result<Result<T, wit::Error>>,
    ) -> Result<T, Error> {
        let mut slot = self.live.lock().await;
        // Taken out, so that a call given up half-way leaves no half-used instance behind.
        let mut live = match slot.take() {
            Some(live) => live,
            None => self.start().await?,
        };
        live.store.data_mut().new_call();
        let Live {
            store,
            provider,
            sequence,
            ..
        } = &mut live;
        let guest = provider.artisanal_integers_engine();
        let answer = within(
            self.host.options().patience,
            store.run_concurrent(async |accessor| call(guest, accessor, *sequence).await),
        )
        .await?;
        *slot = Some(live);
        answer.map_err(|error| self.told(error))
    }

    /// Instantiates the component and opens the sequence.
    async fn start(&self) -> Result<Live, Error> {
        let mut store = State::store(
            self.host.engine(),
            &self.rights,
            self.host.limits(),
            self.host.client(),
        );
        let started = async {
            let provider = self.pre.instantiate_async(&mut store).await?;
            let guest = provider.artisanal_integers_engine();
            let opened = store
                .run_concurrent(async |accessor| {
                    let sequence = match guest
                        .sequence()
                        .call_open(accessor, self.config.clone())
                        .await?
                    {
                        Ok(sequence) => sequence,
                        Err(error) => return Ok(Err(error)),
                    };
                    Ok(Ok((
                        sequence,
                        guest.sequence().call_lattice(accessor, sequence).await?,
                    )))
                })
                .await?;
            opened.map(|opened| (provider, opened))
        };
        let (provider, opened) =
            within(self.host.options().patience, async { Ok(started.await) }).await?;
        let (sequence, lattice) = opened.map_err(|error| self.told(error))?;
        if lattice.increment < 1 || lattice.offset < 0 {
            return Err(Error::Broken(format!(
                "the component named the impossible lattice {lattice:?}"
            )));
        }
        let lattice = Lattice {
            increment: lattice.increment,
            offset: lattice.offset,
        };
        Ok(Live {
            store,
            provider,
            sequence,
            lattice,
        })
    }

    /// What the engine said, with what the host knows better: that it was kept from an address.
    fn told(&self, error: wit::Error) -> Error {
        match (error.into(), self.rights.grant.take_refusal()) {
            (Error::Unavailable(_) | Error::Denied(_) | Error::Other(_), Some(refusal)) => {
                Error::Denied(refusal)
            }
            (error, _) => error,
        }
    }
}

/// Waits for a call: for its answer, a trap, or the end of patience.
async fn within<T>(
    patience: std::time::Duration,
    call: impl Future<Output = wasmtime::Result<wasmtime::Result<T>>>,
) -> Result<T, Error> {
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(error)) | Err(error)) => Err(trapped(&error)),
        Err(_) => Err(Error::Broken(format!(
            "the component did not answer within {} s; it was stopped",
            patience.as_secs()
        ))),
    }
}

/// The error for a component that did not end its call in order.
fn trapped(error: &wasmtime::Error) -> Error {
    let text = format!("{error:#}");
    match text.contains(OVERRUN) {
        true => Error::Broken(format!("{}; it was stopped", error.root_cause())),
        false => Error::Broken(format!("the component trapped: {}", error.root_cause())),
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Invalid(text) => Self::Invalid(text),
            wit::Error::TooSmall(current) => Self::TooSmall(current),
            wit::Error::Exhausted(text) => Self::Exhausted(text),
            wit::Error::Denied(text) => Self::Denied(text),
            wit::Error::Unavailable(text) => Self::Unavailable(text),
            wit::Error::Other(text) => Self::Other(text),
        }
    }
}

/// The addresses that a DSN names, as seen by the engine that will read it.
pub(crate) fn grant(source: &Source, dsn: &str) -> Result<Grant, Error> {
    let builtin = match source {
        Source::Builtin(engine) => Some(*engine),
        Source::File(_) => None,
    };
    let parsed = match dsn {
        "" => None,
        text => Some(
            text.parse::<Dsn>()
                .map_err(|e| Error::Invalid(e.to_string()))?,
        ),
    };
    let mut addresses = parsed
        .as_ref()
        .map(|dsn| dsn.addresses().to_vec())
        .unwrap_or_default();
    let Some(engine) = builtin else {
        let scheme = parsed.as_ref().map_or("", Dsn::scheme);
        let ports = ports_of(scheme);
        if addresses.is_empty() && scheme == "mysql" {
            addresses.extend(Builtin::Mysql.default_address());
        }
        // What names no port and has none by default is no address, but the name of a bucket.
        addresses.retain(|address| address.port.is_some() || !ports.is_empty());
        return Ok(Grant::new(&addresses, ports, false));
    };
    let Some(port) = engine.port() else {
        return Ok(Grant::default());
    };
    if addresses.is_empty() {
        addresses.extend(engine.default_address());
    }
    Ok(Grant::new(&addresses, &[port], engine.redirects()))
}

/// The ports that a scheme stands for where the engine behind it is not known: it may be in a
/// composed component, and one of ours.
fn ports_of(scheme: &str) -> &'static [u16] {
    match scheme {
        "redis" | "rediss" => &[6379, 7481],
        "mysql" | "mariadb" => &[3306],
        "http" => &[80, 4001],
        "https" => &[443, 4001],
        "postgres" | "postgresql" => &[5432],
        _ => &[],
    }
}

impl From<Builtin> for Source {
    fn from(engine: Builtin) -> Self {
        Self::Builtin(engine)
    }
}

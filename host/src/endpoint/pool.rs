//! A component that is an HTTP endpoint, ready to be called.

use super::queue::{Job, Queue};
use super::shared::{Shared, Unstarted};
use super::worker::start;
use crate::serve::Shutdown;
use crate::wasi::config::ConfigStore;
use crate::{Error, Host, Source};
use futures::channel::oneshot;
use http::{Request, Response};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::handler::{ExpirationError, ProxyPre};
use wasmtime_wasi_http::p2::bindings::ProxyPre as P2Pre;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode as P2Code;
use wasmtime_wasi_http::p3::bindings::ServicePre as P3Pre;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode as P3Code;

/// What an endpoint is given, and how its instances are used.
///
/// A component of `wasi:http@0.3` handles many requests at a time, so one instance is the default.
/// One of `wasi:http@0.2` handles one, and many of them are made for no more than that, so it gets
/// as many instances as requests by default, and each is thrown away after its request.
#[derive(Clone)]
#[non_exhaustive]
pub struct EndpointOptions {
    /// What the component reads from `wasi:config/store`. It may open the addresses that the DSN
    /// under `dsn` names.
    pub settings: BTreeMap<String, String>,
    /// The most instances that take requests; as many may finish beside them. Default: 1, or 32 for `wasi:http@0.2`.
    pub instances: Option<usize>,
    /// After how many requests an instance is thrown away. Default: never, or 1.
    pub instance_requests: Option<usize>,
    /// How many requests one instance handles at a time. Default: all, or 1.
    pub instance_concurrency: Option<usize>,
    /// How long an instance without requests is kept. Default: for ever.
    pub idle: Option<Duration>,
    /// How long one request may take. Default 30 s.
    pub patience: Duration,
    /// The most requests in flight; [`Error::Busy`] for further ones. Those whose clients went away are
    /// in flight until the component is done with them. Default 4096.
    pub requests: usize,
}

impl EndpointOptions {
    /// How many instances a component of `wasi:http@0.2` has by default.
    pub const INSTANCES: usize = 32;
}

impl Default for EndpointOptions {
    fn default() -> Self {
        Self {
            settings: BTreeMap::new(),
            instances: None,
            instance_requests: None,
            instance_concurrency: None,
            idle: None,
            patience: Duration::from_secs(30),
            requests: 4096,
        }
    }
}

/// The settings may hold secrets.
impl fmt::Debug for EndpointOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointOptions")
            .field("settings", &self.settings.keys())
            .field("instances", &self.instances)
            .finish_non_exhaustive()
    }
}

/// A component that answers HTTP requests. Clones share its instances, which end with the last
/// clone.
#[derive(Clone)]
pub struct Endpoint(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.closed.begin();
    }
}

impl Host {
    /// Prepares a component that exports `wasi:http/handler@0.3` or
    /// `wasi:http/incoming-handler@0.2` to be served. Instances are made when requests come.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] when it exports neither, imports what this host does not have or
    /// cannot give it; [`Error::Invalid`] when the DSN among the settings is wrong.
    pub fn endpoint(
        &self,
        source: &Source,
        mut options: EndpointOptions,
    ) -> Result<Endpoint, Error> {
        let (component, shape) = self.http_component(source)?;
        let dsn = options.settings.get("dsn").map_or("", String::as_str);
        let settings = ConfigStore::new(options.settings.clone());
        let rights = self.rights(source, &shape, dsn, settings)?;
        let unfit = |error: wasmtime::Error| {
            Error::Misconfigured(format!("{source} does not fit this host: {error:#}"))
        };
        let instance = self.linker().instantiate_pre(&component).map_err(unfit)?;
        let pre = match P3Pre::new(instance.clone()) {
            Ok(pre) => ProxyPre::P3(pre),
            Err(_) => ProxyPre::P2(P2Pre::new(instance).map_err(unfit)?),
        };
        if let ProxyPre::P2(_) = pre {
            options.instances.get_or_insert(EndpointOptions::INSTANCES);
            options.instance_requests.get_or_insert(1);
            options.instance_concurrency = Some(1);
        }
        let places = options.instances.unwrap_or(1).saturating_mul(2);
        let places = places.clamp(2, Semaphore::MAX_PERMITS);
        let in_flight = options.requests.min(Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            host: self.clone(),
            pre,
            rights,
            options,
            queue: Queue::default(),
            closed: Shutdown::new(),
            places: Arc::new(Semaphore::new(places)),
            in_flight: Arc::new(Semaphore::new(in_flight)),
        });
        Ok(Endpoint(Arc::new(Handle(shared))))
    }
}

impl Endpoint {
    fn start_worker(&self) {
        let shared = &self.0.0;
        if let Err(error) = start(Arc::clone(shared)) {
            tracing::error!(%error, "no thread for an instance");
            for job in shared.queue.not_started() {
                let _ = job.reply.send(Err(wasmtime::Error::from(Unstarted)));
            }
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many requests are in flight, [`Error::Unavailable`] when the answer
    /// did not begin in time, [`Error::Broken`] when the component trapped or could not be started,
    /// [`Error::Other`] when it answered with an error of `wasi:http`.
    pub async fn call(&self, request: Request<WasiBody>) -> Result<Response<WasiBody>, Error> {
        let shared = &self.0.0;
        let Ok(permit) = Arc::clone(&shared.in_flight).try_acquire_owned() else {
            return Err(Error::Busy);
        };
        // Before the channel, so that the queue sees that nobody listens to it any more.
        let mut waiting = Waiting(Some(&shared.queue));
        let (reply, answer) = oneshot::channel();
        let job = Job {
            request,
            reply,
            since: Instant::now(),
            permit,
        };
        if shared
            .queue
            .push(job, shared.options.instances.unwrap_or(1))
        {
            self.start_worker();
        }
        let answer = answer.await;
        waiting.0 = None;
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is::<ExpirationError>() => Err(Error::Unavailable(format!(
                "the component did not answer within {:?}",
                shared.options.patience
            ))),
            Ok(Err(error)) if error.is::<Unstarted>() => Err(Error::Broken(
                "the component does not start; the server's log tells why".into(),
            )),
            Ok(Err(error)) if error.is::<P2Code>() || error.is::<P3Code>() => {
                Err(Error::Other(format!(
                    "the component answered with an error: {}",
                    error.root_cause()
                )))
            }
            Ok(Err(error)) => Err(Error::Broken(format!(
                "the component broke while it handled this request: {}",
                error.root_cause()
            ))),
            Err(_) => Err(Error::Broken(
                "the component broke while it handled this request".into(),
            )),
        }
    }
}

/// A request whose client may go away before there is an answer.
struct Waiting<'a>(Option<&'a Queue>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(queue) = self.0 {
            queue.abandon();
        }
    }
}

//! A component that is an HTTP endpoint, with a pool of instances.

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

/// The settings and limits of an endpoint and its instances.
///
/// A `wasi:http@0.3` component handles many requests concurrently, so the default is one instance. A
/// `wasi:http@0.2` component handles one request at a time, and many such components are written to be
/// used only once. So by default each request gets a fresh instance, up to [`EndpointOptions::INSTANCES`]
/// at a time.
#[derive(Clone)]
#[non_exhaustive]
pub struct EndpointOptions {
    /// The settings that the component reads from `wasi:config/store`. It may connect to the addresses in
    /// the DSN under `dsn`.
    pub settings: BTreeMap<String, String>,
    /// The maximum number of instances that accept requests; as many again may be finishing old ones.
    /// Default: 1, or 32 for `wasi:http@0.2`.
    pub instances: Option<usize>,
    /// After how many requests an instance is replaced. Default: never, or 1 for `wasi:http@0.2`.
    pub instance_requests: Option<usize>,
    /// How many requests one instance handles concurrently. Default: unlimited, or 1 for `wasi:http@0.2`.
    pub instance_concurrency: Option<usize>,
    /// The idle timeout: how long an instance without requests is kept. Default: forever.
    pub idle: Option<Duration>,
    /// The timeout of one request. Default 30 s.
    pub request_timeout: Duration,
    /// The maximum number of requests in flight; further ones fail with [`Error::Busy`]. A request whose
    /// client disconnected counts until the component has finished it. Default 4096.
    pub requests: usize,
}

impl EndpointOptions {
    /// The default number of instances of a `wasi:http@0.2` component.
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
            request_timeout: Duration::from_secs(30),
            requests: 4096,
        }
    }
}

/// Shows only the names of the settings, since their values may be secrets.
impl fmt::Debug for EndpointOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointOptions")
            .field("settings", &self.settings.keys())
            .field("instances", &self.instances)
            .finish_non_exhaustive()
    }
}

/// A component that answers HTTP requests. Clones share its instances, which are stopped when the last
/// clone is dropped.
#[derive(Clone)]
pub struct Endpoint(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.closed.begin();
    }
}

impl Host {
    /// Prepares to serve a component that exports `wasi:http/handler@0.3` or
    /// `wasi:http/incoming-handler@0.2`. Instances are created when requests arrive.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] when the component exports neither interface, or imports one that this host
    /// does not have or cannot provide; [`Error::Invalid`] when the DSN in the settings is invalid.
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
            Error::Misconfigured(format!("{source} cannot run on this host: {error:#}"))
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
            tracing::error!(%error, "cannot start a thread for an instance");
            for job in shared.queue.not_started() {
                let _ = job.reply.send(Err(wasmtime::Error::from(Unstarted)));
            }
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many requests are in flight, [`Error::Unavailable`] when the response did
    /// not start in time, [`Error::Broken`] when the component trapped or could not be started,
    /// [`Error::Other`] when it returned a `wasi:http` error.
    pub async fn call(&self, request: Request<WasiBody>) -> Result<Response<WasiBody>, Error> {
        let shared = &self.0.0;
        let Ok(permit) = Arc::clone(&shared.in_flight).try_acquire_owned() else {
            return Err(Error::Busy);
        };
        // Created before the channel and thus dropped after it, so that the queue sees the closed receiver.
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
                shared.options.request_timeout
            ))),
            Ok(Err(error)) if error.is::<Unstarted>() => Err(Error::Broken(
                "the component failed to start; see the server's log".into(),
            )),
            Ok(Err(error)) if error.is::<P2Code>() || error.is::<P3Code>() => Err(Error::Other(
                format!("the component returned an error: {}", error.root_cause()),
            )),
            Ok(Err(error)) => Err(Error::Broken(format!(
                "the component failed while it handled this request: {}",
                error.root_cause()
            ))),
            Err(_) => Err(Error::Broken(
                "the component failed while it handled this request".into(),
            )),
        }
    }
}

/// Guards a pending request: if it is dropped before the response, the request counts as canceled.
struct Waiting<'a>(Option<&'a Queue>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(queue) = self.0 {
            queue.abandon();
        }
    }
}

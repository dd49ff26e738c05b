//! Asks other members what this one cannot answer.

mod headers;
mod kind;

pub(crate) use headers::{FORWARDED, NOT_HELD, said_by};
pub(crate) use kind::{Call, Kind, Web};

use super::placement::OWNERS;
use super::view::View;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// How long a connection to a member may take.
pub(super) const DIAL: Duration = Duration::from_secs(1);

/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(60);

/// How many connections that nobody uses are kept for each member.
const CONNECTIONS: usize = 32;

/// The client of other members.
type Http = Client<HttpConnector, Full<Bytes>>;

/// A question, as a client asked it.
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
    /// Those of the client.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The client.
    pub(crate) by: String,
    /// Whether it changes nothing, so that it can be asked again after a failure.
    pub(crate) repeatable: bool,
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Nobody was found who holds the partition, and nothing was done.
    Nobody,
    /// A member was asked, and its answer was lost: what was to be done is done or not.
    Lost,
}

/// What became of questions.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Those that a member answered.
    pub(crate) answered: AtomicU64,
    /// Those for which no member was found.
    pub(crate) nobody: AtomicU64,
    /// Those whose answer was lost.
    pub(crate) lost: AtomicU64,
    /// Attempts after which another member was asked.
    pub(crate) repeated: AtomicU64,
}

/// Why one member did not answer.
enum Failed {
    /// It did nothing.
    Nothing,
    /// Nobody knows what it did.
    Unknown,
}

/// Asks members.
pub(super) struct Forwarder {
    http1: Http,
    http2: Http,
    patience: Duration,
    counts: Counts,
}

impl Forwarder {
    pub(super) fn new(patience: Duration) -> Self {
        let client = |http2| {
            let mut connector = HttpConnector::new();
            connector.set_connect_timeout(Some(DIAL));
            connector.set_nodelay(true);
            Client::builder(TokioExecutor::new())
                .http2_only(http2)
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(CONNECTIONS)
                .build(connector)
        };
        Self {
            http1: client(false),
            http2: client(true),
            patience,
            counts: Counts::default(),
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Asks a member that holds the partition, and another one if it does not answer.
    pub(super) async fn ask<K: Kind>(
        &self,
        view: &View,
        partition: u16,
        question: &Question,
    ) -> Result<Response<K::Body>, Unanswered> {
        let mut busy = None;
        let mut unanswered = Unanswered::Nobody;
        let holders = view.holders(partition).into_iter().take(OWNERS);
        for (nth, member) in holders.enumerate() {
            let Some(address) = &member.address else {
                continue;
            };
            if nth > 0 {
                self.counts.repeated.fetch_add(1, Ordering::Relaxed);
            }
            match self.attempt::<K>(address, question).await {
                Ok(answer) if question.repeatable && K::elsewhere(&answer) => busy = Some(answer),
                Ok(answer) => {
                    self.counts.answered.fetch_add(1, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(Failed::Nothing) => {}
                Err(Failed::Unknown) if question.repeatable => {}
                Err(Failed::Unknown) => {
                    unanswered = Unanswered::Lost;
                    break;
                }
            }
            tracing::debug!(member = member.name, partition, "a member did not answer");
        }
        if let (Some(answer), Unanswered::Nobody) = (busy, unanswered) {
            self.counts.answered.fetch_add(1, Ordering::Relaxed);
            return Ok(answer);
        }
        self.count(unanswered);
        Err(unanswered)
    }

    /// Counts what has no answer.
    pub(super) fn count(&self, unanswered: Unanswered) {
        let count = match unanswered {
            Unanswered::Nobody => &self.counts.nobody,
            Unanswered::Lost => &self.counts.lost,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks one member.
    async fn attempt<K: Kind>(
        &self,
        address: &Uri,
        question: &Question,
    ) -> Result<Response<K::Body>, Failed> {
        let mut uri = address.clone().into_parts();
        uri.path_and_query = Some(question.target.clone());
        let uri = Uri::from_parts(uri).map_err(|_| Failed::Nothing)?;
        let mut request = Request::new(Full::new(question.body.clone()));
        *request.method_mut() = question.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers::of_request(&question.headers, K::HTTP2);
        let by = HeaderValue::try_from(&question.by);
        let by = by.unwrap_or(HeaderValue::from_static("unknown"));
        request.headers_mut().insert(FORWARDED, by);
        let client = if K::HTTP2 { &self.http2 } else { &self.http1 };
        if K::HTTP2 {
            *request.version_mut() = http::Version::HTTP_2;
        }
        let asking = async {
            let answer = client.request(request).await.map_err(|error| {
                tracing::debug!(%error, %address, "a member cannot be asked");
                if error.is_connect() {
                    Failed::Nothing
                } else {
                    Failed::Unknown
                }
            })?;
            if answer
                .headers()
                .get(FORWARDED)
                .is_some_and(|value| value == NOT_HELD)
            {
                return Err(Failed::Nothing);
            }
            let (mut head, body) = answer.into_parts();
            head.headers = headers::of_answer(&head.headers);
            K::take(head, body).await.ok_or(Failed::Unknown)
        };
        timeout(self.patience, asking)
            .await
            .unwrap_or(Err(Failed::Unknown))
    }
}

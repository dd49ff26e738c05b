//! An HTTP client without TLS, for tests. The accessors of an answer assert: they panic when it is another one.

use crate::error::{Error, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;

/// The timeout of one request. It is long because tests that expect a fast response check that themselves.
const LIMIT: Duration = Duration::from_secs(60);

/// The response of a server.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub body: String,
}

impl Answer {
    /// The value of a header; empty when the header is missing or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("not JSON ({e}), status {}: {}", self.status, self.body))
    }

    /// The body as an integer.
    ///
    /// # Panics
    /// When it is not an integer, or the status is not 200.
    pub fn integer(&self) -> i64 {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
            .parse()
            .unwrap_or_else(|e| panic!("not an integer ({e}): {}", self.body))
    }
}

/// A client with a connection pool, which clones share.
#[derive(Clone)]
pub struct Client(Pool<HttpConnector, Full<Bytes>>);

impl Default for Client {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Pool::builder(TokioExecutor::new()).build(connector))
    }
}

impl Client {
    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// [`Error::Refused`] when the request fails or takes longer than a minute.
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer> {
        let uri: Uri = url.parse().map_err(Error::refused(url, method))?;
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::from(body.to_owned()))
            .map_err(Error::refused(url, method))?;
        let exchange = async {
            let answer = self.0.request(request).await.map_err(|e| chain(&e))?;
            let (parts, body) = answer.into_parts();
            let bytes = body.collect().await.map_err(|e| chain(&e))?.to_bytes();
            Ok::<_, String>(Answer {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: String::from_utf8_lossy(&bytes).into_owned(),
            })
        };
        match tokio::time::timeout(LIMIT, exchange).await {
            Ok(answer) => answer.map_err(Error::refused(url, method)),
            Err(_) => {
                let why = format!("no answer within {LIMIT:?}");
                Err(Error::refused(url, method)(why))
            }
        }
    }
}

/// Sends a request on a new connection and waits for the response.
///
/// # Errors
/// As [`Client::send`].
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
    let exchange = || crate::runtime::run(Client::default().send(method, url, headers, body));
    match tokio::runtime::Handle::try_current() {
        Err(_) => exchange(),
        // The caller runs inside a runtime, where `block_on` would panic, so another thread does it.
        Ok(_) => std::thread::scope(|scope| scope.spawn(exchange).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

/// Sends a GET request.
///
/// # Errors
/// As [`Client::send`].
pub fn get(url: &str) -> Result<Answer> {
    request("GET", url, &[], "")
}

/// The message of an error and its sources; hyper's own message is only "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(source) => format!("{error}: {}", chain(source)),
    }
}

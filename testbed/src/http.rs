//! A client for HTTP over plain TCP, for tests.

use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;

/// How long one exchange may take. Long: tests say themselves what they expect to be quick.
const LIMIT: Duration = Duration::from_secs(60);

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, which is text everywhere here.
    pub body: String,
}

impl Answer {
    /// A header's value; empty when there is none or it is no text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("not JSON ({e}), status {}: {}", self.status, self.body))
    }

    /// The body as an integer.
    ///
    /// # Panics
    /// When it is none, or the status is not 200.
    pub fn integer(&self) -> i64 {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
            .parse()
            .unwrap_or_else(|e| panic!("not an integer ({e}): {}", self.body))
    }
}

/// A client that keeps connections open. Clones share them.
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
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When there is no answer, or none within a minute, with the reason.
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, String> {
        let uri: Uri = url.parse().map_err(|e| format!("{url}: {e}"))?;
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::from(body.to_owned()))
            .map_err(|e| format!("{method} {url}: {e}"))?;
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
            Ok(answer) => answer.map_err(|e| format!("{method} {url}: {e}")),
            Err(_) => Err(format!("{method} {url}: no answer within {LIMIT:?}")),
        }
    }
}

/// Sends a request on a connection of its own and waits for the answer.
///
/// # Errors
/// As [`Client::send`].
pub fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer, String> {
    let exchange = || crate::runtime::run(Client::default().send(method, url, headers, body));
    match tokio::runtime::Handle::try_current() {
        Err(_) => exchange(),
        // The caller is a test that runs a future and may wait, but not in the runtime's name.
        Ok(_) => std::thread::scope(|scope| scope.spawn(exchange).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

/// Gets a page.
///
/// # Errors
/// As [`Client::send`].
pub fn get(url: &str) -> Result<Answer, String> {
    request("GET", url, &[], "")
}

/// An error with its causes: hyper's own says only "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(source) => format!("{error}: {}", chain(source)),
    }
}

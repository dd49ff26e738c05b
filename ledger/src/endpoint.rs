//! What a server of HTTP and WebSockets on one port serves.

use crate::api::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Answers requests, and runs WebSockets. It does no I/O with clients itself: a server reads requests and writes the
/// answers. Clones are the same endpoint.
pub trait Endpoint: Clone + Send + Sync + 'static {
    /// What runs on a connection after it became a WebSocket.
    type Session: Session;

    /// The maximum length of the body of a request with this method, in bytes; 0 if it is not read.
    fn body_bytes(method: &Method) -> usize;

    /// Answers a request of the client at the address `by`.
    fn handle(
        &self,
        request: &Parts,
        body: Bytes,
        by: &str,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// The answer to a request for a WebSocket, and the session to run on the connection after it. None if the request
    /// asks for no WebSocket.
    fn upgrade(
        &self,
        request: &Parts,
        by: &Arc<str>,
    ) -> Option<(Response<Body>, Option<Self::Session>)>;
}

/// A WebSocket.
pub trait Session: Send + 'static {
    /// Runs on the upgraded connection until it ends.
    fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(
        self,
        stream: S,
    ) -> impl Future<Output = ()> + Send;
}

//! How requests reach the nodes.
//!
//! The build with the feature `sockets` is for hosts that let the component open sockets and look up names, as `int-host`
//! does. A mint takes a request to every node, so what a request costs the client counts several times.

#[cfg(feature = "sockets")]
pub(crate) use engine_http_client::Connections as Transport;

#[cfg(not(feature = "sockets"))]
use {
    engine_http_client::{Answer, Failure, Quoter, Request},
    std::time::Duration,
};

/// Requests over `wasi:http`, for every host.
#[cfg(not(feature = "sockets"))]
#[derive(Default)]
pub(crate) struct Transport(());

#[cfg(not(feature = "sockets"))]
impl Transport {
    /// As [`Request::send`].
    ///
    /// # Errors
    /// As [`Request::send`].
    pub(crate) async fn send(
        &self,
        request: &Request<'_>,
        limit: Duration,
        most: usize,
        quoter: &Quoter,
    ) -> Result<Answer, Failure> {
        request.send(limit, most, quoter).await
    }
}

//! What a server counts: its answers and its connections.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

/// What a server counts.
#[derive(Clone)]
pub(crate) struct ServerMetrics {
    /// The most frequent of `requests`.
    pub(super) ok: IntCounter,
    pub(super) requests: IntCounterVec,
    pub(super) connections: IntCounter,
    pub(super) open: IntGauge,
    pub(super) handshakes: IntCounterVec,
}

impl ServerMetrics {
    /// Counts a request that was answered with this status.
    pub(crate) fn answered(&self, status: http::StatusCode) {
        if status == http::StatusCode::OK {
            self.ok.inc();
        } else {
            self.requests.with_label_values(&[status.as_str()]).inc();
        }
    }

    /// Counts a TLS handshake that failed for one of a few reasons.
    pub(crate) fn handshake_failed(&self, reason: &'static str) {
        self.handshakes.with_label_values(&[reason]).inc();
    }

    /// Counts a connection, which is open until the result is dropped.
    pub(crate) fn connected(&self) -> Connected {
        self.connections.inc();
        self.open.inc();
        Connected(self.open.clone())
    }
}

/// An open connection.
pub(crate) struct Connected(IntGauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

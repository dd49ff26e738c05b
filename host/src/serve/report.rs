//! Why requests failed, in the log.

use ::http::Extensions;
use intd::{Cause, LogLimiter};

/// How many lines may be written at once; then there is another one every five seconds. When a
/// backend is away, every client that comes causes one.
const BURST: u32 = 16;

/// Tells the causes of errors that clients are not told.
pub(crate) struct Report {
    /// Whether each is told. They are where each request is logged anyway.
    all: bool,
    limiter: LogLimiter,
}

impl Report {
    pub(crate) fn new(log_requests: bool) -> Self {
        Self {
            all: log_requests,
            limiter: LogLimiter::with_burst(BURST),
        }
    }

    /// Logs the cause that a response carries, if it does.
    pub(crate) fn tell(&self, extensions: &Extensions) {
        let Some(Cause { id, code, text }) = extensions.get::<Cause>() else {
            return;
        };
        let others = if self.all {
            Some(0)
        } else {
            self.limiter.allow()
        };
        if let Some(others) = others {
            tracing::warn!(
                request_id = id.as_str(),
                code,
                reason = text.as_str(),
                suppressed = (others > 0).then_some(others),
                "a request failed"
            );
        }
    }
}

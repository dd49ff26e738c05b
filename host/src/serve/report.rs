//! The log of raises, and the rate-limited log of failed requests.

use ::http::Extensions;
use intd::{Cause, LogLimiter, Raised};

/// How many lines may be logged in a burst; after that, one every five seconds. When a backend is
/// unreachable, every request would cause a line.
const BURST: u32 = 16;

/// Logs the causes of errors, which clients do not see.
pub(crate) struct Report {
    /// Whether every cause is logged, as is the case when every request is logged anyway.
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

    /// Whether every request is logged.
    pub(crate) fn logs_requests(&self) -> bool {
        self.all
    }

    /// Logs what a response's extensions say: the cause of an error, or that a sequence was raised.
    pub(crate) fn tell(&self, extensions: &Extensions) {
        if let Some(cause) = extensions.get::<Cause>() {
            self.log(cause);
        }
        if let Some(Raised {
            id,
            key,
            last,
            token,
        }) = extensions.get::<Raised>()
        {
            tracing::info!(
                request_id = id.as_str(),
                key,
                last,
                token = token.as_deref(),
                "a sequence was raised"
            );
        }
    }

    /// Logs the cause of an error.
    pub(crate) fn log(&self, Cause { id, code, text }: &Cause) {
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

//! Who asks.

use intd::{Refused, Right};
use std::sync::Arc;

/// Says whether a client may do something with a key.
pub type May = dyn Fn(Right, &str) -> Result<(), Refused> + Send + Sync;

/// The client of a call, and what it may do.
#[derive(Clone)]
pub struct Caller {
    /// The name of its token, or else its address.
    pub by: Arc<str>,
    /// Its request id, or empty.
    pub request: String,
    /// Says whether it may do something with a key.
    pub may: Arc<May>,
}

impl Caller {
    /// A client that may do everything.
    pub fn anybody(by: Arc<str>, request: String) -> Self {
        Self {
            by,
            request,
            may: Arc::new(|_, _| Ok(())),
        }
    }
}

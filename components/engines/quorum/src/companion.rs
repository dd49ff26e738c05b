//! A task that waits beside an operation.
//!
//! wit-bindgen keeps the tasks of a call in a `FuturesUnordered`, which asks to be polled once more whenever it has polled
//! all of its tasks and none was ready. wit-bindgen then yields to the host, and the host to its event loop. A call
//! with one task, and one that has ended with one request under way, would do that at each event; with a second
//! task that nobody polls meanwhile they wait as they should.

use engine_http_client::spawn;
use futures::channel::oneshot::{Sender, channel};
use std::rc::Rc;

/// Ends the task when it is dropped, together with all clones.
#[derive(Clone)]
pub(crate) struct Companion {
    _ends: Rc<Sender<()>>,
}

impl Companion {
    /// A task beside the current one.
    pub(crate) fn start() -> Self {
        let (ends, ended) = channel();
        spawn(async move {
            // It never sends anything.
            let _ = ended.await;
        });
        Self {
            _ends: Rc::new(ends),
        }
    }
}

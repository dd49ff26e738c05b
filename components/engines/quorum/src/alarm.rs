//! The timer of a round.

use engine_http_client::sleep;
use futures::future::LocalBoxFuture;
use std::time::Instant;

/// One timer for all that a round waits for. To make a timer and to cancel it takes several calls of the host, so one that
/// fires too early is kept, and another one is made only then.
#[derive(Default)]
pub(crate) struct Alarm {
    /// When the timer fires, and the timer.
    set: Option<(Instant, LocalBoxFuture<'static, ()>)>,
}

impl Alarm {
    /// Waits until this time. When the future is dropped, the timer is kept for the next call.
    pub(crate) async fn wait_until(&mut self, time: Instant) {
        self.set.take_if(|(fires, _)| *fires > time);
        loop {
            let (_, timer) = self.set.get_or_insert_with(|| {
                let left = time.saturating_duration_since(Instant::now());
                (time, Box::pin(sleep(left)))
            });
            timer.await;
            self.set = None;
            if Instant::now() >= time {
                return;
            }
        }
    }
}

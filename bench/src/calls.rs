//! Timing of calls that follow one another, for criterion.

use std::hint::black_box;
use std::time::{Duration, Instant};
use testbed::runtime;

/// How long so many calls take, one after the other, in a task of the shared runtime: where servers make
/// them too. A thread that blocks on a future would be woken across threads for each.
///
/// # Panics
/// When a call does.
pub fn time<T, A>(times: u64, call: impl Fn() -> A + Send + 'static) -> Duration
where
    A: Future<Output = T> + Send,
{
    let task = async move {
        let begin = Instant::now();
        for _ in 0..times {
            black_box(call().await);
        }
        begin.elapsed()
    };
    runtime::run(async { tokio::spawn(task).await }).expect("no call panics")
}

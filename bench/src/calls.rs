//! Timing of sequential calls for criterion.

use std::hint::black_box;
use std::time::{Duration, Instant};
use testbed::runtime;

/// How many of `times` calls each of `callers` makes.
pub fn shares(callers: u64, times: u64) -> impl Iterator<Item = u64> {
    (0..callers).map(move |caller| times / callers + u64::from(caller < times % callers))
}

/// Measures how long `times` sequential calls take in a task of the shared runtime, as in a server. With
/// `block_on` each call would include a wake-up of the blocked thread by another one.
///
/// # Panics
/// When a call panics.
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

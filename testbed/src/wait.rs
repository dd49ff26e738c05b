//! Waiting for something to become true: the only kind of waiting that tests do.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks again and again until `look` finds something, and returns that.
///
/// # Panics
/// When `limit` has passed, with `what` was awaited and why the last look failed.
pub fn until<T, E: Display>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + limit;
    loop {
        let why = match look() {
            Ok(found) => return found,
            Err(why) => why,
        };
        assert!(
            Instant::now() < end,
            "{what}: not within {limit:?}; the last look found: {why}"
        );
        std::thread::sleep(PAUSE);
    }
}

/// Looks again and again until `look` is true.
///
/// # Panics
/// When `limit` has passed, with `what` was awaited.
pub fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> bool) {
    until(what, limit, || look().then_some(()).ok_or("not yet"));
}

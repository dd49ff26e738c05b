//! Polling until a condition holds. Tests wait in no other way: they never sleep for a fixed time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// The pause between two polls.
const PAUSE: Duration = Duration::from_millis(5);

/// Polls `look` until it returns Ok, and returns that value.
///
/// # Panics
/// When `limit` has passed. The message contains `what` and the last error.
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
            "{what}: not within {limit:?}; the last attempt: {why}"
        );
        std::thread::sleep(PAUSE);
    }
}

/// Polls `look` until it returns true.
///
/// # Panics
/// When `limit` has passed. The message contains `what`.
pub fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> bool) {
    until(what, limit, || look().then_some(()).ok_or("not yet"));
}

//! Removing old events of a ledger that runs.

use crate::ledger::{Error, Reducers, Store};
use std::time::{Duration, SystemTime};

const MINUTE: Duration = Duration::from_secs(60);

/// The smallest limit: a database has files of about this size while it works.
const LEAST: u64 = 64 << 20;

/// Removes events that are too old until the process ends.
pub(super) async fn by_age(store: Store, reducers: Reducers, days: u32) {
    let hour = 60 * MINUTE;
    let age = hour.saturating_mul(24).saturating_mul(days);
    let which = if days == 1 {
        "older than a day".to_owned()
    } else {
        format!("older than {days} days")
    };
    regularly(hour, &which, || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let cutoff = since.unwrap_or_default().saturating_sub(age).as_micros();
        let cutoff = i64::try_from(cutoff).unwrap_or(i64::MAX);
        let (store, reducers) = (store.clone(), reducers.clone());
        move || store.trim(cutoff, &reducers)
    })
    .await;
}

/// Removes events for which there is no room until the process ends.
pub(super) async fn by_size(store: Store, reducers: Reducers, most: u64) {
    regularly(MINUTE, "for which there is no room", || {
        let (store, reducers) = (store.clone(), reducers.clone());
        move || store.trim_to(most, &reducers)
    })
    .await;
}

async fn regularly<T>(pause: Duration, which: &str, trim: impl Fn() -> T)
where
    T: FnOnce() -> Result<u64, Error> + Send + 'static,
{
    loop {
        match tokio::task::spawn_blocking(trim()).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "removed events {which}"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot remove old events; trying again later");
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Reads a size, such as `10GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "expected a size such as 500MiB, 10GiB or 1TiB, of at least 64MiB".to_owned();
    let end = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let number: u64 = text
        .strip_suffix(end)
        .and_then(|number| number.parse().ok())
        .ok_or_else(wrong)?;
    let unit: u64 = match end {
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    let bytes = number.checked_mul(unit).filter(|bytes| *bytes >= LEAST);
    bytes.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("64MiB", Some(64 << 20)),
            ("10GiB", Some(10 << 30)),
            ("2TiB", Some(2 << 40)),
            ("63MiB", None),
            ("10", None),
            ("GiB", None),
            ("-1GiB", None),
            ("1.5GiB", None),
            ("1GB", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
    }
}

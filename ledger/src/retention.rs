//! Which events are kept: those of the last days. The older ones of a key are removed from its beginning, after the states
//! that replaying them gives were stored.

use crate::state::{self, Reducer};
use crate::store::{Forget, Store, Stored};
use crate::{Error, key};

/// About how many events are removed at a time.
const STEP: u64 = 1000;

/// How many keys are looked up at a time.
const KEYS: usize = 1000;

impl Store {
    /// Removes the events that happened before `cutoff`, in microseconds since 1970, as far as no later event of the key
    /// comes before them. Waits for the disk. Returns how many events it removed.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn trim(&self, cutoff: i64) -> Result<u64, Error> {
        let mut removed = 0;
        let mut after = Vec::new();
        loop {
            let names = self.names(&after)?;
            let Some(last) = names.last() else {
                return Ok(removed);
            };
            after = key::prefix(last);
            for name in &names {
                match self.trim_key(name, cutoff) {
                    Ok(count) => removed += count,
                    // The state of this key is too large, or takes longer: its events stay for now.
                    Err(Error::TooLarge(why) | Error::Unfinished(why)) => {
                        tracing::warn!(key = name, why, "old events cannot be removed yet");
                    }
                    Err(other) => return Err(other),
                }
            }
        }
    }

    fn trim_key(&self, name: &str, cutoff: i64) -> Result<u64, Error> {
        let mut removed = 0;
        while let Some((first, last)) = self.old(name, cutoff)? {
            let mut up_to = last;
            let mut snapshots = Vec::new();
            for reducer in Reducer::ALL {
                let state = self.state(name, reducer)?;
                up_to = up_to.min(state.number);
                let place = state::place(name, reducer, state.number);
                snapshots.push((place, state.state.to_string().into_bytes()));
            }
            if up_to < first {
                break;
            }
            self.forget(Forget {
                key: name.to_owned(),
                up_to,
                snapshots,
            })?;
            removed += up_to - first + 1;
        }
        Ok(removed)
    }

    /// Some keys in order.
    fn names(&self, after: &[u8]) -> Result<Vec<String>, Error> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.read(|files| {
            let range = files
                .keys
                .range::<&[u8], _>((Excluded(after), Unbounded))
                .take(KEYS);
            let mut names = Vec::new();
            for entry in range {
                let place = entry.key()?;
                let name = place.split_last().map_or(&[][..], |(_, name)| name);
                names.push(String::from_utf8_lossy(name).into_owned());
            }
            Ok(names)
        })
    }

    /// The numbers of the first events of a key that are old, up to some thousand.
    fn old(&self, name: &str, cutoff: i64) -> Result<Option<(u64, u64)>, Error> {
        self.read(|files| {
            let range = key::with(name, &[0])..=key::with(name, &[u64::MAX]);
            let mut old: Option<(u64, u64)> = None;
            let mut more = true;
            for entry in files.events.range(range) {
                let value = entry.value()?;
                Stored::read(&value)?.events(name, 0, |event| {
                    let (first, last) = old.unwrap_or((event.number, event.number));
                    more = event.at < cutoff && last - first < STEP;
                    if more {
                        old = Some((first, event.number));
                    }
                    more
                })?;
                if !more {
                    break;
                }
            }
            Ok(old)
        })
    }
}

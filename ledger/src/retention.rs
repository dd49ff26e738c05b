//! Which events are kept: those of the last days. The older ones of a key are removed from its beginning, after the states
//! that replaying them gives were stored.

mod size;

use crate::reducer::Reducers;
use crate::state;
use crate::store::{Forget, Store, Stored};
use crate::{Error, key};

/// About how many events are removed at a time.
const STEP: u64 = 1000;

/// How many keys are looked up at a time.
const KEYS: usize = 1000;

impl Store {
    /// Removes the events that happened before `cutoff`, in microseconds since 1970, as far as no later event of the key
    /// comes before them. Stores the states of a key before, and waits for the disk. Returns how many events it removed.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn trim(&self, cutoff: i64, reducers: &Reducers) -> Result<u64, Error> {
        let mut removed = 0;
        let mut after = Vec::new();
        loop {
            let names = self.names(&after)?;
            let Some(last) = names.last() else {
                return Ok(removed);
            };
            after = key::prefix(last);
            for name in &names {
                match self.trim_key(name, cutoff, reducers) {
                    Ok(count) => removed += count,
                    // A state of this key cannot be made, or not yet: its events stay for now.
                    Err(Error::TooLarge(why) | Error::Unfinished(why) | Error::Reducer(why)) => {
                        tracing::warn!(key = name, why, "old events cannot be removed yet");
                    }
                    Err(other) => return Err(other),
                }
            }
        }
    }

    fn trim_key(&self, name: &str, cutoff: i64, reducers: &Reducers) -> Result<u64, Error> {
        let mut removed = 0;
        while let Some((first, last)) = self.old(name, cutoff)? {
            let mut up_to = last;
            let mut snapshots = Vec::new();
            for reducer in reducers.kept(name) {
                let state = match self.state(name, reducer) {
                    // It was added after events were removed: it has no state whatever is kept.
                    Err(Error::NotRetained(_)) => continue,
                    state => state?,
                };
                up_to = up_to.min(state.number);
                let place = state::place(name, reducer, state.number);
                snapshots.push((place, state.state.into_bytes()));
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

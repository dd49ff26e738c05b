//! The state of a key: what replaying its events gives.

use crate::reducer::Reduce;
use crate::store::Store;
use crate::{Error, key, query};
use serde::de::IgnoredAny;
use std::time::{Duration, Instant};

/// A snapshot is kept when at least this many events were replayed.
const EVERY: u64 = 1000;

/// How long one request may replay. Another one goes on from the snapshot that this one left.
const LIMIT: Duration = Duration::from_secs(5);

/// The maximum size of a state, in bytes of JSON.
pub const MAX_STATE: usize = 1 << 20;

/// The state of a key after one of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The number of the event; 0 before the first one.
    pub number: u64,
    /// The state, as JSON.
    pub state: String,
    /// How many events were replayed for it.
    pub replayed: u64,
}

/// Where the states of a key after its events are kept.
pub(crate) fn place(name: &str, reducer: &dyn Reduce, number: u64) -> Vec<u8> {
    let number = &number.to_be_bytes();
    [
        &*key::prefix(name),
        &*key::prefix(reducer.identity()),
        number,
    ]
    .concat()
}

impl Store {
    /// The state of a key after its last event.
    ///
    /// # Errors
    /// [`Error::Unfinished`] if there is too much to replay at once, [`Error::TooLarge`], [`Error::Reducer`],
    /// [`Error::NotRetained`], [`Error::Unavailable`].
    pub fn state(&self, name: &str, reducer: &dyn Reduce) -> Result<State, Error> {
        let begun = Instant::now();
        let (mut number, mut state) = self.newest(name, reducer)?;
        let mut replayed = 0;
        let mut finished = true;
        loop {
            let page = self.events(name, number + 1, query::MAX_PAGE)?;
            if page.first > number + 1 {
                // Either they were removed just now, after a snapshot was stored, or there is none.
                let (newest, stored) = self.newest(name, reducer)?;
                if newest <= number {
                    return Err(Error::NotRetained(format!(
                        "the events before {} are not kept any more, and this reducer has no state after event {}",
                        page.first,
                        page.first - 1
                    )));
                }
                (number, state) = (newest, stored);
                continue;
            }
            if page.events.is_empty() && state.is_some() {
                break;
            }
            state = Some(apply(reducer, state.as_deref(), &page.events)?);
            if let Some(last) = page.events.last() {
                replayed += last.number - number;
                number = last.number;
            }
            if number >= page.last {
                break;
            }
            if begun.elapsed() > LIMIT {
                finished = false;
                break;
            }
        }
        let state = state.unwrap_or_default();
        if replayed >= EVERY {
            let place = place(name, reducer, number);
            self.keep_snapshot(place, state.clone().into_bytes());
        }
        if !finished {
            return Err(Error::Unfinished(format!(
                "{replayed} events were replayed, and there are more; ask again to go on"
            )));
        }
        Ok(State {
            number,
            state,
            replayed,
        })
    }

    /// The newest snapshot that a reducer has of a key, and the number of its event.
    fn newest(&self, name: &str, reducer: &dyn Reduce) -> Result<(u64, Option<String>), Error> {
        let at = |number: u64| place(name, reducer, number);
        let snapshot = self.read(|files| {
            let range = at(0)..=at(u64::MAX);
            match files.snapshots.range(range).next_back() {
                None => Ok(None),
                Some(entry) => Ok(Some(entry.into_inner()?)),
            }
        })?;
        let Some((place, state)) = snapshot else {
            return Ok((0, None));
        };
        let state = String::from_utf8(state.to_vec())
            .map_err(|error| Error::Unavailable(format!("a snapshot: {error}")))?;
        Ok((key::from_end(&place, 0), Some(state)))
    }
}

/// Applies events, and checks what comes of them.
fn apply(
    reducer: &dyn Reduce,
    state: Option<&str>,
    events: &[crate::event::Event],
) -> Result<String, Error> {
    let at = || match (events.first(), events.last()) {
        (Some(first), Some(last)) => format!(" at events {} to {}", first.number, last.number),
        _ => String::new(),
    };
    let state = reducer
        .apply(state, events)
        .map_err(|failed| Error::Reducer(format!("the reducer failed{}: {failed}", at())))?;
    if state.len() > MAX_STATE {
        return Err(Error::TooLarge(format!(
            "the state of this key has {} bytes{}; {MAX_STATE} are allowed",
            state.len(),
            at()
        )));
    }
    match serde_json::from_str::<IgnoredAny>(&state) {
        Ok(_) => Ok(state),
        Err(error) => Err(Error::Reducer(format!(
            "the reducer returned what is no JSON{}: {error}",
            at()
        ))),
    }
}

//! The state of a key: what replaying its events gives.

use crate::event::{Event, Payload};
use crate::store::Store;
use crate::{Error, key, query};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// A snapshot is kept when at least this many events were replayed.
const EVERY: u64 = 1000;

/// How long one request may replay. Another one goes on from the snapshot that this one left.
const LIMIT: Duration = Duration::from_secs(5);

/// The maximum size of a state, in bytes of JSON.
const MAX_STATE: usize = 1 << 20;

/// How events become a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reducer {
    /// Counts mints and their integers.
    Mints,
    /// Applies the JSON payloads to each other in order, as merge patches (RFC 7396).
    Merge,
}

/// The state of a key after one of its events.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The number of the event.
    pub number: u64,
    /// The state.
    pub state: Value,
    /// How many events were replayed for it.
    pub replayed: u64,
}

impl Reducer {
    /// The reducer with this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reducer| reducer.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mints => "mints",
            Self::Merge => "merge",
        }
    }

    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Mints, Self::Merge];

    fn initial(self) -> Value {
        match self {
            Self::Mints => {
                json!({"mints": 0, "integers": 0, "first": null, "last": null, "lost": 0})
            }
            Self::Merge => json!({}),
        }
    }

    fn apply(self, state: &mut Value, event: &Event) {
        match (self, &event.payload) {
            (Self::Mints, Some(Payload::Mint(_))) => {
                let Some(span) = event.span() else { return };
                add(state, "mints", 1);
                add(state, "integers", span.count().into());
                let limit = |state: &Value, name: &str| state.get(name).and_then(Value::as_i64);
                let first = limit(state, "first").map_or(span.first(), |n| n.min(span.first()));
                let last = limit(state, "last").map_or(span.last(), |n| n.max(span.last()));
                set(state, "first", first);
                set(state, "last", last);
            }
            (Self::Mints, Some(Payload::Lost(lost))) => add(state, "lost", lost.events),
            (Self::Merge, Some(Payload::Json(text))) => {
                if let Ok(patch) = serde_json::from_str(text) {
                    merge(state, patch);
                }
            }
            _ => {}
        }
    }
}

fn add(state: &mut Value, name: &str, more: u64) {
    let sum = state.get(name).and_then(Value::as_u64).unwrap_or(0);
    if let Some(object) = state.as_object_mut() {
        object.insert(name.to_owned(), sum.saturating_add(more).into());
    }
}

fn set(state: &mut Value, name: &str, value: i64) {
    if let Some(object) = state.as_object_mut() {
        object.insert(name.to_owned(), value.into());
    }
}

/// RFC 7396, section 2. The depth of a patch is bounded by that of JSON that can be read.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Some(object) = target.as_object_mut() {
        for (name, value) in patch {
            if value.is_null() {
                object.remove(&name);
            } else {
                merge(object.entry(name).or_insert(Value::Null), value);
            }
        }
    }
}

/// Where the state of a key after one of its events is kept.
pub(crate) fn place(name: &str, reducer: Reducer, number: u64) -> Vec<u8> {
    let number = &number.to_be_bytes();
    [&*key::prefix(name), &*key::prefix(reducer.name()), number].concat()
}

impl Store {
    /// The state of a key after its last event.
    ///
    /// # Errors
    /// [`Error::Unfinished`] if there is too much to replay at once, [`Error::TooLarge`], [`Error::Unavailable`].
    pub fn state(&self, name: &str, reducer: Reducer) -> Result<State, Error> {
        let begun = Instant::now();
        let at = |number: u64| place(name, reducer, number);
        let snapshot = self.read(|files| {
            let range = at(0)..=at(u64::MAX);
            match files.snapshots.range(range).next_back() {
                None => Ok(None),
                Some(entry) => Ok(Some(entry.into_inner()?)),
            }
        })?;
        let (from, mut state) = match snapshot {
            None => (0, reducer.initial()),
            Some((key, value)) => {
                let state = serde_json::from_slice(&value)
                    .map_err(|error| Error::Unavailable(format!("a snapshot: {error}")))?;
                (key::from_end(&key, 0), state)
            }
        };
        let mut number = from;
        let mut finished = true;
        loop {
            let page = self.events(name, number + 1, query::MAX_PAGE)?;
            for event in &page.events {
                reducer.apply(&mut state, event);
                number = event.number;
            }
            if page.events.is_empty() || number >= page.last {
                break;
            }
            if begun.elapsed() > LIMIT {
                finished = false;
                break;
            }
        }
        let text = state.to_string();
        if text.len() > MAX_STATE {
            return Err(Error::TooLarge(format!(
                "the state of this key has {} bytes; {MAX_STATE} are allowed",
                text.len()
            )));
        }
        if number - from >= EVERY {
            self.keep_snapshot(at(number), text.into());
        }
        if !finished {
            return Err(Error::Unfinished(format!(
                "{} events were replayed, and there are more; ask again to go on",
                number - from
            )));
        }
        Ok(State {
            number,
            state,
            replayed: number - from,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn patches_merge_as_the_rfc_says() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (
                r#"{"a":{"b":"c"}}"#,
                r#"{"a":{"b":"d","c":null}}"#,
                r#"{"a":{"b":"d"}}"#,
            ),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            (
                r#"{}"#,
                r#"{"a":{"bb":{"ccc":null}}}"#,
                r#"{"a":{"bb":{}}}"#,
            ),
        ] {
            let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let mut state = parse(target);
            merge(&mut state, parse(patch));
            assert_eq!(state, parse(result), "{target} {patch}");
        }
    }
}

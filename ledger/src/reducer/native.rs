//! Reducers for tests.

use super::{Failed, Reduce, Reducers};
use crate::event::{Event, Payload};
use serde_json::{Value, json};
use std::sync::Arc;

/// What a reducer does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Native {
    /// Counts mints and their integers.
    Counts,
    /// Makes a list of the payloads.
    List,
    /// Fails at every event.
    Fails,
    /// Returns what is no JSON.
    Garbage,
    /// Returns a state that is too large.
    Huge,
}

impl Reduce for Native {
    fn identity(&self) -> &str {
        match self {
            Self::Counts => "counts",
            Self::List => "list",
            _ => "other",
        }
    }

    fn apply(&self, state: Option<&str>, events: &[Event]) -> Result<String, Failed> {
        let state = state.map(|text| serde_json::from_str::<Value>(text).unwrap());
        Ok(match self {
            Self::Counts => {
                let count = |name| {
                    state
                        .as_ref()
                        .map_or(0, |state| state[name].as_u64().unwrap())
                };
                let spans: Vec<_> = events.iter().filter_map(Event::span).collect();
                let integers: u64 = spans.iter().map(|span| u64::from(span.count())).sum();
                let mints = count("mints") + spans.len() as u64;
                json!({"mints": mints, "integers": count("integers") + integers}).to_string()
            }
            Self::List => {
                let mut all =
                    state.map_or_else(Vec::new, |state| state.as_array().unwrap().clone());
                let payloads = events.iter().filter_map(|event| match &event.payload {
                    Some(Payload::Json(text)) => Some(serde_json::from_str(text).unwrap()),
                    _ => None,
                });
                all.extend(payloads);
                Value::from(all).to_string()
            }
            Self::Fails => return Err(Failed("it does not like this".into())),
            Self::Garbage => "{".into(),
            Self::Huge => format!("\"{}\"", "x".repeat(crate::state::MAX_STATE)),
        })
    }
}

/// All of them. `mints` is the default, as everywhere.
pub(crate) fn reducers() -> Reducers {
    let mut all = Reducers::default();
    all.add("mints", Arc::new(Native::Counts), true);
    all.add("list", Arc::new(Native::List), true);
    all.add("fails", Arc::new(Native::Fails), false);
    all.add("garbage", Arc::new(Native::Garbage), false);
    all.add("huge", Arc::new(Native::Huge), false);
    all
}

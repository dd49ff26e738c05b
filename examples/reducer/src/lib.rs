//! Counts the events of each kind: `{"mint": 7, "paid": 2}`.

#[allow(clippy::allow_attributes_without_reason, reason = "generated code")]
mod bindings {
    // In a repository of your own: a copy of the file `ledger/wit/reducer.wit`.
    wit_bindgen::generate!({
        path: "../../ledger/wit",
        world: "reducer-provider",
    });
}

use bindings::exports::artisanal::ledger::reducer::{Event, Fact, Guest};
use std::collections::BTreeMap;

struct Kinds;

impl Guest for Kinds {
    fn apply(state: Option<String>, events: Vec<Event>) -> Result<String, String> {
        let mut counts: BTreeMap<String, u64> = match state {
            None => BTreeMap::new(),
            Some(state) => serde_json::from_str(&state).map_err(|error| error.to_string())?,
        };
        for event in events {
            let kind = match event.fact {
                Fact::Mint(_) => "mint".to_owned(),
                Fact::Lost(_) => "lost".to_owned(),
                Fact::Raise(_) => "raise".to_owned(),
                Fact::Unused(_) => "unused".to_owned(),
                Fact::Note(note) => note.kind,
            };
            *counts.entry(kind).or_default() += 1;
        }
        serde_json::to_string(&counts).map_err(|error| error.to_string())
    }
}

bindings::export!(Kinds with_types_in bindings);

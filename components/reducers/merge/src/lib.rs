//! Applies the payloads of appended events in order, as JSON merge patches (RFC 7396), to `{}`.

mod bindings;

use bindings::exports::artisanal::ledger::reducer::{Event, Fact, Guest};
use serde_json::{Map, Value};

struct Component;

impl Guest for Component {
    fn apply(state: Option<String>, events: Vec<Event>) -> Result<String, String> {
        let mut target = match state {
            None => Value::Object(Map::new()),
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| format!("the state is no JSON: {error}"))?,
        };
        for event in events {
            if let Fact::Note(note) = event.fact {
                let patch = serde_json::from_str(&note.payload).map_err(|error| {
                    format!("the payload of event {} is no JSON: {error}", event.number)
                })?;
                merge(&mut target, patch);
            }
        }
        Ok(target.to_string())
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

bindings::export!(Component with_types_in bindings);

#[cfg(test)]
mod tests {
    use super::*;
    use bindings::exports::artisanal::ledger::reducer::Note;

    fn note(payload: &str) -> Event {
        let fact = Fact::Note(Note {
            kind: "note".into(),
            payload: payload.into(),
        });
        Event {
            key: "k".into(),
            number: 1,
            at: 0,
            by: String::new(),
            request: String::new(),
            fact,
        }
    }

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn patches_merge_as_the_rfc_says() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (
                r#"{"a":{"b":"c"}}"#,
                r#"{"a":{"b":"d","c":null}}"#,
                r#"{"a":{"b":"d"}}"#,
            ),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            (
                r#"{}"#,
                r#"{"a":{"bb":{"ccc":null}}}"#,
                r#"{"a":{"bb":{}}}"#,
            ),
        ] {
            let state = Component::apply(Some(target.into()), vec![note(patch)]);
            assert_eq!(state.as_deref(), Ok(result), "{target} {patch}");
        }
    }

    #[test]
    fn events_are_applied_in_order() {
        assert_eq!(Component::apply(None, vec![]).as_deref(), Ok("{}"));
        let events = [r#"{"a":1,"n":9007199254740993}"#, r#"{"a":2}"#];
        let state = Component::apply(None, events.map(note).into());
        assert_eq!(state.as_deref(), Ok(r#"{"a":2,"n":9007199254740993}"#));
        let refused = Component::apply(None, vec![note("{")]).unwrap_err();
        assert!(refused.contains("event 1"), "{refused}");
    }
}

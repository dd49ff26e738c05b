//! Answers as JSON. Integers have 64 bits: they are exact as numbers, and for clients that read numbers as doubles they
//! are strings on request.

use super::Problem;
use crate::event::{Event, Payload};
use crate::query::{Events, Found, Gaps, Neighbour, Why};
use jiff::Timestamp;
use serde_json::{Value, json};

fn int(value: i64, strings: bool) -> Value {
    if strings {
        value.to_string().into()
    } else {
        value.into()
    }
}

/// Microseconds since 1970 as a date.
fn date(at: i64) -> String {
    let time = Timestamp::from_microsecond(at.max(0)).unwrap_or(Timestamp::MAX);
    format!("{time:.6}")
}

pub(super) fn event(event: &Event, strings: bool) -> Value {
    let int = |value| int(value, strings);
    let payload = match &event.payload {
        Some(Payload::Mint(mint)) => json!({
            "first": int(mint.first), "step": int(mint.step), "count": mint.count,
        }),
        Some(Payload::Lost(lost)) => json!({
            "events": lost.events, "integers": lost.integers,
            "first": int(lost.first), "last": int(lost.last),
        }),
        Some(Payload::Raise(raise)) => json!({"last": int(raise.last)}),
        Some(Payload::Unused(unused)) => json!({
            "first": int(unused.first), "step": int(unused.step), "count": unused.count,
            "reason": unused.reason, "instead": unused.instead,
        }),
        Some(Payload::Json(text)) => serde_json::from_str(text).unwrap_or(Value::Null),
        None => Value::Null,
    };
    let mut value = json!({
        "key": event.key,
        "number": event.number,
        "kind": event.kind(),
        "at": date(event.at),
        "payload": payload,
    });
    if let Some(object) = value.as_object_mut() {
        for (name, text) in [
            ("by", &event.by),
            ("request", &event.request),
            ("token", &event.token),
            ("idempotency", &event.idempotency),
        ] {
            if !text.is_empty() {
                object.insert(name.to_owned(), text.as_str().into());
            }
        }
    }
    value
}

pub(super) fn events(key: &str, page: &Events, strings: bool) -> Value {
    let next = page.events.last().map(|event| event.number + 1);
    json!({
        "key": key,
        "first": page.first,
        "last": page.last,
        "events": page.events.iter().map(|e| event(e, strings)).collect::<Vec<_>>(),
        "next": next.filter(|next| *next <= page.last),
    })
}

pub(super) fn found(key: &str, integer: i64, found: &Found, strings: bool) -> Value {
    let neighbour = |neighbour: &Neighbour| json!({"integer": int(neighbour.integer, strings), "number": neighbour.number});
    let (status, name, more) = match found {
        Found::Minted { event: of, doubles } => {
            let mut value = json!({
                "key": key, "integer": int(integer, strings), "status": "minted", "event": event(of, strings),
            });
            if let (false, Some(object)) = (doubles.is_empty(), value.as_object_mut()) {
                object.insert("duplicates".to_owned(), json!(doubles));
            }
            return value;
        }
        Found::Skipped { below, above } => (
            "skipped",
            "neighbours",
            json!({"below": neighbour(below), "above": neighbour(above)}),
        ),
        Found::Unused(number) => (
            "skipped",
            "because",
            json!({"kind": "unused", "number": number}),
        ),
        Found::Unknown(why) => (
            "unknown",
            "reason",
            match why {
                Why::Before => "before-the-ledger".into(),
                Why::Forgotten => "before-the-retained-history".into(),
                Why::After => "after-the-last".into(),
                Why::Lost(number) => json!({"lost": number}),
                Why::NoMints => "no-mints".into(),
            },
        ),
    };
    json!({"key": key, "integer": int(integer, strings), "status": status, name: more})
}

pub(super) fn gaps(key: &str, gaps: &Gaps, strings: bool) -> Value {
    let int = |value| int(value, strings);
    let all = gaps.gaps.iter().map(|gap| {
        let mut value = json!({
            "first": int(gap.first), "last": int(gap.last), "step": int(gap.step), "count": int(gap.count()),
        });
        if let (Some((number, kind)), Some(object)) = (gap.why, value.as_object_mut()) {
            object.insert("because".to_owned(), json!({"kind": kind, "number": number}));
        }
        value
    });
    json!({"key": key, "gaps": all.collect::<Vec<_>>(), "next": gaps.next.map(int)})
}

/// The kind, the payload and the expected number of an event to append.
pub(super) fn appended(body: &[u8]) -> Result<(String, String, Option<u64>), Problem> {
    let expected = r#"expected a JSON object like {"kind": "note", "payload": {"a": 1}, "expected": 7}, in which `expected` may be missing"#;
    let wrong = || Problem::invalid(expected);
    let value: Value = serde_json::from_slice(body).map_err(|_| wrong())?;
    let Value::Object(mut object) = value else {
        return Err(wrong());
    };
    let (Some(Value::String(kind)), Some(payload)) =
        (object.remove("kind"), object.remove("payload"))
    else {
        return Err(wrong());
    };
    let number = match object.remove("expected") {
        None => None,
        Some(number) => Some(number.as_u64().ok_or_else(wrong)?),
    };
    if object.is_empty() {
        Ok((kind, payload.to_string(), number))
    } else {
        Err(wrong())
    }
}

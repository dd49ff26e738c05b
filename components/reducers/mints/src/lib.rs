//! Counts mints and their integers: `{"mints", "integers", "first", "last", "lost"}`.
//!
//! `first` and `last` are the smallest and the greatest integer, null before the first mint; `lost` is how many mints
//! are missing. What is counted never changes, since ledgers keep states for longer than versions of this component.

mod bindings;

use bindings::exports::artisanal::ledger::reducer::{Event, Fact, Guest, Span};
use serde::{Deserialize, Serialize};

struct Component;

impl Guest for Component {
    fn apply(state: Option<String>, events: Vec<Event>) -> Result<String, String> {
        let mut totals = match state {
            None => Totals::default(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| format!("the state is not one of this reducer: {error}"))?,
        };
        events.iter().for_each(|event| totals.add(&event.fact));
        serde_json::to_string(&totals).map_err(|error| error.to_string())
    }
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Totals {
    // In the order of the alphabet, as in all JSON of a ledger.
    first: Option<i64>,
    integers: u64,
    last: Option<i64>,
    lost: u64,
    mints: u64,
}

impl Totals {
    fn add(&mut self, fact: &Fact) {
        match fact {
            Fact::Mint(Span { first, step, count }) => {
                let last = i64::from(*count)
                    .checked_sub(1)
                    .and_then(|more| more.checked_mul(*step))
                    .and_then(|more| first.checked_add(more))
                    .unwrap_or(i64::MAX);
                self.mints = self.mints.saturating_add(1);
                self.integers = self.integers.saturating_add((*count).into());
                self.first = Some(self.first.map_or(*first, |known| known.min(*first)));
                self.last = Some(self.last.map_or(last, |known| known.max(last)));
            }
            Fact::Lost(losses) => self.lost = self.lost.saturating_add(losses.mints),
            Fact::Raise(_) | Fact::Unused(_) | Fact::Note(_) => {}
        }
    }
}

bindings::export!(Component with_types_in bindings);

#[cfg(test)]
mod tests {
    use super::*;
    use bindings::exports::artisanal::ledger::reducer::Losses;

    fn event(fact: Fact) -> Event {
        Event {
            key: "k".into(),
            number: 1,
            at: 0,
            by: String::new(),
            request: String::new(),
            fact,
        }
    }

    fn mint(first: i64, step: i64, count: u32) -> Event {
        event(Fact::Mint(Span { first, step, count }))
    }

    #[test]
    fn it_counts() {
        let empty = Component::apply(None, vec![]).unwrap();
        assert_eq!(
            empty,
            r#"{"first":null,"integers":0,"last":null,"lost":0,"mints":0}"#
        );
        let lost = Losses {
            mints: 3,
            integers: 4,
            first: 1,
            last: 9,
        };
        let events = [
            mint(10, 2, 3),
            mint(2, 2, 1),
            event(Fact::Lost(lost)),
            event(Fact::Raise(99)),
        ];
        let all = Component::apply(None, events.to_vec()).unwrap();
        assert_eq!(
            all,
            r#"{"first":2,"integers":4,"last":14,"lost":3,"mints":2}"#
        );
        // One at a time it is the same.
        let each = events.into_iter().fold(None, |state, event| {
            Some(Component::apply(state, vec![event]).unwrap())
        });
        assert_eq!(each, Some(all));
        let end = Component::apply(None, vec![mint(i64::MAX - 1, 1, 5)]).unwrap();
        assert!(end.contains(&format!("\"last\":{}", i64::MAX)), "{end}");
        assert!(Component::apply(Some("{}x".into()), vec![]).is_err());
    }
}

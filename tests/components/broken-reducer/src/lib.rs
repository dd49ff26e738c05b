//! A reducer that misbehaves, to test the ledger that runs it. The kind of the last event selects how:
//!
//! | kind | behaviour |
//! | --- | --- |
//! | `traps` | panics |
//! | `spins` | computes forever |
//! | `hog` | allocates memory without end and writes to it |
//! | `huge` | returns a state of 2 MiB |
//! | `garbage` | returns what is no JSON |
//! | `refuses` | fails with a text |
//! | `clock` | asks for the time |
//! | `random` | asks for random bytes |
//! | `reads` | reads a file |
//! | `remembers` | returns how many calls this instance had |
//! | another | returns the number of the event |

mod bindings;

use bindings::exports::artisanal::ledger::reducer::{Event, Fact, Guest};
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::time::SystemTime;

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

struct Component;

impl Guest for Component {
    fn apply(_: Option<String>, events: Vec<Event>) -> Result<String, String> {
        CALLS.set(CALLS.get() + 1);
        let Some(Event {
            number,
            fact: Fact::Note(note),
            ..
        }) = events.last()
        else {
            return Ok("null".into());
        };
        Ok(match note.kind.as_str() {
            "traps" => panic!("a panic"),
            "spins" => loop {
                black_box(());
            },
            "hog" => {
                let mut all = Vec::new();
                loop {
                    all.push(black_box(vec![1_u8; 1 << 20]));
                }
            }
            "huge" => format!("\"{}\"", "x".repeat(2 << 20)),
            "garbage" => "{".into(),
            "refuses" => return Err("this is refused".into()),
            "clock" => format!("{:?}", SystemTime::now()),
            "random" => RandomState::new().hash_one(1).to_string(),
            "reads" => match std::fs::read_to_string("/etc/passwd") {
                Ok(text) => format!("{text:?}"),
                Err(error) => return Err(error.to_string()),
            },
            "remembers" => CALLS.get().to_string(),
            _ => number.to_string(),
        })
    }
}

bindings::export!(Component with_types_in bindings);

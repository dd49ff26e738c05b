//! An engine that misbehaves, to test the host that runs it.
//!
//! It uses the bindings directly, since [`engine_guest::Engine`] would prevent the misbehaviour. The path of
//! the DSN selects what goes wrong in `next`, or in `open` with the parameter `in=open`. The authority of the
//! DSN may list addresses that the host then allows.
//!
//! | DSN | behaviour |
//! | --- | --- |
//! | `misbehaving:///behaves` | counts 2, 4, 6, … correctly |
//! | `misbehaving:///hog` | allocates memory without end and writes to it |
//! | `misbehaving:///spins` | computes forever |
//! | `misbehaving:///waits` | waits forever |
//! | `misbehaving:///traps` | panics |
//! | `misbehaving:///dials?to=127.0.0.1:6379` | opens a TCP connection to that address |
//! | `misbehaving:///listens` | listens on a TCP port |
//! | `misbehaving:///talks?to=127.0.0.1:53` | sends a UDP datagram to that address |
//! | `misbehaving:///resolves?to=localhost` | resolves a name |
//! | `misbehaving:///resolves-p3?to=localhost` | resolves a name through `wasi:sockets@0.3` |
//! | `misbehaving:///trusts?to=127.0.0.1:6379&as=localhost` | connects with TLS, verifies nothing, and sends `PING` |
//! | `misbehaving:///grumbles?to=127.0.0.1:6379` | dials that address in every other call; every call fails with `unavailable` |
//! | `misbehaving:///reads?to=/etc/passwd` | reads a file and lists the root folder |
//! | `misbehaving:///environment` | reads environment variables and arguments |
//! | `misbehaving:///too-few`, `…/too-many` | returns a span with fewer, or more, integers than requested |
//! | `misbehaving:///repeats` | returns the same span every time |
//! | `misbehaving:///overlaps` | returns spans that each begin within the previous one |
//! | `misbehaving:///backwards` | returns spans that are each below the previous one |
//! | `misbehaving:///negative` | returns a span below zero |
//! | `misbehaving:///overflows` | returns a span that ends above the greatest `s64` |
//! | `misbehaving:///off-lattice` | returns a span in another residue class |
//! | `misbehaving:///stepless` | returns a span whose integers are all equal |
//! | `misbehaving:///lattice` | reports a lattice with an increment of 0 |
//! | `misbehaving:///one-fails` | calls on the key `bad` block for half a second and fail |
//! | `misbehaving:///one-waits` | calls on the key `bad` wait forever |
//!
//! An attempt to escape returns `denied` with the reason if it failed, or `other` with a message that starts
//! with `ESCAPED` if it succeeded.

mod bindings;
mod escape;

use bindings::exports::artisanal::integers::engine::{Guest, GuestSequence, Sequence as Exported};
use engine_guest::bindings::artisanal::integers::types::Lattice;
use engine_guest::{Config, Dsn, Error, Span};
use std::cell::Cell;
use std::time::Duration;

const STEP: i64 = 2;

struct Component;

impl Guest for Component {
    type Sequence = Sequence;
}

/// A sequence in this instance's memory, and how it misbehaves.
struct Sequence {
    habit: String,
    to: String,
    name: String,
    bad: bool,
    mark: Cell<i64>,
}

impl GuestSequence for Sequence {
    async fn open(config: Config) -> Result<Exported, Error> {
        let dsn = config
            .dsn
            .parse::<Dsn>()
            .map_err(|e| Error::Invalid(e.to_string()))?;
        let sequence = Self {
            habit: dsn.path().to_owned(),
            to: dsn.param("to").unwrap_or_default().to_owned(),
            name: dsn.param("as").unwrap_or_default().to_owned(),
            bad: config.key == "bad",
            mark: Cell::new(0),
        };
        if dsn.param("in") == Some("open") {
            sequence.next(1).await?;
        }
        Ok(Exported::new(sequence))
    }

    fn lattice(&self) -> Lattice {
        Lattice {
            increment: if self.habit == "lattice" { 0 } else { STEP },
            offset: 0,
        }
    }

    async fn next(&self, count: u32) -> Result<Span, Error> {
        let below = self.mark.get();
        self.mark.set(below + STEP * i64::from(count));
        let good = Span {
            first: below + STEP,
            step: STEP,
            count,
        };
        Ok(match self.habit.as_str() {
            "one-fails" if self.bad => {
                std::thread::sleep(Duration::from_millis(500));
                return Err(Error::Unavailable("this key cannot be served".into()));
            }
            "one-waits" if self.bad => std::future::pending().await,
            "behaves" | "lattice" | "one-fails" | "one-waits" => good,
            "hog" => hog(),
            "spins" => spin(),
            "waits" => std::future::pending().await,
            "traps" => panic!("this is what a trap in an engine looks like"),
            "dials" => return Err(escape::dial(&self.to)),
            "listens" => return Err(escape::listen()),
            "talks" => return Err(escape::talk(&self.to)),
            "resolves" => return Err(escape::resolve(&self.to)),
            "resolves-p3" => return Err(escape::resolve_p3(&self.to).await),
            "trusts" => return Err(escape::trust(&self.to, &self.name)),
            "grumbles" => {
                // With one integer per call the marks are 2, 4, 6, …
                if below % (2 * STEP) == 0 {
                    let _ = escape::dial(&self.to);
                }
                return Err(Error::Unavailable("the backend is away".into()));
            }
            "reads" => return Err(escape::read(&self.to)),
            "environment" => return Err(escape::environment()),
            "too-few" => Span {
                count: count - 1,
                ..good
            },
            "too-many" => Span {
                count: count + 1,
                ..good
            },
            "repeats" => Span {
                first: STEP,
                ..good
            },
            "overlaps" => Span {
                first: below.max(STEP),
                ..good
            },
            "backwards" => Span {
                first: (1 << 40) - below,
                ..good
            },
            "negative" => Span {
                first: -good.first,
                ..good
            },
            "overflows" => Span {
                first: i64::MAX - 1,
                ..good
            },
            "off-lattice" => Span {
                first: good.first + 1,
                ..good
            },
            "stepless" => Span { step: 0, ..good },
            habit => return Err(Error::Invalid(format!("no such habit: {habit}"))),
        })
    }

    async fn last(&self) -> Result<Option<i64>, Error> {
        Ok(Some(self.mark.get()).filter(|mark| *mark > 0))
    }

    async fn set_last(&self, value: i64) -> Result<(), Error> {
        self.mark.set(value);
        Ok(())
    }
}

/// Allocates until memory runs out, at which point the allocator traps.
fn hog() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(std::hint::black_box(vec![1u8; 1 << 20]));
    }
}

/// Computes forever.
fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

bindings::export!(Component with_types_in bindings);

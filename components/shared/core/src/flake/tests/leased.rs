//! Several holders of node numbers, on one backend.

use super::{PATIENT, at};
use crate::flake::*;
use crate::{Error, Span};
use futures::FutureExt;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

/// A backend with marks, a clock for each process, and replies that get lost.
#[derive(Default)]
struct World {
    marks: RefCell<HashMap<String, i64>>,
    /// Whether the next claim is made and its reply is lost.
    lose: Cell<bool>,
}

/// One process.
struct Process<'a> {
    world: &'a World,
    now: &'a Cell<u64>,
}

impl Clock for Process<'_> {
    fn now(&self) -> Duration {
        at(self.now.get())
    }

    async fn sleep(&self, pause: Duration) {
        self.now.set(self.now.get() + pause.as_millis() as u64 + 1);
    }
}

impl Numbers for Process<'_> {
    async fn claim(&self, key: &str, first: i64, last: i64) -> Result<(), Error> {
        let mut marks = self.world.marks.borrow_mut();
        match marks.get(key) {
            Some(mark) if *mark >= first => return Err(Error::TooSmall(*mark)),
            _ => marks.insert(key.to_owned(), last),
        };
        if self.world.lose.take() {
            return Err(Error::Unavailable("the reply was lost".into()));
        }
        Ok(())
    }
}

fn holder<'a>(
    world: &'a World,
    now: &'a Cell<u64>,
    layout: &str,
    only: Option<u32>,
) -> Holder<Process<'a>> {
    let layout = layout.parse().expect("a layout");
    Holder::new(Process { world, now }, layout, "integers", only).expect("a holder")
}

fn mint(holder: &Holder<Process>, count: u32) -> Result<Taken, Error> {
    let minting = holder.mint(count, PATIENT);
    minting.now_or_never().expect("nothing waits here")
}

#[test]
fn two_holders_have_different_numbers_while_both_live() {
    let (world, now) = (World::default(), Cell::new(1_000_000));
    // Room for two.
    let layout = "41-12-1";
    let first = holder(&world, &now, layout, None);
    let second = holder(&world, &now, layout, None);
    let third = holder(&world, &now, layout, None);
    let a = mint(&first, 1).expect("minted").span.first();
    let b = mint(&second, 1).expect("minted").span.first();
    assert_ne!(a & 1, b & 1);
    let refused = mint(&third, 1).expect_err("no number is free");
    assert_eq!(
        refused,
        Error::Unavailable(
            "2 of 2 node numbers were tried and all are held; one of them is free in 10001 ms"
                .into()
        )
    );
    // The first one goes on, the second one ends.
    now.set(1_006_000);
    let taken = mint(&first, 1).expect("minted");
    assert!(taken.ahead, "less than half of the lease is left");
    assert!(
        !mint(&first, 1).expect("minted").ahead,
        "one caller is told"
    );
    first
        .extend()
        .now_or_never()
        .expect("no wait")
        .expect("extended");
    now.set(1_010_001);
    let c = mint(&third, 1).expect("a number is free").span.first();
    assert_eq!(c & 1, b & 1, "that of the second one");
    assert_eq!(mint(&first, 1).expect("minted").span.first() & 1, a & 1);
    // The second one was only paused: it notices.
    assert!(matches!(mint(&second, 1), Err(Error::Unavailable(_))));
}

#[test]
fn a_given_number_is_refused_while_another_holds_it() {
    let (world, now) = (World::default(), Cell::new(1_000_000));
    let first = holder(&world, &now, "standard", Some(7));
    let second = holder(&world, &now, "standard", Some(7));
    assert_eq!(mint(&first, 1).expect("minted").span.first() & 1023, 7);
    let refused = mint(&second, 1).expect_err("held");
    assert!(
        matches!(&refused, Error::Unavailable(why) if why.contains("the node number 7 is held by another")),
        "{refused:?}"
    );
    now.set(1_010_001);
    assert_eq!(mint(&second, 1).expect("minted").span.first() & 1023, 7);
    assert!(mint(&first, 1).is_err());
}

#[test]
fn all_holders_of_a_sequence_use_one_layout() {
    let (world, now) = (World::default(), Cell::new(1_000_000));
    mint(&holder(&world, &now, "standard", None), 1).expect("minted");
    mint(&holder(&world, &now, "41-12-10", None), 1).expect("it is the same");
    for other in ["javascript", "standard:2020-01-01", "40-13-10"] {
        let refused = mint(&holder(&world, &now, other, None), 1).expect_err(other);
        assert!(
            matches!(&refused, Error::Denied(why) if why.contains("another")),
            "{refused:?}"
        );
    }
}

#[test]
fn a_lost_reply_costs_a_number_and_no_duplicate() {
    let (world, now) = (World::default(), Cell::new(1_000_000));
    let one = holder(&world, &now, "standard", None);
    let first = mint(&one, 1).expect("minted").span.first();
    now.set(1_020_000);
    world.lose.set(true);
    assert!(matches!(mint(&one, 1), Err(Error::Unavailable(_))));
    let second = mint(&one, 1).expect("another number").span.first();
    assert_ne!(first & 1023, second & 1023);
    assert!(second > first);
}

/// What a process does next.
#[derive(Clone, Debug)]
enum Event {
    Mint(u32),
    /// The clock of this process moves.
    Clock(i64),
    /// The process ends, and another one begins with the clock of this one.
    Crash,
    LoseReply,
    Extend,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_u32..6000).prop_map(Event::Mint),
        2 => (0_i64..30).prop_map(Event::Clock),
        1 => (0_i64..12_000).prop_map(Event::Clock),
        1 => (-15_000_i64..0).prop_map(Event::Clock),
        1 => Just(Event::Crash),
        1 => Just(Event::LoseReply),
        1 => Just(Event::Extend),
    ]
}

proptest! {
    /// Whatever the clocks do: every integer once, and those of one process in order.
    #[test]
    fn holders_never_share_an_integer(
        events in proptest::collection::vec((0_usize..3, event()), 1..120),
        only in proptest::option::of(0_u32..4),
    ) {
        let world = World::default();
        let clocks = [1_000_000, 1_003_000, 999_000].map(Cell::new);
        let new = |process: usize| holder(&world, &clocks[process], "41-10-2", only);
        let mut holders = [new(0), new(1), new(2)];
        let mut lasts = [0; 3];
        let mut seen: Vec<Span> = Vec::new();
        for (process, event) in events {
            let holder = &holders[process];
            match event {
                Event::Mint(count) => {
                    let Ok(Taken { span, .. }) = mint(holder, count) else { continue };
                    prop_assert!(span.first() > lasts[process]);
                    prop_assert_eq!(span.count(), count);
                    lasts[process] = span.last();
                    for other in &seen {
                        let apart = other.first() % 4 != span.first() % 4
                            || other.last() < span.first()
                            || span.last() < other.first();
                        prop_assert!(apart, "{other:?} and {span:?}");
                    }
                    seen.push(span);
                }
                Event::Clock(by) => {
                    let clock = &clocks[process];
                    clock.set(clock.get().saturating_add_signed(by));
                }
                Event::Crash => {
                    holders[process] = new(process);
                    lasts[process] = 0;
                }
                Event::LoseReply => world.lose.set(true),
                Event::Extend => { let _ = holder.extend().now_or_never(); }
            }
        }
    }
}

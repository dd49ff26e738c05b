use super::*;
use crate::{Error, Span};
use futures::FutureExt;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The epoch of the named layouts, as the time since the Unix epoch.
const EPOCH: Duration = Duration::from_millis(1_767_225_600_000);

const PATIENT: Duration = Duration::from_secs(2);

fn at(milliseconds: u64) -> Duration {
    EPOCH + Duration::from_millis(milliseconds)
}

fn given(node: u32, now: u64) -> Generator {
    Generator::given(Layout::STANDARD, node, at(now)).expect("a node")
}

fn request(count: u32) -> Request {
    Request::new(count).expect("a count")
}

fn minted(step: Result<Step, Error>) -> Span {
    match step {
        Ok(Step::Minted(span)) => span,
        other => panic!("nothing was minted: {other:?}"),
    }
}

#[test]
fn a_flake_is_time_number_and_node() {
    let mut generator = given(5, 999);
    let span = minted(generator.mint(at(1000), &mut request(2), PATIENT));
    assert_eq!(span.first(), 1000 << 22 | 5);
    assert_eq!(span.last(), 1000 << 22 | 1 << 10 | 5);
    assert_eq!(generator.last(), Some(span.last()));
    let lattice = Layout::STANDARD.lattice(5).expect("a node");
    assert!(lattice.holds(span));
    // After a pause, the time is that of the mint.
    let span = minted(generator.mint(at(5000), &mut request(1), PATIENT));
    assert_eq!(span.first(), 5000 << 22 | 5);
}

#[test]
fn the_millisecond_of_the_start_belongs_to_a_predecessor() {
    let mut generator = given(0, 1000);
    let now = at(1000) + Duration::from_micros(300);
    let wait = generator.mint(now, &mut request(1), PATIENT);
    assert_eq!(wait, Ok(Step::Wait(Duration::from_micros(700))));
    assert_eq!(generator.last(), None);
    let span = minted(generator.mint(at(1001), &mut request(1), PATIENT));
    assert_eq!(span.first(), 1001 << 22);
}

/// Many at a time are one span, which is minted when its last millisecond has begun and wastes nothing before.
#[test]
fn a_full_millisecond_is_waited_for() {
    let mut generator = given(1, 0);
    let wait = generator.mint(at(10), &mut request(100_000), PATIENT);
    // 100 000 / 4096 = 24.4: the last one is 24 milliseconds later.
    assert_eq!(wait, Ok(Step::Wait(Duration::from_millis(24))));
    let one = minted(generator.mint(at(10), &mut request(1), PATIENT));
    assert_eq!(one.first(), 10 << 22 | 1);
    let mut rest = request(4096);
    let wait = generator.mint(at(10), &mut rest, PATIENT);
    assert_eq!(wait, Ok(Step::Wait(Duration::from_millis(1))));
    // It begins where it would have begun at once.
    let span = minted(generator.mint(at(11), &mut rest, PATIENT));
    assert_eq!((span.first(), span.count()), (10 << 22 | 1 << 10 | 1, 4096));
    let impatient = generator.mint(at(11), &mut request(100_000), Duration::from_millis(23));
    assert!(
        matches!(&impatient, Err(Error::Unavailable(text)) if text.contains("take 24 ms")),
        "{impatient:?}"
    );
}

#[test]
fn a_clock_that_goes_back_is_waited_for_or_refused() {
    let mut generator = given(1, 0);
    minted(generator.mint(at(1000), &mut request(1), PATIENT));
    for back in 1..=5 {
        let wait = generator.mint(at(1000 - back), &mut request(1), PATIENT);
        assert_eq!(wait, Ok(Step::Wait(Duration::from_millis(back))));
    }
    for back in [6, 999] {
        let refused = generator.mint(at(1000 - back), &mut request(1), PATIENT);
        let text = format!("the clock went back by {back} ms");
        assert!(
            matches!(&refused, Err(Error::Unavailable(why)) if why.starts_with(&text)),
            "{refused:?}"
        );
    }
    let span = minted(generator.mint(at(1000), &mut request(1), PATIENT));
    assert_eq!(span.first(), 1000 << 22 | 1 << 10 | 1);
    let before = generator.mint(Duration::from_secs(1), &mut request(1), PATIENT);
    assert!(
        matches!(&before, Err(Error::Unavailable(why)) if why.contains("1970-01-01")),
        "{before:?}"
    );
}

#[test]
fn a_layout_ends() {
    assert_eq!(Layout::STANDARD.last_day(), "2095-09-07");
    let length = u64::try_from(Layout::STANDARD.length()).expect("positive");
    let mut generator = given(1023, length - 2);
    let span = minted(generator.mint(at(length - 1), &mut request(4096), PATIENT));
    assert_eq!(span.last(), i64::MAX);
    for now in [length - 1, length, u64::MAX / 2_000_000] {
        let ended = generator.mint(at(now), &mut request(1), PATIENT);
        assert!(
            matches!(&ended, Err(Error::Exhausted(why)) if why.contains("2095-09-07")),
            "{ended:?}"
        );
    }
    // What does not fit in the last millisecond takes nothing of it.
    let mut generator = given(0, length - 2);
    let beyond = generator.mint(at(length - 1), &mut request(4097), PATIENT);
    assert!(matches!(beyond, Err(Error::Exhausted(_))), "{beyond:?}");
    assert_eq!(
        minted(generator.mint(at(length - 1), &mut request(4096), PATIENT)).count(),
        4096
    );
}

#[test]
fn flakes_for_javascript_are_exact_there() {
    let length = u64::try_from(Layout::JAVASCRIPT.length()).expect("positive");
    let mut generator = Generator::given(Layout::JAVASCRIPT, 31, at(length - 2)).expect("a node");
    let span = minted(generator.mint(at(length - 1), &mut request(128), PATIENT));
    assert_eq!(span.last(), (1 << 53) - 1);
}

#[test]
fn a_raise_reaches_as_far_as_the_clock() {
    let mut generator = given(3, 0);
    let last = minted(generator.mint(at(10), &mut request(1), PATIENT)).last();
    assert_eq!(
        generator.raise(at(10), last - 1),
        Err(Error::TooSmall(last))
    );
    assert_eq!(generator.raise(at(10), last), Ok(()));
    // A flake of another node, later in the millisecond.
    let other = 10 << 22 | 77 << 10 | 9;
    assert_eq!(generator.raise(at(10), other), Ok(()));
    assert_eq!(generator.last(), Some(other));
    let next = minted(generator.mint(at(10), &mut request(1), PATIENT));
    assert_eq!(next.first(), 10 << 22 | 78 << 10 | 3);
    let future = generator.raise(at(10), 11 << 22);
    assert!(matches!(future, Err(Error::Denied(_))), "{future:?}");
    assert!(matches!(
        generator.raise(at(10), i64::MAX),
        Err(Error::Denied(_))
    ));
}

#[test]
fn layouts_have_a_text() {
    for (text, shown) in [
        ("standard", "41-12-10:2026-01-01"),
        ("javascript", "41-7-5:2026-01-01"),
        ("standard:1970-01-01", "41-12-10:1970-01-01"),
        ("39-8-16:2014-09-01", "39-8-16:2014-09-01"),
        ("48-0-0", "48-0-0:2026-01-01"),
    ] {
        let layout: Layout = text.parse().expect(text);
        assert_eq!(layout.to_string(), shown);
        assert_eq!(shown.parse(), Ok(layout));
    }
    for bad in [
        "",
        "twitter",
        "41-12",
        "41-12-10-1",
        "41-12-11",
        "0-12-10",
        "41-23-0",
        "10-0-23",
        "49-1-1",
        "256-1-1",
        "-1-2-3",
        "standard:",
        "standard:2026",
        "standard:2026-13-01",
        "standard:1969-12-31",
        "standard:-000001-01-01",
        "standard:2026-01-01T00:00:00Z",
        "standard:2026-01-01:2026-01-01",
        &"9".repeat(10_000),
    ] {
        let error = bad.parse::<Layout>().expect_err(bad);
        assert!(
            matches!(&error, Error::Invalid(why) if why.len() < 500),
            "{error:?}"
        );
    }
    assert_eq!(
        "48-0-0:9000-01-01".parse::<Layout>().unwrap().last_day(),
        "a day after the year 9999"
    );
    for node in [1024, u32::MAX] {
        assert!(Layout::STANDARD.lattice(node).is_err());
    }
}

#[test]
fn layouts_have_different_fingerprints() {
    let mut seen = HashSet::new();
    for time in 1..=41 {
        for sequence in 0..=12 {
            for node in 0..=10 {
                for epoch in ["1970-01-01", "2026-01-01", "9999-12-30"] {
                    let text = format!("{time}-{sequence}-{node}:{epoch}");
                    let print = text.parse::<Layout>().expect("a layout").fingerprint();
                    assert!(print >= 1 && seen.insert(print), "{text}");
                }
            }
        }
    }
}

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

    #[test]
    fn no_clock_panics(now: u64, then: u64, count: u32, node in 0_u32..1024, text in ".{0,80}") {
        let now = Duration::from_millis(now);
        if let Ok(mut generator) = Generator::given(Layout::STANDARD, node, now) {
            if let Ok(mut request) = Request::new(count) {
                let _ = generator.mint(Duration::from_millis(then), &mut request, PATIENT);
            }
            let _ = generator.raise(now, then as i64 & i64::MAX);
        }
        let _ = text.parse::<Layout>();
    }
}

mod leased;

use super::*;
use crate::{Error, Span};
use proptest::prelude::*;
use std::collections::HashSet;
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

proptest! {
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

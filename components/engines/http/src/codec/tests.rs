use super::*;
use proptest::prelude::*;
use serde_json::json;

fn codec() -> Codec {
    Codec {
        key: "k".into(),
        quoter: Quoter::new(["hunter2".to_owned()]),
    }
}

fn lattice(increment: i64, offset: i64) -> Lattice {
    Lattice::new(increment, offset).expect("a lattice")
}

/// Reads an answer to a mint of three integers, 1 modulo 5.
fn mint(body: &str) -> Result<Span, Fault> {
    codec().span(body.as_bytes(), 3, lattice(5, 1))
}

/// The text of an error of the kind `other`.
fn other<T: fmt::Debug>(result: Result<T, Fault>) -> String {
    match result {
        Err(Fault::Final(Error::Other(text))) => {
            assert!(text.chars().count() < 600, "{text}");
            text
        }
        result => panic!("{result:?}"),
    }
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        body: body.as_bytes().to_vec(),
        retry_after: None,
    }
}

fn problem(status: u16, code: &str) -> Answer {
    let body = json!({"status": status, "code": code, "detail": "so it is", "request_id": "x"});
    answer(status, &body.to_string())
}

fn refused(call: Call, answer: Answer) -> Fault {
    codec().success(call, answer).expect_err("no success")
}

#[test]
fn integers_are_exact_as_numbers_and_as_strings() {
    for first in [1, (1 << 53) + 3, i64::MAX - 11] {
        let first = first - first % 5 + 1;
        for body in [
            json!({"key": "k", "first": first, "step": 5, "count": 3}),
            json!({"key": "k", "first": first.to_string(), "step": "5", "count": "3", "more": []}),
        ] {
            let span = mint(&body.to_string()).expect("a span");
            assert_eq!((span.first(), span.last()), (first, first + 10));
        }
    }
}

#[test]
fn spans_that_were_not_asked_for_are_refused() {
    for (body, says) in [
        (
            r#"{"key":"k","first":6,"step":5,"count":2}"#,
            "2 integers instead of 3",
        ),
        (
            r#"{"key":"k","first":6,"step":5,"count":4}"#,
            "4 integers instead of 3",
        ),
        (
            r#"{"key":"k","first":6,"step":5,"count":4294967299}"#,
            "4294967299",
        ),
        (
            r#"{"key":"k","first":6,"step":5,"count":-3}"#,
            "-3 integers",
        ),
        (r#"{"key":"k","first":6,"step":5,"count":0}"#, "0 integers"),
        (
            r#"{"key":"k","first":6,"step":10,"count":3}"#,
            "increment 10 and offset 6",
        ),
        (
            r#"{"key":"k","first":7,"step":5,"count":3}"#,
            "--set-increment 5 --set-offset 2",
        ),
        (r#"{"key":"k","first":6,"step":0,"count":3}"#, "from 6 by 0"),
        (
            r#"{"key":"k","first":6,"step":-5,"count":3}"#,
            "from 6 by -5",
        ),
        (
            r#"{"key":"k","first":-4,"step":5,"count":3}"#,
            "from -4 by 5",
        ),
        (r#"{"key":"k","first":0,"step":5,"count":3}"#, "from 0 by 5"),
        (
            r#"{"key":"k","first":9223372036854775806,"step":5,"count":3}"#,
            "9223372036854775806",
        ),
        (
            r#"{"key":"other","first":6,"step":5,"count":3}"#,
            "`other` instead of `k`",
        ),
    ] {
        let text = other(mint(body));
        assert!(text.contains(says), "{body}: {text}");
    }
}

#[test]
fn what_is_not_an_answer_is_refused() {
    for body in [
        "2",
        "null",
        "[]",
        "{}",
        "<html>hello</html>",
        r#"{"key":"k","first":6,"step":5}"#,
        r#"{"key":"k","first":6.0,"step":5,"count":3}"#,
        r#"{"key":"k","first":6e0,"step":5,"count":3}"#,
        r#"{"key":"k","first":9223372036854775808,"step":5,"count":3}"#,
        r#"{"key":"k","first":"9223372036854775808","step":5,"count":3}"#,
        r#"{"key":"k","first":" 6","step":5,"count":3}"#,
        r#"{"key":"k","first":true,"step":5,"count":3}"#,
        r#"{"key":"k","first":null,"step":5,"count":3}"#,
        r#"{"key":"k","first":1,"first":6,"step":5,"count":3}"#,
        r#"{"key":"k","first":6,"step":5,"count":3} x"#,
    ] {
        assert!(other(mint(body)).contains("not understood"), "{body}");
    }
    let text = other(mint("hunter2 is the token\r\n"));
    assert!(text.contains("*** is the token"), "{text}");
    other(mint(&"[]".repeat(10_000)));
}

#[test]
fn an_answer_that_was_cut_off_may_be_tried_again() {
    let whole = r#"{"key":"k","first":6,"step":5,"count":3}"#;
    for length in 0..whole.len() {
        let cut = mint(&whole[..length]);
        assert!(matches!(cut, Err(Fault::Passing { .. })), "{cut:?}");
    }
}

#[test]
fn the_state_of_a_sequence() {
    let state = |body: &str| codec().state(body.as_bytes());
    let fresh = state(r#"{"key":"k","last":null,"increment":2,"offset":0}"#).expect("a state");
    assert_eq!(fresh.last, None);
    assert_eq!(fresh.agree(lattice(2, 0)), Ok(()));
    assert_eq!(fresh.agree(lattice(2, 4)), Ok(()));
    let error = fresh.agree(lattice(2, 1)).expect_err("another offset");
    assert!(
        matches!(&error, Error::Other(text) if text.contains("increment 2 and offset 0")
            && text.contains("increment 2 and offset 1")
            && text.contains("--set-offset 0")),
        "{error:?}"
    );
    let top = format!(
        r#"{{"key":"k","last":"{}","increment":"1","offset":"0"}}"#,
        i64::MAX
    );
    assert_eq!(state(&top).expect("a state").last, Some(i64::MAX));
    for bad in [
        r#"{"key":"k","last":0,"increment":2,"offset":0}"#,
        r#"{"key":"k","last":-2,"increment":2,"offset":0}"#,
        r#"{"key":"k","last":4,"increment":0,"offset":0}"#,
        r#"{"key":"k","last":4,"increment":2,"offset":-1}"#,
        r#"{"key":"K","last":4,"increment":2,"offset":0}"#,
        r#"{"key":"k","last":4}"#,
    ] {
        other(state(bad));
    }
}

#[test]
fn a_raise_is_answered_with_the_value_or_more() {
    let raised = |last: i64, to: i64| {
        let body = json!({"key": "k", "last": last, "increment": 2, "offset": 0});
        codec().raised(body.to_string().as_bytes(), to)
    };
    assert_eq!(raised(7, 7).expect("raised").last, Some(7));
    assert_eq!(raised(0, 0).expect("raised").last, Some(0));
    assert_eq!(raised(9, 7).expect("raised").last, Some(9));
    other(raised(6, 7));
    let current = |current: &str, call| {
        let body = format!(r#"{{"code":"too-small","current":{current}}}"#);
        refused(call, answer(409, &body))
    };
    assert_eq!(
        current("\"9007199254740993\"", Call::Raise(7)),
        Fault::Final(Error::TooSmall(9_007_199_254_740_993))
    );
    for (value, call) in [
        ("7", Call::Raise(7)),
        ("-1", Call::Raise(7)),
        ("null", Call::Raise(7)),
        ("9", Call::Next(1)),
    ] {
        other::<()>(Err(current(value, call)));
    }
}

#[test]
fn what_each_status_means() {
    let kind = |fault: Fault| match fault {
        Fault::Passing { .. } => "passing",
        Fault::Late(_) => "late",
        Fault::Final(Error::Invalid(_)) => "invalid",
        Fault::Final(Error::TooSmall(_)) => "too-small",
        Fault::Final(Error::Exhausted(_)) => "exhausted",
        Fault::Final(Error::Denied(_)) => "denied",
        Fault::Final(Error::Unavailable(_)) => "unavailable",
        Fault::Final(Error::Other(_)) => "other",
    };
    for (status, code, expected) in [
        (400, "invalid", "invalid"),
        (400, "", "other"),
        (401, "unauthorized", "denied"),
        (403, "forbidden", "denied"),
        (403, "too-many-keys", "denied"),
        (404, "no-sequence", "other"),
        (404, "not-found", "other"),
        (405, "method", "other"),
        (409, "too-small", "other"),
        (410, "exhausted", "exhausted"),
        (507, "exhausted", "exhausted"),
        (507, "", "passing"),
        (500, "misconfigured", "other"),
        (500, "", "passing"),
        (502, "denied", "denied"),
        (502, "other", "other"),
        (502, "broken", "passing"),
        (502, "", "passing"),
        (503, "busy", "passing"),
        (503, "unavailable", "passing"),
        (504, "", "passing"),
        (429, "", "passing"),
        (408, "invalid", "passing"),
        (201, "", "other"),
        (204, "", "other"),
        (301, "", "other"),
        (100, "", "other"),
        (999, "", "other"),
        (0, "", "other"),
    ] {
        let fault = refused(Call::Next(1), problem(status, code));
        assert_eq!(kind(fault.clone()), expected, "{status} {code}: {fault:?}");
        refused(Call::Next(1), answer(status, "<html>"));
    }
    let text = other::<()>(Err(refused(Call::Next(1), problem(404, "no-sequence"))));
    assert!(text.contains("`k`") && text.contains("--keys"), "{text}");
    let text = other::<()>(Err(refused(Call::Next(1), problem(404, "not-found"))));
    assert!(text.contains("so it is"), "{text}");
    let wait = Some(Duration::from_secs(3));
    let asked = Answer {
        retry_after: wait,
        ..problem(503, "busy")
    };
    assert_eq!(
        refused(Call::Read, asked),
        Fault::Passing {
            why: "HTTP status 503: so it is".into(),
            wait
        }
    );
}

#[test]
fn no_token_is_quoted() {
    for status in [200, 400, 401, 403, 404, 503] {
        for body in ["hunter2", r#"{"code":"invalid","detail":"it is hunter2"}"#] {
            let text = match codec().success(Call::Next(1), answer(status, body)) {
                Ok(body) => format!("{:?}", mint(&String::from_utf8_lossy(&body))),
                Err(fault) => format!("{fault:?}"),
            };
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}

proptest! {
    #[test]
    fn no_answer_panics(
        status in any::<u16>(),
        body in proptest::collection::vec(any::<u8>(), 0..100),
        first in any::<i64>(),
        step in any::<i64>(),
        found in any::<i64>(),
    ) {
        let _ = codec().state(&body);
        let answer = Answer { status, body, retry_after: None };
        let _ = codec().success(Call::Raise(1), answer);
        let body = json!({"key": "k", "first": first, "step": step, "count": found});
        if let Ok(span) = mint(&body.to_string()) {
            prop_assert_eq!((span.first(), span.step(), i64::from(span.count())), (first, step, found));
            prop_assert!(lattice(5, 1).holds(span) && found == 3);
        }
        let state = json!({"key": "k", "last": first, "increment": step, "offset": found});
        let _ = codec().state(state.to_string().as_bytes());
    }
}

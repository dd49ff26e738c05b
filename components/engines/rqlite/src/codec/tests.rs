use super::*;
use proptest::prelude::*;

fn answer(body: &[u8]) -> Result<Answer, Fault> {
    super::answer(body, &Quoter::default())
}

fn members(body: &[u8]) -> Result<Vec<Member>, Fault> {
    super::members(body, &Quoter::default())
}

fn text(request: Request, name: &str, create: bool) -> String {
    String::from_utf8(request.body(name, create)).unwrap()
}

#[test]
fn requests_are_parameterised_and_exact() {
    assert_eq!(
        text(Request::Advance(i64::MAX), "aé'", false),
        format!("[[{},\"x'61c3a927'\",9223372036854775807]]", json!(ADVANCE))
    );
    assert_eq!(
        text(
            Request::Claim {
                first: (1 << 53) + 1,
                last: i64::MAX
            },
            "a",
            true
        ),
        format!(
            "[[{}],[{},\"x'61'\",9223372036854775807,9007199254740993]]",
            json!(CREATE),
            json!(CLAIM)
        )
    );
    assert_eq!(
        text(Request::Read, "a", false),
        format!("[[{},\"x'61'\"]]", json!(READ))
    );
}

#[test]
fn marks_are_exact() {
    for mark in [i64::MAX, (1 << 53) + 1, 2, 0, -1, i64::MIN] {
        let body = format!(
            r#"{{"results":[{{"columns":["mark"],"types":["integer"],"values":[[{mark}]]}}]}}"#
        );
        assert_eq!(answer(body.as_bytes()), Ok(Answer::Mark(mark)));
    }
    let created = br#"{"results":[{},{"columns":["mark"],"values":[[2]]}]}"#;
    assert_eq!(answer(created), Ok(Answer::Mark(2)));
}

#[test]
fn no_float_is_taken_for_a_mark() {
    for value in [
        "2.0",
        "2e3",
        "9223372036854775808",
        "-9223372036854775809",
        "\"2\"",
        "true",
        "[2]",
        "{}",
    ] {
        let body = format!(r#"{{"results":[{{"columns":["mark"],"values":[[{value}]]}}]}}"#);
        assert!(
            matches!(answer(body.as_bytes()), Err(Fault::Node(Error::Other(_)))),
            "{value}"
        );
    }
    let null = br#"{"results":[{"columns":["mark"],"values":[[null]]}]}"#;
    assert!(matches!(answer(null), Err(Fault::Final(Error::Other(e))) if e.contains("STRICT")));
}

#[test]
fn no_row_and_no_table_are_told_from_no_rows_asked_for() {
    let none = br#"{"results":[{"columns":["mark"],"types":["integer"]}]}"#;
    assert_eq!(answer(none), Ok(Answer::NoRow));
    let table = br#"{"results":[{"error":"no such table: artisanal_integers"}]}"#;
    assert_eq!(answer(table), Ok(Answer::NoTable));
    for wrong in [
        r#"{"results":[{"rows_affected":1,"last_insert_id":1}]}"#,
        r#"{"results":[{}]}"#,
        r#"{"results":[]}"#,
        r#"{"sequence_number":1}"#,
        "{}",
    ] {
        assert!(
            matches!(answer(wrong.as_bytes()), Err(Fault::Node(Error::Other(_)))),
            "{wrong}"
        );
    }
}

#[test]
fn errors_of_the_cluster_pass_and_errors_of_the_statement_do_not() {
    let lost = br#"{"results":[],"error":"leadership lost while committing log"}"#;
    assert_eq!(
        answer(lost),
        Err(Fault::Passing(
            "leadership lost while committing log".into()
        ))
    );
    let locked = br#"{"results":[{"error":"database is locked"}]}"#;
    assert!(matches!(answer(locked), Err(Fault::Passing(_))));
    let column = br#"{"results":[{"error":"no such column: mark"}]}"#;
    assert!(
        matches!(answer(column), Err(Fault::Final(Error::Other(e))) if e.contains("no such column"))
    );
    let create = br#"{"results":[{"error":"disk I/O error"},{"columns":["mark"],"values":[[2]]}]}"#;
    assert!(matches!(answer(create), Err(Fault::Final(Error::Other(_)))));
}

#[test]
fn what_is_not_rqlites_is_said_to_be_so() {
    for body in [
        "<html>",
        "[]",
        "null",
        "1",
        r#"{"results":1}"#,
        r#"{"results":[{"columns":["mark"],"values":[[1],[2]]}]}x"#,
    ] {
        assert!(
            matches!(answer(body.as_bytes()), Err(Fault::Node(Error::Other(_)))),
            "{body}"
        );
    }
    for rows in ["[[1],[2]]", "[[]]", "[[1,2]]"] {
        let body = format!(r#"{{"results":[{{"columns":["mark"],"values":{rows}}}]}}"#);
        assert!(
            matches!(answer(body.as_bytes()), Err(Fault::Final(Error::Other(_)))),
            "{rows}"
        );
    }
    let whole = r#"{"results":[{"columns":["mark"],"values":[[2]]}]}"#;
    for end in 0..whole.len() {
        let cut = &whole.as_bytes()[..end];
        assert!(matches!(answer(cut), Err(Fault::Passing(_))), "{end}");
    }
}

#[test]
fn nodes_without_an_address_are_left_out() {
    let body = br#"{"nodes":[
        {"id":"a","api_addr":"http://h:4001","addr":"h:4002","leader":true,"time":1e-7},
        {"id":"b","addr":"h:4004","version":"","reachable":false,"leader":false,"error":"dead"},
        {"id":"c","api_addr":"https://[::1]:4005"}]}"#;
    let member = |url: &str, leader| Member {
        url: url.into(),
        leader,
    };
    assert_eq!(
        members(body),
        Ok(vec![
            member("http://h:4001", true),
            member("https://[::1]:4005", false)
        ])
    );
    assert!(members(br#"{"a":{"id":"a"}}"#).is_err());
    assert!(members(b"").is_err());
}

proptest! {
    #[test]
    fn no_body_panics(body in "\\PC{0,80}") {
        let _ = answer(body.as_bytes());
        let _ = members(body.as_bytes());
    }

    #[test]
    fn names_survive_their_encoding(name in "\\PC{1,40}") {
        let blob = blob(&name);
        let digits = blob.strip_prefix("x'").and_then(|b| b.strip_suffix('\'')).unwrap();
        let bytes: Vec<u8> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        prop_assert_eq!(bytes, name.as_bytes());
    }
}

//! Requests with an idempotency key, as far as the routes know them.

use super::Api;
use crate::Unrepeatable;
use artisanal_core::Span;
use futures::executor::block_on;
use http::{Request, StatusCode};

const NEXT: &str = "/v1/sequences/integers/next";

#[test]
fn a_server_without_a_ledger_refuses_them() {
    let api = Api::new();
    let key = [("idempotency-key", "a")];
    let next = api.send("POST", NEXT, &key, "");
    assert_eq!(
        (next.status, &*next.code()),
        (StatusCode::NOT_IMPLEMENTED, "idempotency-key")
    );
    let root = api.send("POST", "/", &key, "");
    assert_eq!(
        (root.status, &*root.code()),
        (StatusCode::BAD_REQUEST, "invalid")
    );
    assert_eq!(api.changes(), 0);
    assert_eq!(api.send("GET", "/", &key, "").body, "2");
}

#[test]
fn the_parts_of_an_answer() {
    let api = Api::with(&[("mint_token", "m1nt")]);
    let request = |method: &str, target: &str, token: &str, idempotency: &str| {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("authorization", format!("Bearer {token}"))
            .header("idempotency-key", idempotency);
        request.body(()).unwrap().into_parts().0
    };
    let good = request(
        "POST",
        &format!("{NEXT}?count=3&strings=true"),
        "m1nt",
        "\"a\"",
    );
    let read = api.app.repeatable(&good).unwrap().ok().unwrap();
    assert_eq!(
        (read.key(), read.idempotency(), read.token()),
        ("integers", "a", None)
    );
    let span = block_on(api.app.mint_repeatable(&read, &good.headers))
        .ok()
        .unwrap();
    assert_eq!(span, Span::checked(2, 2, 3).unwrap());
    let answered = |replayed| {
        let answer = api
            .app
            .answer_repeatable(&read, span, replayed, &good.headers);
        let headers = answer.headers().clone();
        let answer = answer.map(super::read);
        api.compare(&good.method, NEXT, &answer);
        (
            headers.get("idempotency-replayed").cloned(),
            answer.into_body(),
        )
    };
    let (first, second) = (answered(false), answered(true));
    assert_eq!(first.0, None);
    assert_eq!(second.0.unwrap(), "true");
    assert_eq!(first.1, second.1);
    assert!(block_on(api.app.check_repeated(&read, span)).is_ok());
    for other in [Span::checked(2, 2, 2), Span::checked(2, 1, 3)] {
        let differs = block_on(api.app.check_repeated(&read, other.unwrap())).unwrap_err();
        let answer = api.app.refuse_repeatable(differs, &good.headers);
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
        api.compare(&good.method, NEXT, &answer.map(super::read));
    }
    let answer = api
        .app
        .refuse_repeatable(Unrepeatable::InFlight, &good.headers);
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    api.compare(&good.method, NEXT, &answer.map(super::read));
    for (target, token, idempotency, status) in [
        (NEXT, "wrong", "a", 401),
        (NEXT, "m1nt", "", 400),
        ("/v1/sequences/integers/next?count=0", "m1nt", "a", 400),
        ("/v1/sequences/none/next", "m1nt", "a", 404),
    ] {
        let bad = request("POST", target, token, idempotency);
        let refused = api.app.repeatable(&bad).unwrap().err().unwrap();
        assert_eq!(refused.status().as_u16(), status, "{target}");
        api.compare(&bad.method, bad.uri.path(), &refused.map(super::read));
    }
    assert!(
        api.app
            .repeatable(&request("GET", "/", "m1nt", "a"))
            .is_none()
    );
    assert!(
        api.app
            .repeatable(&request("POST", "/", "m1nt", "a"))
            .is_none()
    );
}

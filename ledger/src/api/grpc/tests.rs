//! Calls, without a connection.

use super::bindings::ledger_client::LedgerClient;
use super::bindings::{
    AppendEventRequest, FindIntegerRequest, FollowEventsRequest, GetStateRequest,
    ListEventsRequest, ListGapsRequest, find_integer_response::Answer, unknown::Reason,
};
use super::*;
use crate::api::tests::{holding, mint};
use crate::event::{Event, Payload, Raise};
use crate::reducer::native::reducers;
use intd::{Refused, Right};
use std::task::{Context, Poll};
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A transport: it calls the services as a server does.
#[derive(Clone)]
struct Direct {
    grpc: Grpc,
    caller: Caller,
}

impl tonic::codegen::Service<http::Request<Body>> for Direct {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { grpc, caller } = self.clone();
        assert!(Grpc::is_meant(request.headers()));
        Box::pin(async move { Ok(grpc.handle(request, caller).await) })
    }
}

struct Ledger {
    direct: Direct,
    stop: watch::Sender<bool>,
    _directory: TempDir,
}

impl Ledger {
    async fn new() -> Self {
        let facts = [mint(10, 3), Payload::Raise(Raise { last: 50 }), mint(52, 1)];
        let events = facts.map(|fact| Event {
            key: "a".into(),
            payload: Some(fact),
            ..Event::default()
        });
        let (directory, store) = holding(events.into()).await;
        let (stop, stopping) = watch::channel(false);
        let grpc = Grpc::new(Api::new(store, reducers(), stopping)).unwrap();
        Self {
            direct: Direct {
                grpc,
                caller: Caller::anybody("client".into(), "r1".into()),
            },
            stop,
            _directory: directory,
        }
    }

    fn client(&self) -> LedgerClient<Direct> {
        LedgerClient::new(self.direct.clone())
    }
}

fn append(key: &str, json: &str, expected: Option<u64>) -> AppendEventRequest {
    AppendEventRequest {
        key: key.into(),
        kind: "note".into(),
        json: json.into(),
        expected,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_have_the_answers_of_the_store() {
    let ledger = Ledger::new().await;
    let mut client = ledger.client();
    let key = || "a".to_owned();
    let mut found = Vec::new();
    for integer in [12, 13, 100, 1] {
        let request = FindIntegerRequest {
            key: key(),
            integer,
        };
        let answer = client.find_integer(request).await.unwrap();
        found.push(answer.into_inner().answer.unwrap());
    }
    assert!(
        matches!(&found[0], Answer::Minted(minted) if minted.event.as_ref().unwrap().number == 1)
    );
    let Answer::Skipped(skipped) = &found[1] else {
        panic!("{found:?}");
    };
    let neighbours = [&skipped.below, &skipped.above].map(|near| near.unwrap().integer);
    assert_eq!((neighbours, &skipped.because), ([12, 14], &None));
    for (answer, reason) in [
        (&found[2], Reason::AfterTheLast),
        (&found[3], Reason::BeforeTheLedger),
    ] {
        assert!(matches!(answer, Answer::Unknown(unknown) if unknown.reason() == reason));
    }

    let request = ListGapsRequest {
        key: key(),
        ..ListGapsRequest::default()
    };
    let gaps = client.list_gaps(request).await.unwrap().into_inner();
    let gap = &gaps.gaps[0];
    assert_eq!((gap.first, gap.last, gap.step, gap.count), (16, 50, 2, 18));
    assert_eq!((gap.because.as_ref().unwrap().number, gaps.next), (2, None));

    let request = ListEventsRequest {
        key: key(),
        from: 0,
        limit: 2,
    };
    let page = client.list_events(request).await.unwrap().into_inner();
    assert_eq!((page.first, page.last, page.next), (1, 3, Some(3)));
    assert_eq!(page.events.len(), 2);

    let request = GetStateRequest {
        key: key(),
        reducer: String::new(),
    };
    let state = client.get_state(request).await.unwrap().into_inner();
    assert_eq!((&*state.reducer, state.number), ("mints", 3));
    assert_eq!(state.json, r#"{"integers":4,"mints":2}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_appended_and_followed() {
    let ledger = Ledger::new().await;
    let mut client = ledger.client();
    let event = client.append_event(append("b", "{\"x\":1}", Some(0))).await;
    let event = event.unwrap().into_inner();
    assert_eq!(
        (event.number, &*event.by, &*event.request),
        (1, "client", "r1")
    );
    let conflict = client
        .append_event(append("b", "1", Some(0)))
        .await
        .unwrap_err();
    assert_eq!(conflict.code(), Code::Aborted);
    let metadata = conflict.metadata();
    assert_eq!(metadata.get("current").unwrap(), "1");
    assert_eq!(metadata.get("code").unwrap(), "conflict");

    let request = FollowEventsRequest {
        key: "b".into(),
        from: 1,
    };
    let mut stream = client.follow_events(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.events, [event]);
    client
        .append_event(append("b", "2", Some(1)))
        .await
        .unwrap();
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!(second.events[0].number, 2);
    ledger.stop.send(true).unwrap();
    let end = stream.message().await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_codes_of_both_interfaces() {
    let ledger = Ledger::new().await;
    let mut client = ledger.client();
    for (reducer, code, name) in [
        ("fails", Code::Internal, "reducer"),
        ("garbage", Code::Internal, "reducer"),
        ("huge", Code::ResourceExhausted, "too-large"),
        ("nothing", Code::InvalidArgument, "invalid"),
    ] {
        let request = GetStateRequest {
            key: "a".into(),
            reducer: reducer.into(),
        };
        let failed = client.get_state(request).await.unwrap_err();
        assert_eq!(failed.code(), code, "{reducer}: {failed}");
        assert_eq!(failed.metadata().get("code").unwrap(), name);
    }
    let bad = [
        append("", "1", None),
        append("b", "{", None),
        append("b\n", "1", None),
    ];
    for bad in bad {
        let refused = client.append_event(bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let long = append("b", &"x".repeat(MAX_BODY), None);
    assert_eq!(
        client.append_event(long).await.unwrap_err().code(),
        Code::OutOfRange
    );
    let page = ListEventsRequest {
        key: "a".into(),
        from: 1,
        limit: 1001,
    };
    assert_eq!(
        client.list_events(page).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    // A deadline that is over before the answer.
    let mut late = Request::new(append("b", "1", None));
    late.metadata_mut()
        .insert("grpc-timeout", "0n".parse().unwrap());
    assert_eq!(
        client.append_event(late).await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_has_rights_for_keys() {
    let mut ledger = Ledger::new().await;
    ledger.direct.caller.may = Arc::new(|right, key| match (right, key) {
        (Right::Read, "a") => Ok(()),
        (Right::Mint, "a") => Err(Refused::Right(right)),
        _ => Err(Refused::Key),
    });
    let mut client = ledger.client();
    let state = |key: &str| GetStateRequest {
        key: key.into(),
        reducer: String::new(),
    };
    assert!(client.get_state(state("a")).await.is_ok());
    let refused = [
        client.get_state(state("b")).await.unwrap_err(),
        client
            .append_event(append("a", "1", None))
            .await
            .unwrap_err(),
    ];
    for refused in refused {
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    assert!(Grpc::needs_token("/artisanal.ledger.v1.Ledger/GetState"));
    assert!(!Grpc::needs_token("/grpc.health.v1.Health/Check"));
    assert!(Grpc::takes_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_ends_with_the_server() {
    let ledger = Ledger::new().await;
    let mut client = HealthClient::new(ledger.direct.clone());
    let ask = |service: &str| HealthCheckRequest {
        service: service.into(),
    };
    for (service, status) in [("", Ok(1)), (LEDGER, Ok(1)), ("x", Err(Code::NotFound))] {
        let answer = client.check(ask(service)).await;
        let answer = answer.map(|answer| answer.into_inner().status);
        assert_eq!(answer.map_err(|error| error.code()), status, "{service}");
    }
    let mut watch = client.watch(ask("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    ledger.stop.send(true).unwrap();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2);
    assert_eq!(watch.message().await.unwrap(), None);
}

#[test]
fn the_generated_code_is_current() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/");
    let mut hashes = String::new();
    for file in ["ledger.proto", "ledger_api.proto"] {
        let hash = blake3::hash(&std::fs::read(format!("{folder}{file}")).unwrap());
        hashes += &format!("{}  {file}\n", hash.to_hex());
    }
    let kept = include_str!("generated/sources.b3");
    assert_eq!(hashes, kept, "run `make proto`");
}

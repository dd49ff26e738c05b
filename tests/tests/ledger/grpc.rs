//! The ledger over gRPC, on the port of HTTP.

use artisanal_ledger::api::grpc::bindings::ledger_client::LedgerClient;
use artisanal_ledger::api::grpc::bindings::{
    AppendEventRequest, FindIntegerRequest, FollowEventsRequest, GetStateRequest,
};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use testbed::cli::{Place, Serving};
use testbed::ledger::Ledger;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// A connection that begins with the preface of HTTP/2.
#[derive(Clone)]
struct Channel(http2::SendRequest<Body>);

impl Channel {
    async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    async fn client(port: u16) -> anyhow::Result<LedgerClient<Self>> {
        let origin = format!("http://127.0.0.1:{port}").parse()?;
        Ok(LedgerClient::with_origin(
            Self::connect(port).await?,
            origin,
        ))
    }
}

impl tonic::codegen::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

fn append(key: &str, expected: Option<u64>) -> AppendEventRequest {
    AppendEventRequest {
        key: key.into(),
        kind: "note".into(),
        json: r#"{"a":1}"#.into(),
        expected,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_serves_both() -> anyhow::Result<()> {
    let ledger = Ledger::start()?;
    let mut client = Channel::client(ledger.port()).await?;
    let follow = FollowEventsRequest {
        key: "k".into(),
        from: 1,
    };
    let mut follower = client.follow_events(follow).await?.into_inner();
    let mut request = Request::new(append("k", Some(0)));
    request
        .metadata_mut()
        .insert("x-request-id", "r-1".parse()?);
    let event = client.append_event(request).await?.into_inner();
    assert_eq!((event.number, &*event.request), (1, "r-1"));
    let followed = follower.message().await?.expect("an event");
    assert_eq!(followed.events, [event]);
    // What HTTP appends, and the other way round.
    let body = r#"{"kind":"note","payload":{"b":2},"expected":1}"#;
    assert_eq!(
        ledger.request("POST", "/v1/keys/k/events", body)?.status,
        201
    );
    let followed = follower.message().await?.expect("an event");
    assert_eq!(followed.events[0].number, 2);
    let conflict = client
        .append_event(append("k", Some(1)))
        .await
        .expect_err("a conflict");
    assert_eq!(
        (conflict.code(), conflict.metadata().get("current")),
        (Code::Aborted, Some(&"2".parse()?))
    );
    let state = GetStateRequest {
        key: "k".into(),
        reducer: "merge".into(),
    };
    let state = client.get_state(state).await?.into_inner();
    assert_eq!((state.number, &*state.json), (2, r#"{"a":1,"b":2}"#));
    assert_eq!(
        ledger.get("/v1/keys/k/state?reducer=merge")?["state"]["a"],
        1
    );

    // HTTP/2 is not for gRPC alone.
    let mut channel = Channel::connect(ledger.port()).await?;
    let uri = format!("http://127.0.0.1:{}/v1.0/alive", ledger.port());
    let request = http::Request::get(uri).body(Body::new(Empty::new()))?;
    let answer = tonic::codegen::Service::call(&mut channel, request).await?;
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, http::Version::HTTP_2)
    );
    assert_eq!(
        answer.into_body().collect().await?.to_bytes(),
        r#"{"alive":true}"#
    );
    // And gRPC is not for HTTP/1.1.
    let headers = [("content-type", "application/grpc")];
    let url = format!(
        "http://127.0.0.1:{}/artisanal.ledger.v1.Ledger/GetState",
        ledger.port()
    );
    let answer = testbed::http::request("POST", &url, &headers, "")?;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, "12"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_describes_itself() -> anyhow::Result<()> {
    let ledger = Ledger::start()?;
    let origin: http::Uri = format!("http://127.0.0.1:{}", ledger.port()).parse()?;
    let channel = Channel::connect(ledger.port()).await?;
    let mut client = ServerReflectionClient::with_origin(channel, origin);
    let ask = |message| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    let questions = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "artisanal.ledger.v1.Ledger".into(),
        )),
    ];
    let questions = Request::new(tokio_stream_of(questions.into()));
    let mut answers = client.server_reflection_info(questions).await?.into_inner();
    let first = answers
        .message()
        .await?
        .expect("an answer")
        .message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = first else {
        panic!("{first:?}");
    };
    let names: Vec<_> = services
        .service
        .iter()
        .map(|service| &*service.name)
        .collect();
    assert!(names.contains(&"artisanal.ledger.v1.Ledger"), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
    let second = answers
        .message()
        .await?
        .expect("an answer")
        .message_response;
    let Some(MessageResponse::FileDescriptorResponse(files)) = second else {
        panic!("{second:?}");
    };
    let file = String::from_utf8_lossy(&files.file_descriptor_proto[0]).into_owned();
    assert!(
        file.contains("ledger_api.proto") && file.contains("FollowEvents"),
        "{file}"
    );
    Ok(())
}

/// What the standard service for health says of a ledger.
pub(crate) async fn health(port: u16) -> anyhow::Result<ServingStatus> {
    let origin: http::Uri = format!("http://127.0.0.1:{port}").parse()?;
    let channel = Channel::connect(port).await?;
    let mut client = HealthClient::with_origin(channel, origin);
    let answer = client.check(HealthCheckRequest::default()).await?;
    Ok(answer.into_inner().status())
}

/// A stream of some messages.
fn tokio_stream_of<T: Send + 'static>(
    all: Vec<T>,
) -> impl tonic::codegen::tokio_stream::Stream<Item = T> + Send + 'static {
    tonic::codegen::tokio_stream::iter(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_those_of_http() -> anyhow::Result<()> {
    let place = Place::new()?;
    let made = place.run(&[
        "token", "new", "--name", "reader", "--keys", "order-*", "--rights", "read",
    ])?;
    let token = made.stderr.lines().last().expect("the token").to_owned();
    let file = place.file("tokens.toml");
    std::fs::write(&file, &made.stdout)?;
    let (file, port) = (file.display().to_string(), testbed::port::free()?);
    let text = port.to_string();
    let arguments = [
        "ledger",
        "--host",
        "127.0.0.1",
        "--port",
        &text,
        "--tokens",
        &file,
    ];
    let _ledger = Serving::start(place.command(&arguments)?)?;
    let mut client = Channel::client(port).await?;
    let find = |key: &str, token: Option<&str>| {
        let mut request = Request::new(FindIntegerRequest {
            key: key.into(),
            integer: 1,
        });
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().expect("printable");
            request.metadata_mut().insert("authorization", bearer);
        }
        request
    };
    for (key, token, code) in [
        ("order-1", Some(&*token), Code::Ok),
        ("order-1", None, Code::Unauthenticated),
        ("order-1", Some("wrong"), Code::Unauthenticated),
        ("other", Some(&*token), Code::PermissionDenied),
    ] {
        let answer = client.find_integer(find(key, token)).await;
        let found = answer.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(found, code, "{key} {token:?}");
    }
    let mut request = Request::new(append("order-1", None));
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse()?);
    let refused = client.append_event(request).await.expect_err("no right");
    assert_eq!(refused.code(), Code::PermissionDenied);
    Ok(())
}

//! Members with servers, of which one is asked about what others hold.

use super::*;
use crate::Store;
use crate::api::grpc::{Caller, Grpc, bindings};
use crate::api::tests::{holding, mint};
use crate::endpoint::{Endpoint, Session};
use crate::event::{Event, Payload, Raise};
use crate::members::tests::{Node, options};
use crate::members::{Members, Options, View};
use crate::partition::{PARTITIONS, Share};
use crate::reducer::native::reducers;
use bindings::ledger_client::LedgerClient;
use bindings::{
    AppendEventRequest, FindIntegerRequest, FollowEventsRequest, GetStateRequest,
    ListEventsRequest, ListMembersRequest,
};
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, Uri};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tonic::Code;

/// A member with a server.
struct Server {
    node: Node,
    address: SocketAddr,
    task: JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

impl Server {
    /// A member that serves this store, and holds what it owns.
    async fn start(store: &Store, options: Options) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = Options {
            address: format!("http://{address}").parse().unwrap(),
            ..options
        };
        let node = Node::start(options).await;
        let (stop, stopping) = watch::channel(false);
        let api = Api::of_member(store.clone(), reducers(), stopping, node.members.clone());
        let (mut share, held) = (node.share.clone(), node.held.clone());
        let task = tokio::spawn(async move {
            let catch_up = async {
                while share.changed().await.is_ok() {
                    let owned = Arc::clone(&share.borrow_and_update());
                    held.send_replace(owned);
                }
                std::future::pending::<()>().await;
            };
            tokio::join!(catch_up, serve(listener, api));
        });
        Self {
            node,
            address,
            task,
            _stop: stop,
        }
    }

    /// Ends it without a word.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.node.kill().await;
    }

    async fn ask(&self, method: &str, target: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", self.address))
            .header("x-request-id", "r1")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        send(request.unwrap()).await
    }

    async fn stats(&self) -> Value {
        self.ask("GET", "/v1.0/stats", "").await.json()
    }
}

/// Serves until it is aborted, with all its connections.
async fn serve(listener: TcpListener, api: Api) {
    let grpc = Grpc::new(api.clone()).unwrap();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, by) = listener.accept().await.unwrap();
        let (api, grpc) = (api.clone(), grpc.clone());
        connections.spawn(async move {
            let by: Arc<str> = by.to_string().into();
            let service = service_fn(move |request: Request<Incoming>| {
                let (api, grpc, by) = (api.clone(), grpc.clone(), Arc::clone(&by));
                async move { Ok::<_, Infallible>(answer(&api, &grpc, by, request).await) }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
            let _ = connection.await;
        });
    }
}

async fn answer(
    api: &Api,
    grpc: &Grpc,
    by: Arc<str>,
    mut request: Request<Incoming>,
) -> Response<Either<Body, tonic::body::Body>> {
    if Grpc::is_meant(request.headers()) {
        let caller = Caller::anybody(by, String::new());
        let request = request.map(tonic::body::Body::new);
        return grpc.handle(request, caller).await.map(Either::Right);
    }
    let switch = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    if let Some((response, session)) = api.upgrade(&parts, &by) {
        if let Some(session) = session {
            tokio::spawn(async move {
                session.run(TokioIo::new(switch.await.unwrap())).await;
            });
        }
        return response.map(Either::Left);
    }
    let body = body.collect().await.unwrap().to_bytes();
    api.handle(&parts, body, &by).await.map(Either::Left)
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn client(http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http()
}

async fn send(request: Request<Full<Bytes>>) -> Answer {
    let response = client(false).request(request).await.unwrap();
    let (head, body) = response.into_parts();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

/// Four members that serve the same store, in which there are some events.
struct Cluster {
    servers: Vec<Server>,
    store: Store,
    _directory: TempDir,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Cluster {
    async fn new() -> Self {
        let facts = [mint(10, 3), Payload::Raise(Raise { last: 50 }), mint(52, 1)];
        let keys = (0..40).map(|number| format!("key-{number}"));
        let events = keys.flat_map(|key| {
            facts.clone().map(|fact| Event {
                key: key.clone(),
                payload: Some(fact),
                ..Event::default()
            })
        });
        let (directory, store) = holding(events.collect()).await;
        let mut servers: Vec<Server> = Vec::new();
        for name in NAMES {
            let seeds: Vec<_> = servers.iter().map(|server| server.node.gossip).collect();
            servers.push(Server::start(&store, options(name, &seeds).await).await);
        }
        let all_hold = |view: &View| {
            let settled = view.placement.names() == NAMES && view.alive() == NAMES.len();
            settled
                && view
                    .members
                    .iter()
                    .all(|member| member.owned == member.held)
        };
        for server in &servers {
            server.node.sees(all_hold).await;
        }
        Self {
            servers,
            store,
            _directory: directory,
        }
    }

    /// The server with this name.
    fn server(&self, name: &str) -> &Server {
        let mut servers = self.servers.iter();
        let named = servers.find(|server| server.node.members.view().own == name);
        named.unwrap()
    }

    /// A key that the server does not hold, and its owners.
    fn key_elsewhere(&self, name: &str) -> (String, Vec<&'static str>) {
        let placement = &self.servers[0].node.members.view().placement;
        let mut keys = (0..40).map(|number| format!("key-{number}"));
        let named = |owner| NAMES.into_iter().find(|name| *name == owner).unwrap();
        let owners = |key: &str| -> Vec<_> {
            let owners = placement.owners(partition::of(key));
            owners.map(named).collect()
        };
        let key = keys.find(|key| !owners(key).contains(&name)).unwrap();
        let owners = owners(&key);
        (key, owners)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_answers_as_those_that_hold_the_key() {
    let cluster = Cluster::new().await;
    let (key, owners) = cluster.key_elsewhere("a");
    let (asked, owner) = (cluster.server("a"), cluster.server(owners[0]));
    let targets = [
        (format!("/v1/integers/{key}/12"), 200),
        (format!("/v1/integers/{key}/13?strings=true"), 200),
        (format!("/v1/keys/{key}/gaps"), 200),
        (format!("/v1/keys/{key}/events?limit=2"), 200),
        (format!("/v1/keys/{key}/state"), 200),
        (format!("/v1/keys/{key}/state?reducer=nothing"), 400),
        (format!("/v1/keys/{key}/state?reducer=fails"), 502),
        (format!("/v1/keys/{key}/gaps?x=1"), 400),
    ];
    for (target, status) in &targets {
        let (one, other) = (
            asked.ask("GET", target, "").await,
            owner.ask("GET", target, "").await,
        );
        assert_eq!((one.status, &one.body), (*status, &other.body), "{target}");
        let kept = |answer: &Answer| {
            let headers = [
                "content-type",
                "server",
                "x-request-id",
                "cache-control",
                "content-length",
            ];
            headers.map(|name| answer.headers.get(name).cloned())
        };
        assert_eq!(kept(&one), kept(&other), "{target}");
        assert!(!one.headers.contains_key(FORWARDED));
        let head = asked.ask("HEAD", target, "").await;
        assert_eq!((head.status, head.body.len()), (*status, 0), "{target}");
    }
    let (one, other) = (asked.stats().await, owner.stats().await);
    assert_eq!(one["forwarded_answered"], 2 * targets.len());
    assert_eq!(other["forwarded_answered"], 0);
    assert_eq!(
        (&one["members_alive"], &one["members"]),
        (&json!(4), &json!(4))
    );
    let owned = asked.node.members.view().me().unwrap().owned.len();
    assert_eq!(
        (&one["partitions_owned"], &one["partitions_held"]),
        (&json!(owned), &json!(owned))
    );
    // A question that comes from a member is not passed on again.
    let request = Request::builder()
        .uri(format!("http://{}{}", asked.address, targets[0].0))
        .header(FORWARDED, "127.0.0.1:1")
        .body(Full::default());
    let refused = send(request.unwrap()).await;
    assert_eq!(
        (refused.status, &refused.headers[FORWARDED]),
        (503, &NOT_HELD)
    );
    assert_eq!(refused.json()["code"], "unavailable");
    assert_eq!(
        asked.stats().await["forwarded_answered"],
        one["forwarded_answered"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_appended_through_any_member() {
    let cluster = Cluster::new().await;
    let (key, owners) = cluster.key_elsewhere("b");
    let asked = cluster.server("b");
    let target = format!("/v1/keys/{key}/events");
    let body = r#"{"kind":"k","payload":{"a":1},"expected":3}"#;
    let stored = asked.ask("POST", &target, body).await;
    assert_eq!(stored.status, 201);
    let event = stored.json();
    assert_eq!(
        (&event["number"], &event["request"]),
        (&json!(4), &json!("r1"))
    );
    // The client of the member that was asked; its own address has another port.
    let by: SocketAddr = event["by"].as_str().unwrap().parse().unwrap();
    assert!(by.ip().is_loopback());
    let conflict = asked.ask("POST", &target, body).await;
    assert_eq!(
        (conflict.status, &conflict.json()["current"]),
        (409, &json!(4))
    );
    let long = asked
        .ask("POST", &target, &"x".repeat(crate::api::MAX_BODY + 1))
        .await;
    assert_eq!(long.status, 413);
    assert_eq!(cluster.server(owners[0]).stats().await["appends"], 1);
    assert_eq!(asked.stats().await["appends"], 0);

    // Of a client that is no member, its own address counts.
    let owner = cluster.server(owners[0]);
    let (parts, ()) = Request::post(&*target)
        .header(FORWARDED, "somebody")
        .body(())
        .unwrap()
        .into_parts();
    let api = Api::of_member(
        cluster.store.clone(),
        reducers(),
        watch::channel(false).1,
        owner.node.members.clone(),
    );
    assert_eq!(api.origin(&parts.headers, "10.1.2.3:4"), "10.1.2.3:4");
    assert_eq!(api.origin(&parts.headers, "token"), "token");
    assert_eq!(api.origin(&parts.headers, "127.0.0.1:4"), "somebody");
    assert_eq!(api.origin(&HeaderMap::new(), "127.0.0.1:4"), "127.0.0.1:4");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_followed_through_any_member() {
    let mut cluster = Cluster::new().await;
    let (key, owners) = cluster.key_elsewhere("c");
    let first_owner = NAMES.iter().position(|name| *name == owners[0]).unwrap();
    let asked = cluster.server("c").address;
    let target = format!("/v1/keys/{key}/events?follow=true&from=3");
    let uri: Uri = format!("http://{asked}{target}").parse().unwrap();
    let response = client(false).get(uri).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut events = response.into_body();
    let piece = async |events: &mut Incoming| {
        let frame = events.frame().await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    assert!(piece(&mut events).await.starts_with("id: 3\ndata: {"));

    let stream = TcpStream::connect(asked).await.unwrap();
    let url = format!("ws://{asked}/v1/keys/{key}/events?from=3&strings=true");
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let third = socket.next().await.unwrap().unwrap().into_text().unwrap();
    let third: Value = serde_json::from_str(&third).unwrap();
    assert_eq!(
        (&third["number"], &third["payload"]["first"]),
        (&json!(3), &json!("52"))
    );

    let (target, body) = (
        format!("/v1/keys/{key}/events"),
        r#"{"kind":"k","payload":7}"#,
    );
    let appended = cluster.server("c").ask("POST", &target, body);
    assert_eq!(appended.await.status, 201);
    assert!(piece(&mut events).await.starts_with("id: 4\ndata: {"));
    let fourth = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(fourth.contains(r#""payload":7"#), "{fourth}");

    // The member that has the key goes; its followers have to ask again.
    cluster.servers.remove(first_owner).kill().await;
    while events.frame().await.is_some_and(|frame| frame.is_ok()) {}
    while let Some(Ok(message)) = socket.next().await {
        assert!(!matches!(message, Message::Text(_)), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_owner_answers_when_one_is_lost() {
    let mut cluster = Cluster::new().await;
    let (key, owners) = cluster.key_elsewhere("d");
    let lost = NAMES.iter().position(|name| *name == owners[0]).unwrap();
    let target = format!("/v1/keys/{key}/events");
    let asked = |cluster: &Cluster| cluster.servers.last().unwrap().address;
    let body = r#"{"kind":"k","payload":1}"#;
    cluster.servers.remove(lost).kill().await;
    let server = cluster.servers.last().unwrap();
    assert_eq!(asked(&cluster), server.address);
    // The others do not know yet, or already do.
    for number in 4..8 {
        let answer = server.ask("POST", &target, body).await;
        assert_eq!(
            (answer.status, &answer.json()["number"]),
            (201, &json!(number))
        );
        let answer = server.ask("GET", &target, "").await;
        assert_eq!(
            (answer.status, &answer.json()["last"]),
            (200, &json!(number))
        );
    }
    // Then it is replaced: three members own everything.
    let rest: Vec<_> = NAMES
        .into_iter()
        .filter(|name| *name != owners[0])
        .collect();
    let replaced = |view: &View| {
        view.placement.names() == rest && view.me().is_some_and(|me| me.held.is_all())
    };
    server.node.sees(replaced).await;
    let answer = server
        .ask("GET", "/v1/members?partitions=true", "")
        .await
        .json();
    assert_eq!(answer["member"], "d");
    for member in answer["members"].as_array().unwrap() {
        let dead = member["name"] == owners[0];
        assert_eq!(member["health"], if dead { "dead" } else { "alive" });
        let owned = if dead { 0 } else { PARTITIONS };
        assert_eq!(member["owned"], owned);
        assert_eq!(
            member["owned_partitions"].as_array().unwrap().len(),
            usize::from(owned)
        );
    }
    let before = server.stats().await["forwarded_answered"].clone();
    assert_eq!(server.ask("GET", &target, "").await.json()["last"], 7);
    assert_eq!(server.stats().await["forwarded_answered"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_answered_by_those_that_hold_the_key() {
    let cluster = Cluster::new().await;
    let (key, owners) = cluster.key_elsewhere("a");
    let asked = cluster.server("a");
    let mut client = LedgerClient::with_origin(
        Pool(client(true)),
        format!("http://{}", asked.address).parse().unwrap(),
    );
    let integer = FindIntegerRequest {
        key: key.clone(),
        integer: 12,
    };
    let found = client.find_integer(integer).await.unwrap().into_inner();
    assert!(matches!(
        found.answer,
        Some(bindings::find_integer_response::Answer::Minted(_))
    ));
    let page = ListEventsRequest {
        key: key.clone(),
        from: 0,
        limit: 2,
    };
    let page = client.list_events(page).await.unwrap().into_inner();
    assert_eq!((page.last, page.next), (3, Some(3)));
    let state = |reducer: &str| GetStateRequest {
        key: key.clone(),
        reducer: reducer.into(),
    };
    let failed = client.get_state(state("fails")).await.unwrap_err();
    assert_eq!(
        (
            failed.code(),
            failed.metadata().get("code").unwrap().to_str().unwrap()
        ),
        (Code::Internal, "reducer")
    );
    let append = |expected| AppendEventRequest {
        key: key.clone(),
        kind: "k".into(),
        json: "1".into(),
        expected: Some(expected),
    };
    let follow = FollowEventsRequest {
        key: key.clone(),
        from: 4,
    };
    let event = client.append_event(append(3)).await.unwrap().into_inner();
    let mut following = client.follow_events(follow).await.unwrap().into_inner();
    let first = following.message().await.unwrap().unwrap();
    assert_eq!(first.events, [event]);
    let conflict = client.append_event(append(3)).await.unwrap_err();
    assert_eq!(
        (
            conflict.code(),
            conflict
                .metadata()
                .get("current")
                .unwrap()
                .to_str()
                .unwrap()
        ),
        (Code::Aborted, "4")
    );
    client.append_event(append(4)).await.unwrap();
    assert_eq!(
        following.message().await.unwrap().unwrap().events[0].number,
        5
    );
    assert_eq!(cluster.server(owners[0]).stats().await["appends"], 2);
    assert_eq!(asked.stats().await["forwarded_answered"], 7);
    let request = ListMembersRequest { partitions: true };
    let all = client.list_members(request).await.unwrap().into_inner();
    let names: Vec<_> = all.members.iter().map(|member| &*member.name).collect();
    assert_eq!((&*all.member, &names[..]), ("a", &NAMES[..]));
    for member in &all.members {
        assert_eq!(member.health(), bindings::member::Health::Alive);
        assert_eq!(member.held_partitions, member.owned_partitions);
        assert_eq!(member.owned_partitions.len(), member.owned as usize);
    }
    // A call that comes from a member is not passed on again.
    let mut call = tonic::Request::new(state(""));
    call.metadata_mut()
        .insert("artisanal-forwarded", "x".parse().unwrap());
    let refused = client.get_state(call).await.unwrap_err();
    assert_eq!(
        (
            refused.code(),
            refused.metadata().get("artisanal-forwarded").is_some()
        ),
        (Code::Unavailable, true)
    );
}

/// A transport for gRPC.
#[derive(Clone)]
struct Pool(Client<HttpConnector, Full<Bytes>>);

impl tonic::codegen::Service<Request<tonic::body::Body>> for Pool {
    type Response = Response<Incoming>;
    type Error = hyper_util::client::legacy::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            head.version = http::Version::HTTP_2;
            let body = Full::new(body.collect().await.unwrap().to_bytes());
            client.request(Request::from_parts(head, body)).await
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_given_to_a_member_that_holds_its_keys() {
    let mut cluster = Cluster::new().await;
    let (key, owners) = cluster.key_elsewhere("a");
    let members = cluster.server("a").node.members.clone();
    let event = Event {
        key: key.clone(),
        payload: Some(mint(60, 1)),
        idempotency: "once".into(),
        ..Event::default()
    };
    let mut writer = crate::frame::Writer::default();
    writer.event(&event);
    let batch = writer.finish(7, 5);
    let part = Share::from_iter([partition::of(&key)]);
    // A part of a batch makes sense only for members that share a stream.
    let refused = members.ingest(&part, None, &batch, (5, 1)).await;
    assert!(
        matches!(&refused, Err(crate::Error::Invalid(text)) if text.contains("share a stream")),
        "{refused:?}"
    );
    let batches =
        async |cluster: &Cluster, name| cluster.server(name).stats().await["batches"].clone();
    assert_eq!(batches(&cluster, owners[0]).await, 1);
    // One that cannot be reached is followed by the next one.
    let mut gone = cluster.servers.iter();
    let gone = gone.position(|server| server.node.members.view().own == owners[0]);
    cluster.servers.remove(gone.unwrap()).kill().await;
    let refused = members.ingest(&part, None, &batch, (5, 1)).await;
    assert!(matches!(refused, Err(crate::Error::Invalid(_))));
    let rest = [
        batches(&cluster, owners[1]).await,
        batches(&cluster, owners[2]).await,
    ];
    assert!(rest == [1, 0] || rest == [0, 1], "{rest:?}");
    let alone = Members::alone("a", None);
    let refused = alone.ingest(&part, None, &batch, (5, 1)).await;
    assert!(matches!(refused, Err(crate::Error::Unavailable(_))));
    assert_eq!(alone.counted().nobody, 1);
}

/// A member whose server does something else than it should, and one that has to ask it.
struct Broken {
    asked: Server,
    _broken: Node,
    store: (TempDir, Store),
}

impl Broken {
    /// With a server that reads the beginning of each request, sends this, and then closes the connection or does
    /// nothing.
    async fn new(sends: &'static [u8], closes: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(sends).await;
                if !closes {
                    open.push(stream);
                }
            }
        });
        let short = |options: Options| Options {
            patience: Duration::from_secs(1),
            ..options
        };
        let broken = Options {
            address: format!("http://{address}").parse().unwrap(),
            ..options("broken", &[]).await
        };
        let broken = Node::start(broken).await;
        let store = holding(Vec::new()).await;
        let asked = short(options("asked", &[broken.gossip]).await);
        let asked = Server::start(&store.1, asked).await;
        broken.held.send_replace(Arc::new(Share::all()));
        let holds = |view: &View| {
            view.member("broken")
                .is_some_and(|broken| broken.held.is_all())
        };
        asked.node.sees(holds).await;
        Self {
            asked,
            _broken: broken,
            store,
        }
    }

    /// The answers to a question and to an event, when the member that is asked holds nothing.
    async fn answers(self) -> [Answer; 2] {
        self.asked.task.abort();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        self.asked.node.held.send_replace(Arc::default());
        let api = Api::of_member(
            self.store.1.clone(),
            reducers(),
            watch::channel(false).1,
            self.asked.node.members.clone(),
        );
        let task = tokio::spawn(serve(listener, api));
        let asked = Server {
            address,
            task,
            ..self.asked
        };
        let target = "/v1/keys/k/events";
        let read = asked.ask("GET", target, "").await;
        let written = asked
            .ask("POST", target, r#"{"kind":"k","payload":1}"#)
            .await;
        [read, written]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_answer_properly_is_given_up() {
    let lost = "was to be appended may be stored or not";
    let nobody = "nothing was done";
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc";
    let declines = b"HTTP/1.1 503 Service Unavailable\r\nartisanal-forwarded: not-held\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for (sends, closes, written) in [
        (&b""[..], true, lost),
        (b"", false, lost),
        (cut, true, lost),
        (cut, false, lost),
        (b"no HTTP\r\n\r\n", false, lost),
        (declines, true, nobody),
    ] {
        let answers = Broken::new(sends, closes).await.answers().await;
        for (answer, text) in answers.iter().zip([nobody, written]) {
            let problem = answer.json();
            assert_eq!(
                (answer.status, &problem["code"]),
                (503, &json!("unavailable"))
            );
            assert_eq!(answer.headers["retry-after"], "1");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.ends_with(text), "{sends:?} {closes}: {detail}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_not_there_is_nobody() {
    // Nothing listens at its address.
    let broken = Broken::new(b"", true).await;
    let members: &Members = &broken.asked.node.members;
    let address = members.view().member("broken").unwrap().address.clone();
    assert!(address.is_some());
    broken._broken.kill().await;
    let gone = |view: &View| view.holders(7).is_empty();
    broken.asked.node.sees(gone).await;
    for answer in broken.answers().await {
        assert_eq!(answer.status, 503);
        assert!(
            answer.json()["detail"]
                .as_str()
                .unwrap()
                .ends_with("nothing was done")
        );
    }
}

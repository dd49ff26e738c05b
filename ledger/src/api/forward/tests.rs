//! Members with servers, of which one is asked about what others hold.

mod broken;
mod calls;
mod server;

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
use server::{Answer, Cluster, NAMES, Server, client, send, serve};
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

//! Tests of servers in this process, with clients that control every byte on the wire.

mod bodies;
mod endpoint;
mod gone;

use super::*;
use crate::compose::{Target, compose};
use crate::endpoint::{Endpoint, EndpointOptions, proxy};
use crate::{Builtin, Config, Error, Host, Options, Sequence, Source};
use ::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

const SHORT: Duration = Duration::from_millis(200);

/// The time limit of a test that hangs; more than enough for everything else.
const LONG: Duration = Duration::from_secs(60);

async fn memory() -> Sequence {
    let host = Host::new(Options::default()).unwrap();
    host.open(Builtin::Memory, Config::default()).await.unwrap()
}

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Server {
    async fn http(limits: Limits) -> Self {
        let settings =
            intd::Settings::from_lookup(|name| (name == "admin_token").then(|| "t0p".to_owned()));
        let sequence = memory().await;
        let app = intd::App::new(settings.unwrap(), |_| sequence.clone());
        Self::start(|listeners, shutdown| http(listeners, app, limits, shutdown)).await
    }

    async fn start<F: Future<Output = ()> + Send + 'static>(
        serve: impl FnOnce(Listeners, Shutdown) -> F,
    ) -> Self {
        let listeners = Listeners::bind("127.0.0.1", 0).await.unwrap();
        let address = listeners.addresses()[0];
        let shutdown = Shutdown::new();
        let task = tokio::spawn(serve(listeners, shutdown.clone()));
        Self {
            address,
            shutdown,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Shuts the server down and waits for it.
    async fn stop(self) {
        self.shutdown.begin();
        within(self.task).await.unwrap();
        assert!(
            TcpStream::connect(self.address).await.is_err(),
            "the server is still listening"
        );
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what)
        .await
        .expect("it does not hang")
}

async fn send(stream: &mut TcpStream, text: &str) {
    within(stream.write_all(text.as_bytes())).await.unwrap();
}

/// Reads until the text arrives; fails if the connection is closed before.
async fn until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = String::new();
    let mut byte = [0];
    while !read.ends_with(text) {
        let got = within(stream.read(&mut byte)).await.unwrap();
        assert_ne!(got, 0, "ended after {read:?}");
        read.push(char::from(byte[0]));
    }
    read
}

async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends the connection too.
    let _ = within(stream.read_to_end(&mut bytes)).await;
    String::from_utf8(bytes).unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn connections_are_kept_and_pipelined() {
    let server = Server::http(Limits::default()).await;
    let mut client = server.connect().await;
    send(&mut client, GET).await;
    until(&mut client, "\r\n\r\n2").await;
    send(&mut client, &GET.repeat(3)).await;
    for integer in [4, 6, 8] {
        until(&mut client, &format!("\r\n\r\n{integer}")).await;
    }
    server.stop().await;
    assert_eq!(rest(client).await, "", "an idle connection is closed");
}

#[tokio::test]
async fn what_is_in_flight_is_finished() {
    let server = Server::http(Limits::default()).await;
    let mut client = server.connect().await;
    let put = "PUT /v1/sequences/integers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t0p\r\nExpect: 100-continue\r\nContent-Length: 13\r\n\r\n";
    send(&mut client, put).await;
    // At this point the request is being handled.
    until(&mut client, "100 Continue\r\n\r\n").await;
    server.shutdown.begin();
    send(&mut client, "{\"last\": 100}").await;
    let answer = rest(client).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"last\":100"),
        "{answer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn nobody_waits_for_those_who_never_end() {
    let limits = Limits {
        grace: SHORT,
        ..Limits::default()
    };
    let server = Server::http(limits).await;
    let mut client = server.connect().await;
    send(&mut client, "GET / HTTP/1.1\r\nHo").await;
    // The answer on a second connection shows that the first one was accepted.
    let mut other = server.connect().await;
    send(&mut other, GET).await;
    until(&mut other, "\r\n\r\n2").await;
    server.stop().await;
}

#[tokio::test]
async fn slow_senders_are_cut_off() {
    let limits = Limits {
        reading: SHORT,
        ..Limits::default()
    };
    let server = Server::http(limits).await;
    let mut client = server.connect().await;
    send(&mut client, "GET / HTTP/1.1\r\nHo").await;
    assert!(!rest(client).await.contains("200"));
    let mut client = server.connect().await;
    send(
        &mut client,
        "PUT /v1/sequences/integers HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{",
    )
    .await;
    let answer = rest(client).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\"status\":408"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn those_who_do_not_read_are_cut_off() {
    const REQUESTS: usize = 30;
    let limits = Limits {
        writing: SHORT,
        ..Limits::default()
    };
    let server = Server::http(limits).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = within(socket.connect(server.address)).await.unwrap();
    // About 20 MB, more than the server's socket buffers.
    send(
        &mut client,
        &"GET /?count=100000 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(REQUESTS),
    )
    .await;
    tokio::time::sleep(SHORT * 10).await;
    let answers = rest(client).await;
    assert!(answers.matches("HTTP/1.1 200").count() < REQUESTS);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_next_request() {
    let server = Server::http(Limits::default()).await;
    let mut client = server.connect().await;
    send(&mut client, &format!("{GET}GET / HT")).await;
    until(&mut client, "\r\n\r\n2").await;
    send(&mut client, "TP/1.1\r\nHost: x\r\n\r\n").await;
    until(&mut client, "\r\n\r\n4").await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_http_is_told_so() {
    let server = Server::http(Limits::default()).await;
    let mut client = server.connect().await;
    send(&mut client, "\0\r\n\r\n").await;
    let answer = rest(client).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    let mut client = server.connect().await;
    let many = "A: x\r\n".repeat(200);
    send(
        &mut client,
        &format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
    )
    .await;
    let answer = rest(client).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn connections_are_bounded() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let server = Server::http(limits).await;
    let mut first = server.connect().await;
    send(&mut first, GET).await;
    until(&mut first, "\r\n\r\n2").await;
    let mut second = server.connect().await;
    send(&mut second, GET).await;
    let mut byte = [0];
    assert!(
        tokio::time::timeout(SHORT, second.read(&mut byte))
            .await
            .is_err(),
        "it waits"
    );
    drop(first);
    until(&mut second, "\r\n\r\n4").await;
    drop(second);
    server.stop().await;
}

#[tokio::test]
async fn one_line_for_each_connection() {
    let sequence = memory().await;
    let server =
        Server::start(|listeners, shutdown| tcp(listeners, sequence, Limits::default(), shutdown))
            .await;
    for integer in [2, 4, 6] {
        assert_eq!(rest(server.connect().await).await, format!("{integer}\n"));
    }
    server.stop().await;
}

//! Tests of servers in this process, with clients that control every byte on the wire.

use super::*;
use crate::compose::{Target, compose};
use crate::endpoint::{Endpoint, EndpointOptions, proxy};
use crate::{Builtin, Config, Error, Host, Options, Sequence, Source};
use ::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use std::collections::BTreeMap;
use std::net::SocketAddr;
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
async fn bodies_that_are_too_long_are_refused() {
    let server = Server::http(Limits::default()).await;
    let mut client = server.connect().await;
    let head = "PUT /v1/sequences/integers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t0p\r\nContent-Length: 9000\r\n\r\n";
    send(&mut client, &format!("{head}{}", " ".repeat(9000))).await;
    assert!(until(&mut client, "\r\n").await.starts_with("HTTP/1.1 413"));
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

/// A server that answers the first request of a connection at once and the second one never. The sender of
/// the channel is dropped with the second request.
async fn stuck() -> (SocketAddr, tokio::sync::mpsc::Receiver<()>, JoinHandle<()>) {
    use hyper::service::service_fn;
    use std::sync::atomic::{AtomicBool, Ordering};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let first = AtomicBool::new(true);
        let service = service_fn(move |_request| {
            let (first, sender) = (first.swap(false, Ordering::Relaxed), sender.clone());
            async move {
                if !first {
                    sender.send(()).await.unwrap();
                    std::future::pending::<()>().await;
                }
                Ok::<_, Error>(::http::Response::new(Empty::<Bytes>::new()))
            }
        });
        let limits = Limits::default();
        super::connection::connection(
            &super::connection::builder(),
            stream::Stream::Plain(stream),
            service,
            &limits,
            &Shutdown::new(),
        )
        .await;
    });
    (address, receiver, task)
}

#[tokio::test]
async fn requests_of_clients_that_are_gone_are_dropped() {
    let (address, mut begun, task) = stuck().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    send(&mut client, &GET.repeat(2)).await;
    within(begun.recv()).await.unwrap();
    // Closing a connection with unread data resets it.
    within(client.readable()).await.unwrap();
    drop(client);
    within(task).await.unwrap();
    assert_eq!(within(begun.recv()).await, None, "the request is dropped");
}

#[tokio::test]
async fn requests_of_clients_that_only_stop_sending_are_not() {
    let (address, mut begun, task) = stuck().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    send(&mut client, &GET.repeat(2)).await;
    within(begun.recv()).await.unwrap();
    client.shutdown().await.unwrap();
    tokio::time::sleep(SHORT).await;
    assert!(!task.is_finished());
    task.abort();
}

async fn endpoint(options: EndpointOptions) -> Endpoint {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        compose(Builtin::Memory.wasm(), Target::Spin).unwrap(),
    )
    .unwrap();
    let host = Host::new(Options::default()).unwrap();
    host.endpoint(&Source::File(file.path().to_owned()), options)
        .unwrap()
}

async fn call(endpoint: &Endpoint, path: &str) -> Result<(u16, String), Error> {
    let body = Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    let response = within(endpoint.call(Request::builder().uri(path).body(body).unwrap())).await?;
    let status = response.status().as_u16();
    let body = within(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    Ok((status, String::from_utf8(body.to_vec()).unwrap()))
}

/// Without `TCP_NODELAY` the kernel delays a second packet until the client has acknowledged the first: a
/// client that receives a head without its body waits 40 ms each time.
#[tokio::test]
async fn a_component_s_head_and_body_leave_together() {
    let limits = Limits {
        nodelay: false,
        gathering: LONG,
        ..Limits::default()
    };
    let endpoint = endpoint(EndpointOptions::default()).await;
    let server =
        Server::start(|listeners, shutdown| proxy(listeners, endpoint, limits, shutdown)).await;
    let mut client = server.connect().await;
    for integer in 1..=200 {
        send(&mut client, GET).await;
        let mut bytes = [0; 4096];
        let got = within(client.read(&mut bytes)).await.unwrap();
        let answer = String::from_utf8_lossy(&bytes[..got]);
        assert!(
            answer.ends_with(&format!("\r\n\r\n{}", 2 * integer)),
            "the first packet of answer {integer} is {answer:?}"
        );
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn requests_share_an_instance() {
    let settings = BTreeMap::from([
        ("increment".to_owned(), "10".to_owned()),
        ("keys".to_owned(), "a".to_owned()),
    ]);
    let endpoint = endpoint(EndpointOptions {
        settings,
        ..EndpointOptions::default()
    })
    .await;
    let calls = (0..50).map(|_| call(&endpoint, "http://x/"));
    let mut integers: Vec<i64> = futures::future::join_all(calls)
        .await
        .into_iter()
        .map(|answer| answer.unwrap().1.parse().unwrap())
        .collect();
    integers.sort_unstable();
    // Instances of the memory engine share no state, so these integers came from one instance.
    assert_eq!(integers, (1..=50).map(|i| i * 10).collect::<Vec<_>>());
    assert_eq!(
        call(&endpoint, "http://x/v1/sequences/a").await.unwrap().0,
        200
    );
    assert_eq!(
        call(&endpoint, "http://x/v1/sequences/b").await.unwrap().0,
        404
    );
}

#[tokio::test]
async fn instances_are_replaced() {
    let options = EndpointOptions {
        instance_requests: Some(3),
        ..EndpointOptions::default()
    };
    let endpoint = endpoint(options).await;
    for integer in [2, 4, 6, 2, 4, 6, 2] {
        assert_eq!(
            call(&endpoint, "http://x/").await.unwrap(),
            (200, integer.to_string())
        );
    }
    let options = EndpointOptions {
        idle: Some(SHORT),
        ..EndpointOptions::default()
    };
    let endpoint = self::endpoint(options).await;
    assert_eq!(call(&endpoint, "http://x/").await.unwrap().1, "2");
    tokio::time::sleep(SHORT * 5).await;
    assert_eq!(call(&endpoint, "http://x/").await.unwrap().1, "2");
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let endpoint = endpoint(EndpointOptions {
        requests: 2,
        ..EndpointOptions::default()
    })
    .await;
    let calls = (0..5).map(|_| call(&endpoint, "http://x/"));
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
    assert_eq!(
        answers
            .iter()
            .filter(|answer| **answer == Err(Error::Busy))
            .count(),
        3
    );
    assert!(
        call(&endpoint, "http://x/").await.is_ok(),
        "they do not count for ever"
    );
}

#[tokio::test]
async fn what_is_no_endpoint_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let host = Host::new(Options::default()).unwrap();
    for (wasm, said) in [
        (crate::INTD, "compose it with an engine"),
        (Builtin::Memory.wasm(), "no HTTP endpoint"),
    ] {
        std::fs::write(file.path(), wasm).unwrap();
        let source = Source::File(file.path().to_owned());
        let error = host
            .endpoint(&source, EndpointOptions::default())
            .err()
            .unwrap();
        assert!(
            matches!(error, Error::Misconfigured(_)) && error.to_string().contains(said),
            "{error}"
        );
    }
    let settings = BTreeMap::from([("dsn".to_owned(), "redis://h:0".to_owned())]);
    std::fs::write(
        file.path(),
        compose(Builtin::Redis.wasm(), Target::Spin).unwrap(),
    )
    .unwrap();
    let options = EndpointOptions {
        settings,
        ..EndpointOptions::default()
    };
    let error = host
        .endpoint(&Source::File(file.path().to_owned()), options)
        .err()
        .unwrap();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}

/// A raise without its token, whose body of `length` bytes is refused unread. Returns once the server has
/// answered and closed its sending side.
async fn refused_body(server: &Server, length: usize) -> TcpStream {
    let mut client = server.connect().await;
    let head = format!(
        "PUT /v1/sequences/integers HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    );
    send(&mut client, &head).await;
    send(&mut client, &" ".repeat(256 << 10)).await;
    within(client.readable()).await.unwrap();
    tokio::time::sleep(SHORT).await;
    client
}

#[tokio::test]
async fn a_response_reaches_a_client_that_is_still_sending_its_body() {
    let server = Server::http(Limits::default()).await;
    let mut client = refused_body(&server, 4 << 20).await;
    send(&mut client, &" ".repeat(15 * (256 << 10))).await;
    let mut response = String::new();
    within(client.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 401"), "{response}");
    assert!(response.ends_with('}'), "{response}");
    server.stop().await;
}

#[tokio::test]
async fn bodies_are_not_discarded_for_ever() {
    let server = Server::http(Limits::default()).await;
    let endless = refused_body(&server, usize::MAX >> 1).await;
    let silent = refused_body(&server, 4 << 20).await;
    let piece = vec![b' '; 1 << 20];
    let mut sent = 0;
    let mut stream = endless;
    while within(stream.write_all(&piece)).await.is_ok() {
        sent += 1;
        assert!(sent < 128, "{sent} MiB were accepted");
    }
    // Waits for both connections.
    server.stop().await;
    drop(silent);
}

//! A session on streams that give and take as few bytes at a time as they like, and a server behind them.

use super::*;
use proptest::prelude::*;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamResult};

/// The largest write that a component may make at once.
const PERMIT: usize = 16 << 10;

/// How many records without data for the component follow the handshake.
const TICKETS: usize = 100;

/// What is under way, and how many bytes a stream gives or takes at a time.
struct Wire {
    to_server: Vec<u8>,
    to_client: VecDeque<u8>,
    closed: bool,
    read: usize,
    write: usize,
    /// Whether the output takes nothing now. It does so every other time.
    full: bool,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Wire>>);

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut Wire) -> T) -> T {
        change(&mut self.0.lock().expect("no panic"))
    }
}

struct Input(Shared);
struct Output(Shared);

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        let ready = |wire: &mut Wire| wire.closed || !wire.to_client.is_empty();
        poll_fn(|_| {
            if self.0.with(ready) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

#[async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.with(|wire| {
            if wire.to_client.is_empty() && wire.closed {
                return Err(StreamError::Closed);
            }
            let count = size.min(wire.read).min(wire.to_client.len());
            Ok(wire.to_client.drain(..count).collect())
        })
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.with(|wire| {
            assert!(bytes.len() <= wire.write, "more than was permitted");
            wire.to_server.extend_from_slice(&bytes);
        });
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.0.with(|wire| {
            wire.full = !wire.full;
            if wire.full { 0 } else { wire.write }
        }))
    }
}

struct Pair {
    session: Session,
    server: ServerConnection,
    wire: Shared,
}

impl Pair {
    /// A session with a server that it trusts, or that it does not. Streams give and take so many bytes at a time.
    fn new(trusted: bool, read: usize, write: usize) -> Self {
        let made = rcgen::generate_simple_self_signed(["db.example".to_owned()]).expect("made");
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        if trusted {
            roots.add(certificate.clone()).expect("an authority");
        }
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate");
        server.send_tls13_tickets = TICKETS;
        let name = "db.example".try_into().expect("a name");
        let client = ClientConnection::new(Arc::new(client), name).expect("a client");
        let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
        server.set_buffer_limit(None);
        let wire = Shared(Arc::new(Mutex::new(Wire {
            to_server: Vec::new(),
            to_client: VecDeque::new(),
            closed: false,
            read,
            write,
            full: false,
        })));
        let session = Session::new(
            client,
            "db.example".to_owned(),
            Failure::default(),
            Box::new(Input(wire.clone())),
            Box::new(Output(wire.clone())),
        );
        Self {
            session,
            server,
            wire,
        }
    }

    /// Lets the server read and write all that it can; returns what it got.
    fn serve(&mut self) -> Result<Vec<u8>, rustls::Error> {
        let records = self.wire.with(|wire| std::mem::take(&mut wire.to_server));
        let (mut rest, mut got) = (&*records, Vec::new());
        while !rest.is_empty() {
            self.server.read_tls(&mut rest).expect("room");
            let state = self.server.process_new_packets()?;
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.server.reader().read_exact(&mut plain).expect("there");
            got.extend(plain);
        }
        let mut records = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut records).expect("written");
        }
        self.wire.with(|wire| wire.to_client.extend(records));
        Ok(got)
    }

    /// Sends a request, and returns what the server got.
    fn request(&mut self, request: &[u8]) -> Vec<u8> {
        let mut got = self.await_sent();
        for part in request.chunks(PERMIT) {
            self.session.put(part).expect("there is room");
            got.extend(self.await_sent());
        }
        got
    }

    /// Waits until all is sent, and returns what the server got meanwhile.
    fn await_sent(&mut self) -> Vec<u8> {
        let mut got = Vec::new();
        loop {
            let sent = self.session.poll_sent(&mut noop());
            got.extend(self.serve().expect("served"));
            if let Poll::Ready(sent) = sent {
                sent.expect("sent");
                return got;
            }
        }
    }

    /// Reads up to `most` bytes; None at the end.
    fn read(&mut self, most: usize) -> Poll<io::Result<Option<Bytes>>> {
        ready!(self.session.poll_readable(&mut noop()))?;
        Poll::Ready(Ok(self.session.take(most)))
    }
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Bytes that differ from their neighbours.
fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn everything_arrives_whatever_the_streams_give_and_take(
        read in prop_oneof![1..40_usize, 1..100_000_usize],
        write in prop_oneof![1..40_usize, 1..100_000_usize],
        most in prop_oneof![1..40_usize, 1..100_000_usize],
        request in 0..60_000_usize,
        reply in 1..100_000_usize,
    ) {
        let mut pair = Pair::new(true, read, write);
        let (request, reply) = (text(request), text(reply));
        prop_assert!(pair.request(&request) == request);
        pair.server.writer().write_all(&reply).expect("there is room");
        pair.serve().expect("served");
        let mut got = Vec::new();
        while got.len() < reply.len() {
            let under_way = pair.wire.with(|wire| !wire.to_client.is_empty());
            let part = match pair.read(most) {
                Poll::Ready(part) => part.expect("read").expect("not the end"),
                Poll::Pending if under_way => continue,
                Poll::Pending => panic!("{} bytes are missing", reply.len() - got.len()),
            };
            prop_assert!((1..=most).contains(&part.len()));
            got.extend(part);
        }
        prop_assert!(got == reply);
        prop_assert!(pair.read(most).is_pending());
    }
}

#[test]
fn the_end_comes_after_what_was_sent_with_a_farewell_or_without() {
    for farewell in [true, false] {
        let mut pair = Pair::new(true, 1000, 1000);
        pair.request(b"request");
        pair.server.writer().write_all(b"reply").expect("room");
        if farewell {
            pair.server.send_close_notify();
        }
        pair.serve().expect("served");
        pair.wire.with(|wire| wire.closed = !farewell);
        let Poll::Ready(Ok(Some(reply))) = pair.read(10) else {
            panic!("no reply")
        };
        assert_eq!(reply, "reply");
        for _ in 0..2 {
            assert!(matches!(pair.read(10), Poll::Ready(Ok(None))), "{farewell}");
        }
        assert_eq!(pair.session.failure.get(), None);
    }
}

#[test]
fn a_server_that_goes_away_during_the_handshake_is_an_error() {
    let mut pair = Pair::new(true, 1000, 1000);
    assert!(pair.read(10).is_pending());
    pair.wire.with(|wire| wire.closed = true);
    let Poll::Ready(Err(error)) = pair.read(10) else {
        panic!("no error")
    };
    assert!(error.to_string().contains("handshake"), "{error}");
    assert!(matches!(pair.read(10), Poll::Ready(Err(_))), "not an end");
}

#[test]
fn a_failure_is_explained_to_both_sides() {
    let mut pair = Pair::new(false, 1000, 1000);
    assert!(pair.read(10).is_pending());
    pair.serve().expect("served");
    let Poll::Ready(Err(error)) = pair.read(10) else {
        panic!("no error")
    };
    assert!(error.to_string().contains("unknown authority"), "{error}");
    assert_eq!(pair.session.failure.get(), Some(&error.to_string()));
    assert!(
        pair.session
            .poll_sent(&mut noop())
            .map(|sent| sent.is_err())
            == Poll::Ready(true)
    );
    let heard = pair.serve().expect_err("an alert");
    assert!(matches!(heard, rustls::Error::AlertReceived(_)), "{heard}");
}

#[test]
fn another_protocol_is_told() {
    let mut pair = Pair::new(true, 1000, 1000);
    assert!(pair.read(10).is_pending());
    pair.wire
        .with(|wire| wire.to_client.extend(b"-ERR unknown command\r\n"));
    assert!(matches!(pair.read(10), Poll::Ready(Err(_))));
    let failure = pair.session.failure.get().expect("a failure");
    assert!(failure.contains("does not speak TLS"), "{failure}");
}

#[test]
fn records_without_data_let_other_tasks_run() {
    // Less than one record for each read.
    let mut pair = Pair::new(true, 50, 1000);
    pair.request(b"request");
    let polls = (0..1000).take_while(|_| {
        let pending = pair.read(10).is_pending();
        assert!(pending, "nothing was sent");
        pair.wire.with(|wire| !wire.to_client.is_empty())
    });
    let polls = polls.count();
    assert!(polls > TICKETS / READS, "{polls} polls");
    pair.server.writer().write_all(b"reply").expect("room");
    pair.serve().expect("served");
    let Poll::Ready(Ok(Some(reply))) = pair.read(10) else {
        panic!("no reply")
    };
    assert_eq!(reply, "reply");
}

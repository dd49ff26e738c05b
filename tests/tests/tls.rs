//! `int-host serve --tls-cert --tls-key`: what clients see over TLS, on both protocols.

use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testbed::TestResult;
use testbed::certificates::{Authority, Certificate};
use testbed::cli::{Place, Serving};
use testbed::tls::{Client, Stream};
use testbed::{port, wait};

/// The time limit for anything that should take a moment.
const SOON: Duration = Duration::from_secs(30);

/// A server with a certificate.
struct Server {
    serving: Serving,
    place: Place,
    authority: Authority,
    cert: PathBuf,
    key: PathBuf,
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in Unicode")
}

impl Server {
    fn start(arguments: &[&str]) -> TestResult<Self> {
        let (place, authority) = (Place::new()?, Authority::new()?);
        let (cert, key) = authority.sign()?.write(&place.file("server"))?;
        let mut all = vec![
            "--engine",
            "memory",
            "--tls-cert",
            text(&cert),
            "--tls-key",
            text(&key),
        ];
        all.extend(arguments);
        Ok(Self {
            serving: place.serve(&all)?,
            place,
            authority,
            cert,
            key,
        })
    }

    fn client(&self, own: Option<&Certificate>) -> TestResult<Client> {
        Ok(Client::new(&self.authority, own, &[])?)
    }

    fn connect(&self) -> TestResult<Stream> {
        Ok(self.client(None)?.connect(self.serving.port())?)
    }

    fn logs(&self, says: &str) -> TestResult {
        wait::until_true(&format!("it logs {says:?}"), SOON, || {
            self.serving.log().contains(says)
        })?;
        Ok(())
    }
}

fn get(stream: &mut Stream, path: &str) -> TestResult<(u16, String)> {
    Ok(Client::get(stream, path)?)
}

/// What comes until the server closes the connection.
fn rest(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn plain(port: u16) -> TestResult<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    Ok(stream)
}

#[test]
fn https_serves_what_http_serves() -> TestResult {
    let port = port::free()?;
    let listen = format!("http://127.0.0.1:{port}");
    let server = Server::start(&["--listen", &listen])?;
    assert!(
        server
            .serving
            .log()
            .contains("listening on https://127.0.0.1:")
    );
    let mut stream = server.connect()?;
    assert_eq!(get(&mut stream, "/")?, (200, "2".into()));
    assert_eq!(get(&mut stream, "/?count=3")?, (200, "4\n6\n8\n".into()));
    // Many pieces, each of which is several records.
    let (status, many) = {
        let request = b"GET /?count=100000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("sent");
        let all = rest(stream);
        let (head, body) = all.split_once("\r\n\r\n").expect("a head");
        (head.contains(" 200 "), body.to_owned())
    };
    assert!(status);
    assert_eq!(many.lines().count(), 100_000);
    assert!(many.ends_with("\n200008\n"), "{}", &many[many.len() - 20..]);
    // The further address is plain, as its scheme says.
    let plainly = testbed::http::get(&format!("http://127.0.0.1:{port}/"))?;
    assert_eq!(plainly.integer(), 200_010);
    Ok(())
}

#[test]
fn the_redis_protocol_has_tls_with_redis_cli() -> TestResult {
    let port = port::free()?;
    let listen = format!("rediss://127.0.0.1:{port}");
    let server = Server::start(&["--listen", &listen])?;
    let ca = server.place.file("ca.pem");
    std::fs::write(&ca, server.authority.pem()).expect("written");
    let cli = |arguments: &[&str]| {
        let output = Command::new("redis-cli")
            .args([
                "--tls",
                "--cacert",
                text(&ca),
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
            ])
            .args(arguments)
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(cli(&["INCR", "integers"]), "2");
    assert_eq!(cli(&["INCRBY", "integers", "3"]), "8");
    assert_eq!(cli(&["GET", "integers"]), "8");
    // A long pipeline in one connection.
    let mut stream = server.client(None)?.connect(port)?;
    let commands = "INCR integers\r\n".repeat(5000) + "QUIT\r\n";
    stream.write_all(commands.as_bytes()).expect("sent");
    let replies = rest(stream);
    assert!(replies.starts_with(":10\r\n") && replies.ends_with(":10008\r\n+OK\r\n"));
    // Without TLS there is an error that says so.
    let mut stream = plain(port)?;
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").expect("sent");
    let answer = rest(stream);
    assert!(answer.starts_with("-ERR this port speaks TLS"), "{answer}");
    Ok(())
}

#[test]
fn a_client_without_tls_is_told() -> TestResult {
    let metrics = port::free()?;
    let server = Server::start(&["--metrics", &metrics.to_string()])?;
    let answer = testbed::http::get(&server.serving.url("/"))?;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("https://"), "{}", answer.body);
    // Nothing was minted for it.
    assert_eq!(get(&mut server.connect()?, "/")?, (200, "2".into()));
    let text = testbed::http::get(&format!("http://127.0.0.1:{metrics}/metrics"))?.body;
    let counted = "artisanal_tls_handshakes_failed_total{reason=\"plain\"} 1";
    assert!(text.contains(counted), "{text}");
    assert!(
        text.contains("\nartisanal_tls_certificate_expiry_timestamp_seconds "),
        "{text}"
    );
    assert!(
        server
            .serving
            .log()
            .contains("the client speaks without TLS")
    );
    Ok(())
}

#[test]
fn a_client_that_says_nothing_is_closed() -> TestResult {
    let server = Server::start(&["--max-connections", "2"])?;
    // They hold all connections, so that the last client is served only when their time is over.
    let silent = [plain(server.serving.port())?, plain(server.serving.port())?];
    assert_eq!(get(&mut server.connect()?, "/")?, (200, "2".into()));
    for stream in silent {
        assert_eq!(rest(stream), "");
    }
    assert!(server.serving.log().contains("it took too long"));
    Ok(())
}

#[test]
fn a_new_certificate_is_used_without_a_lost_request() -> TestResult {
    let server = Server::start(&[])?;
    let port = server.serving.port();
    let mut kept = server.connect()?;
    assert_eq!(get(&mut kept, "/ping")?, (200, "PONG".into()));
    let (old, new) = (server.client(None)?, Authority::new()?);
    let client = Client::new(&new, None, &[])?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| -> TestResult<u32> {
            let mut answered = 0;
            let mut stream = old.connect(port)?;
            while !done.load(Ordering::Relaxed) {
                // Each connection is by one of the two certificates, and none fails.
                let fresh = old.connect(port).or_else(|_| client.connect(port))?;
                for stream in [&mut stream, &mut { fresh }] {
                    assert_eq!(Client::get(stream, "/")?.0, 200);
                    answered += 1;
                }
            }
            Ok(answered)
        });
        new.sign()?.write(&server.place.file("server"))?;
        wait::until("the new certificate is used", SOON, || client.connect(port))?;
        done.store(true, Ordering::Relaxed);
        let answered = load.join().expect("no panic")?;
        assert!(answered > 0);
        TestResult::Ok(())
    })?;
    // The connection from before goes on.
    assert_eq!(get(&mut kept, "/ping")?, (200, "PONG".into()));
    assert!(
        old.connect(port).is_err(),
        "the old one is not used any more"
    );
    Ok(())
}

#[test]
fn a_bad_new_certificate_leaves_the_old_one_in_use() -> TestResult {
    let server = Server::start(&[])?;
    let valid = std::fs::read(&server.cert).expect("read");
    std::fs::write(&server.cert, "no certificate").expect("written");
    server.logs("stay in use")?;
    assert!(server.serving.log().contains("BEGIN CERTIFICATE"));
    server.connect()?;
    // A key of another certificate, at a signal.
    std::fs::write(&server.cert, valid).expect("written");
    let other = server.authority.sign()?.key;
    let own = std::fs::read(&server.key).expect("read");
    std::fs::write(&server.key, other).expect("written");
    server.serving.signal(Signal::HUP);
    server.logs("does not belong to the first certificate")?;
    server.connect()?;
    std::fs::write(&server.key, own).expect("written");
    server.serving.signal(Signal::HUP);
    server.logs("certificate and key were read anew")?;
    server.connect()?;
    Ok(())
}

#[test]
fn with_a_client_authority_only_its_clients_are_served() -> TestResult {
    let place = Place::new()?;
    let (authority, clients) = (Authority::new()?, Authority::new()?);
    let (cert, key) = authority.sign()?.write(&place.file("server"))?;
    let ca = place.file("clients.pem");
    std::fs::write(&ca, clients.pem()).expect("written");
    let options = [
        "--tls-cert",
        text(&cert),
        "--tls-key",
        text(&key),
        "--client-ca",
        text(&ca),
    ];
    let serving = place.serve(&[&["--engine", "memory"], &options[..]].concat())?;
    let get = |own: Option<&Certificate>| -> testbed::Result<(u16, String)> {
        let mut stream = Client::new(&authority, own, &[])?.connect(serving.port())?;
        Client::get(&mut stream, "/")
    };
    let known = clients.sign()?;
    assert_eq!(get(Some(&known))?, (200, "2".into()));
    for stranger in [None, Some(authority.sign()?), Some(clients.sign_expired()?)] {
        assert!(get(stranger.as_ref()).is_err());
    }
    assert_eq!(get(Some(&known))?, (200, "4".into()));
    // Another authority takes over, and the certificates of the first one are refused.
    let others = Authority::new()?;
    std::fs::write(&ca, others.pem()).expect("written");
    let other = others.sign()?;
    wait::until("the new authority is used", SOON, || get(Some(&other)))?;
    assert!(get(Some(&known)).is_err());
    Ok(())
}

#[test]
fn wrong_files_are_named_at_the_start() -> TestResult {
    let (place, authority) = (Place::new()?, Authority::new()?);
    let (cert, key) = authority.sign()?.write(&place.file("a"))?;
    let (_, other) = authority.sign()?.write(&place.file("b"))?;
    let missing = place.file("missing.pem");
    let fails = |cert: &Path, key: &Path, says: &[&str]| -> TestResult {
        let line = [
            "serve",
            "--engine",
            "memory",
            "--port",
            "0",
            "--tls-cert",
            text(cert),
            "--tls-key",
            text(key),
        ];
        place.run(&line)?.assert_failed(8, says);
        Ok(())
    };
    fails(&missing, &key, &["missing.pem", "No such file"])?;
    fails(&key, &key, &["a.key", "BEGIN CERTIFICATE"])?;
    fails(&cert, &cert, &["a.pem", "BEGIN PRIVATE KEY"])?;
    fails(&cert, &other, &["b.key", "does not belong", "a.pem"])?;
    let line = [
        "serve",
        "--engine",
        "memory",
        "--listen",
        "https://localhost:0",
    ];
    place
        .run(&line)?
        .assert_failed(2, &["https://", "--tls-cert"]);
    let line = ["serve", "--engine", "memory", "--tls-cert", text(&cert)];
    place.run(&line)?.assert_failed(2, &["--tls-key"]);
    // An expired certificate is the client's business, and a warning.
    let (cert, key) = authority.sign_expired()?.write(&place.file("old"))?;
    let serving = place.serve(&[
        "--engine",
        "memory",
        "--tls-cert",
        text(&cert),
        "--tls-key",
        text(&key),
    ])?;
    assert!(serving.log().contains("has expired"), "{}", serving.log());
    assert!(
        Client::new(&authority, None, &[])?
            .connect(serving.port())
            .is_err()
    );
    Ok(())
}

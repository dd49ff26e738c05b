//! HTTP/2 of `int-host serve`: what clients choose, and frames that no well-meaning client sends.

use std::io::{self, ErrorKind, Read, Write};
use testbed::TestResult;
use testbed::certificates::Authority;
use testbed::cli::{Place, Serving};
use testbed::tls::{Client, Stream};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// END_STREAM and END_HEADERS.
const WHOLE: u8 = 0x5;

/// `:method GET`, `:path /`, `:scheme https`, `:authority x`, by the static table of HPACK.
const GET: [u8; 6] = [0x82, 0x84, 0x87, 0x41, 1, b'x'];

struct Server {
    serving: Serving,
    authority: Authority,
    _place: Place,
}

/// A frame that the server sent.
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Server {
    fn start() -> TestResult<Self> {
        let (place, authority) = (Place::new()?, Authority::new()?);
        let (cert, key) = authority.sign()?.write(&place.file("server"))?;
        let (cert, key) = (
            cert.to_str().expect("Unicode"),
            key.to_str().expect("Unicode"),
        );
        let options = ["--engine", "memory", "--tls-cert", cert, "--tls-key", key];
        Ok(Self {
            serving: place.serve(&options)?,
            authority,
            _place: place,
        })
    }

    fn connect(&self, alpn: &[&str]) -> TestResult<Stream> {
        let client = Client::new(&self.authority, None, alpn)?;
        Ok(client.connect(self.serving.port())?)
    }

    /// A connection over HTTP/2 on which the client gives each stream this much room for its answer.
    fn http2(&self, window: u32) -> TestResult<Stream> {
        let mut stream = self.connect(&["h2"])?;
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
        let mut settings = vec![0, 4];
        settings.extend(window.to_be_bytes());
        let mut begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        begin.extend(frame(SETTINGS, 0, 0, &settings));
        stream.write_all(&begin).expect("sent");
        Ok(stream)
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The next frame; an error when the server has closed the connection.
fn next(stream: &mut Stream) -> io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let [a, b, c, kind, flags, d, e, f, g] = head;
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("it fits");
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok(Frame {
        kind,
        flags,
        stream: u32::from_be_bytes([d, e, f, g]),
        payload,
    })
}

/// Reads until a frame like this comes.
fn until(stream: &mut Stream, wanted: impl Fn(&Frame) -> bool) -> Frame {
    loop {
        let frame = next(stream).expect("the connection is open");
        if wanted(&frame) {
            return frame;
        }
    }
}

#[test]
fn the_client_chooses_the_version() -> TestResult {
    let server = Server::start()?;
    for (alpn, integer) in [(&["http/1.1"][..], "2"), (&[], "4")] {
        let mut stream = server.connect(alpn)?;
        assert_eq!(Client::get(&mut stream, "/")?, (200, integer.into()));
    }
    let both = server.connect(&["h2", "http/1.1"])?;
    assert_eq!(both.conn.alpn_protocol(), Some(&b"h2"[..]));
    assert!(server.connect(&["spdy/3"]).is_err());
    let mut stream = server.http2(65_535)?;
    for (id, integer) in [(1, "6"), (3, "8"), (5, "10")] {
        stream
            .write_all(&frame(HEADERS, WHOLE, id, &GET))
            .expect("sent");
        let data = until(&mut stream, |frame| {
            frame.kind == DATA && !frame.payload.is_empty()
        });
        assert_eq!(
            (data.stream, data.payload.as_slice()),
            (id, integer.as_bytes())
        );
    }
    Ok(())
}

#[test]
fn requests_in_flight_have_a_bound() -> TestResult {
    let server = Server::start()?;
    // No answer is taken, so every stream stays open.
    let mut stream = server.http2(0)?;
    let settings = until(&mut stream, |frame| {
        frame.kind == SETTINGS && frame.flags == 0
    });
    let most = settings
        .payload
        .chunks_exact(6)
        .find(|setting| setting[..2] == [0, 3])
        .expect("a bound of streams");
    assert_eq!(most[2..], 100u32.to_be_bytes());
    let requests: Vec<u8> = (0..150u32)
        .flat_map(|n| frame(HEADERS, WHOLE, 2 * n + 1, &GET))
        .collect();
    stream.write_all(&requests).expect("sent");
    let refused = until(&mut stream, |frame| {
        frame.kind == RST_STREAM || frame.kind == GOAWAY
    });
    assert!(refused.stream == 0 || refused.stream > 200, "{refused:?}");
    // Others are served.
    let mut other = server.connect(&["http/1.1"])?;
    assert_eq!(Client::get(&mut other, "/ping")?.0, 200);
    Ok(())
}

#[test]
fn a_client_that_resets_its_requests_is_cut_off() -> TestResult {
    let server = Server::start()?;
    let mut stream = server.http2(65_535)?;
    let cancel = 8u32.to_be_bytes();
    let resets: Vec<u8> = (0..20_000u32)
        .flat_map(|n| {
            let id = 2 * n + 1;
            [
                frame(HEADERS, WHOLE, id, &GET),
                frame(RST_STREAM, 0, id, &cancel),
            ]
            .concat()
        })
        .collect();
    // It is cut off while it sends.
    let _ = stream.write_all(&resets);
    loop {
        match next(&mut stream) {
            // ENHANCE_YOUR_CALM
            Ok(frame) if frame.kind == GOAWAY => {
                assert_eq!(frame.payload.get(4..8), Some(&[0, 0, 0, 11][..]));
                break;
            }
            Ok(_) => {}
            // A reset connection may lose that frame.
            Err(error) => {
                let open = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(!open, "the connection is open: {error}");
                break;
            }
        }
    }
    let mut other = server.connect(&["http/1.1"])?;
    assert_eq!(Client::get(&mut other, "/ping")?.0, 200);
    Ok(())
}

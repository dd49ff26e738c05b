//! The connection.

use crate::{Cmd, Value};
use engine_dsn::Address;
use engine_guest::deadline::Deadline;
use engine_guest::socket::{BROKEN, is_broken};
use engine_tls::{Session, Verification};
use redis::Parser;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The maximum length of a reply. Integers and errors are far shorter.
pub const MAX_REPLY_BYTES: usize = 64 * 1024;

/// Why a connection could not be made or can no longer be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The host of the component does not permit this connection, or does not trust the server.
    Forbidden(String),
    /// The network or the server failed; a retry may succeed.
    Broken(String),
    /// The server did not answer in time. A retry on the same server would probably take as long.
    Silent(String),
    /// The server does not use this protocol.
    Strange(String),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(message)
            | Self::Broken(message)
            | Self::Silent(message)
            | Self::Strange(message) => f.write_str(message),
        }
    }
}

/// A connection to one server. It must be dropped after an error: otherwise the reply to an earlier
/// command could be read as the reply to a later one.
pub struct Wire {
    stream: TcpStream,
    parser: Parser,
    /// The server's address in messages.
    to: String,
    tls: Option<Session>,
    /// Whether a reply has arrived.
    answered: bool,
}

impl Wire {
    /// Connects to the first of the host's addresses that answers. Each address gets an equal share of
    /// the remaining time.
    ///
    /// Name resolution is done by the host and has the host's own time limit.
    ///
    /// # Errors
    /// If no address answers in time, or the host permits none.
    pub fn dial(address: &Address, port: u16, deadline: Deadline) -> Result<Self, Lost> {
        let port = address.port_or(port);
        let to = Address {
            host: address.host.clone(),
            port: Some(port),
        }
        .to_string();
        let lost = |error: io::Error| {
            let message = format!("cannot connect to {to}: {}", explain(&error));
            match error.kind() {
                io::ErrorKind::PermissionDenied => Lost::Forbidden(message),
                kind if is_timeout(kind) => Lost::Silent(message),
                _ => Lost::Broken(message),
            }
        };
        let targets: Vec<_> = (address.host.as_str(), port)
            .to_socket_addrs()
            .map_err(lost)?
            .collect();
        let mut last = if targets.is_empty() {
            Lost::Broken(format!("cannot connect to {to}: the name has no address"))
        } else {
            lost(io::ErrorKind::TimedOut.into())
        };
        for (n, target) in targets.iter().enumerate() {
            let Some(left) = deadline.left() else { break };
            let share = left / u32::try_from(targets.len() - n).unwrap_or(u32::MAX);
            let connected = TcpStream::connect_timeout(target, share.max(SHORTEST))
                .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
            match connected {
                Ok(stream) => {
                    return Ok(Self {
                        stream,
                        parser: Parser::new(),
                        to,
                        tls: None,
                        answered: false,
                    });
                }
                Err(error) => last = lost(error),
            }
        }
        Err(last)
    }

    /// As [`Wire::dial`], and with TLS: the certificate must be valid for the host of `address`.
    ///
    /// The handshake is part of the first exchange.
    ///
    /// # Errors
    /// Those of [`Wire::dial`], and if the host of the component offers no TLS.
    pub fn dial_with_tls(address: &Address, port: u16, deadline: Deadline) -> Result<Self, Lost> {
        let mut wire = Self::dial(address, port, deadline)?;
        let addresses = wire.stream.local_addr().and_then(|local| {
            let peer = wire.stream.peer_addr()?;
            Ok((local, peer))
        });
        let unfit = |why: String| format!("cannot use TLS with {}: {why}", wire.to);
        let (local, peer) = addresses.map_err(|error| Lost::Broken(unfit(explain(&error))))?;
        let session = Session::start(local, peer, &address.host, Verification::Name)
            .map_err(|why| Lost::Forbidden(unfit(why)))?;
        wire.tls = Some(session);
        Ok(wire)
    }

    /// The server's address, as `host:port`.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// Sends commands together and reads one reply for each. A reply may be an error of the server.
    ///
    /// # Errors
    /// If the replies do not arrive in time, are too long or do not follow the protocol.
    pub fn exchange<const N: usize>(
        &mut self,
        commands: [&Cmd; N],
        deadline: Deadline,
    ) -> Result<[Value; N], Lost> {
        self.try_exchange(commands, deadline).map_err(|error| {
            if let Some(why) = self.tls.as_ref().and_then(Session::failure) {
                return Lost::Forbidden(format!("cannot connect to {}: {why}", self.to));
            }
            match error.kind() {
                io::ErrorKind::InvalidData => Lost::Strange(format!("{} {error}", self.to)),
                // On WASI, a connection can be refused after it seemed to be made.
                io::ErrorKind::NotConnected => {
                    Lost::Broken(format!("cannot connect to {}", self.to))
                }
                // A server without TLS may wait for the end of what it takes for a command.
                kind if is_timeout(kind) && self.tls.is_some() && !self.answered => {
                    Lost::Silent(format!(
                        "{} did not answer in time; does it speak TLS on this port?",
                        self.to
                    ))
                }
                kind if is_timeout(kind) => {
                    Lost::Silent(format!("lost {}: {}", self.to, explain(&error)))
                }
                // What a server with TLS does with a command, and one without with a handshake.
                _ if is_broken(&error) && !self.answered => {
                    let asks = match &self.tls {
                        Some(_) => "does it speak TLS on this port?",
                        None => "does this port want TLS?",
                    };
                    Lost::Broken(format!("lost {}: {}; {asks}", self.to, explain(&error)))
                }
                _ => Lost::Broken(format!("lost {}: {}", self.to, explain(&error))),
            }
        })
    }

    fn try_exchange<const N: usize>(
        &mut self,
        commands: [&Cmd; N],
        deadline: Deadline,
    ) -> io::Result<[Value; N]> {
        let mut bytes = Vec::new();
        for command in commands {
            command.write_packed_command(&mut bytes);
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            self.stream.set_write_timeout(Some(left(deadline)?))?;
            let written = self.stream.write(rest)?;
            rest = rest
                .get(written..)
                .filter(|_| written > 0)
                .ok_or(io::ErrorKind::WriteZero)?;
        }
        let mut replies = [const { Value::Nil }; N];
        for reply in &mut replies {
            let mut bounded = Bounded {
                stream: &mut self.stream,
                deadline,
                room: MAX_REPLY_BYTES,
                failed: None,
            };
            *reply = self.parser.parse_value(&mut bounded).map_err(|error| {
                bounded.failed.take().unwrap_or_else(|| {
                    if error.is_io_error() {
                        io::ErrorKind::UnexpectedEof.into()
                    } else {
                        strange("that does not follow the Redis protocol")
                    }
                })
            })?;
            self.answered = true;
        }
        Ok(replies)
    }
}

/// The error for a reply that no server of this protocol sends.
fn strange(how: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("sent a reply {how}; is it the right server?"),
    )
}

/// The shortest socket timeout: sockets do not accept zero.
const SHORTEST: Duration = Duration::from_millis(1);

fn left(deadline: Deadline) -> io::Result<Duration> {
    deadline
        .left()
        .map(|left| left.max(SHORTEST))
        .ok_or_else(|| io::ErrorKind::TimedOut.into())
}

/// Reads until the deadline, up to a maximum number of bytes.
struct Bounded<'a> {
    stream: &'a mut TcpStream,
    deadline: Deadline,
    room: usize,
    /// Why reading failed: the parser passes on only the kind of an error.
    failed: Option<io::Error>,
}

impl Bounded<'_> {
    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(strange("that is too long for an integer"));
        }
        let end = buffer.len().min(self.room);
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        let read = self
            .stream
            .read(buffer.get_mut(..end).unwrap_or_default())?;
        self.room = self.room.saturating_sub(read);
        Ok(read)
    }
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_read(buffer).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }
}

fn is_timeout(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// Describes an I/O error in the same words on every host.
fn explain(error: &io::Error) -> String {
    match error.kind() {
        kind if is_timeout(kind) => "no answer in time".into(),
        io::ErrorKind::UnexpectedEof => "the server closed the connection".into(),
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::PermissionDenied => {
            "the host does not permit this component to connect there".into()
        }
        _ if is_broken(error) => BROKEN.into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::cmd;
    use std::net::TcpListener;
    use std::thread;

    /// A server that accepts one connection, reads a little, sends `replies` and, if `stay` is set,
    /// keeps the connection open until the client closes it.
    fn server(replies: Vec<u8>, stay: bool) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 64];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(&replies);
            if stay {
                let _ = stream.read(&mut request);
            }
        });
        Address {
            host: "127.0.0.1".into(),
            port: Some(port),
        }
    }

    fn ask<const N: usize>(replies: &[u8], stay: bool, millis: u64) -> Result<[Value; N], Lost> {
        let address = server(replies.to_vec(), stay);
        let mut wire = Wire::dial(&address, 1, Deadline::after(Duration::from_secs(10)))?;
        let ping = cmd("PING");
        wire.exchange(
            std::array::from_fn(|_| &ping),
            Deadline::after(Duration::from_millis(millis)),
        )
    }

    #[test]
    fn replies_come_in_order() {
        assert_eq!(
            ask(b":1\r\n$2\r\nhi\r\n", true, 10_000),
            Ok([Value::Int(1), Value::BulkString(b"hi".to_vec())])
        );
    }

    #[test]
    fn a_server_that_goes_or_stalls_is_lost() {
        for replies in [&b""[..], b":1"] {
            let lost = ask::<1>(replies, false, 10_000).expect_err("no whole reply");
            assert!(matches!(&lost, Lost::Broken(_)), "{replies:?}: {lost:?}");
            let lost = ask::<1>(replies, true, 50).expect_err("no whole reply");
            assert!(matches!(&lost, Lost::Silent(_)), "{replies:?}: {lost:?}");
        }
    }

    #[test]
    fn other_protocols_and_endless_replies_are_strange() {
        let endless = [b"$1000000\r\n".as_slice(), &[b'x'; MAX_REPLY_BYTES]].concat();
        let deep = b"*1\r\n".repeat(1000);
        for replies in [b"HTTP/1.1 400 Bad Request\r\n\r\n", &endless[..], &deep] {
            let lost = ask::<1>(replies, true, 10_000).expect_err("not a reply");
            assert!(matches!(&lost, Lost::Strange(_)), "{lost:?}");
        }
    }

    #[test]
    fn nobody_there_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let address = Address {
            host: "127.0.0.1".into(),
            port: None,
        };
        let lost = Wire::dial(&address, port, Deadline::after(Duration::from_secs(10)))
            .map(|_| ())
            .expect_err("nobody listens");
        assert_eq!(
            lost,
            Lost::Broken(format!(
                "cannot connect to 127.0.0.1:{port}: connection refused"
            ))
        );
    }
}

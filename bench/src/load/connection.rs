//! A client connection: it writes requests and reads responses.

use super::answer::{self, Answer};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

/// The initial buffer size, enough for a response with one integer; it grows for longer ones.
const BUFFER: usize = 4096;

/// The maximum length of a response: 100 000 integers of 20 digits and the head.
const LONGEST: usize = 4 << 20;

/// The value of `written` while no request is in flight.
const IDLE: usize = usize::MAX;

pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How many bytes of the buffer were read but not consumed.
    filled: usize,
    /// How many bytes of the request were written.
    written: usize,
    /// The index of the request in flight in the load's list.
    pub(super) request: usize,
    /// When the request in flight began.
    pub(super) began: Instant,
    /// The greatest integer that was received on this connection.
    pub(super) greatest: i64,
}

impl Connection {
    pub(super) fn open(
        address: SocketAddr,
        registry: &Registry,
        token: Token,
        request: usize,
    ) -> io::Result<Self> {
        // The blocking connect completes before the measurement begins.
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            buffer: vec![0; BUFFER],
            filled: 0,
            written: IDLE,
            request,
            began: Instant::now(),
            greatest: 0,
        })
    }

    /// Starts a request. [`Connection::write`] writes it.
    pub(super) fn begin(&mut self, request: usize, now: Instant) {
        self.request = request;
        self.began = now;
        self.written = 0;
    }

    /// Whether a request is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.written != IDLE
    }

    /// Writes the rest of the request until the socket would block.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        while let Some(rest) = bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                // An event follows when the socket is writable.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads available bytes. Returns the response when it is complete.
    pub(super) fn read(&mut self) -> io::Result<Option<Answer>> {
        loop {
            if self.filled == self.buffer.len() {
                if self.filled >= LONGEST {
                    return Err(invalid("the response is too long"));
                }
                self.buffer.resize(self.filled * 2, 0);
            }
            let room = self.buffer.len() - self.filled;
            let read = match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.filled += read;
            let answer = answer::parse(&self.buffer[..self.filled]).map_err(invalid)?;
            // After a short read the socket is empty, and an event follows when more bytes arrive.
            if answer.is_some() || read < room {
                return Ok(answer);
            }
        }
    }

    /// The body of the response that was read.
    pub(super) fn body(&self, answer: &Answer) -> &[u8] {
        &self.buffer[answer.head..answer.head + answer.body]
    }

    /// Removes the response that was read from the buffer.
    pub(super) fn done(&mut self, answer: &Answer) {
        let end = answer.head + answer.body;
        // Bytes after the response, which a correct server does not send, make the next response invalid.
        self.buffer.copy_within(end..self.filled, 0);
        self.filled -= end;
        self.written = IDLE;
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

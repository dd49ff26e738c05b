//! One connection: bytes out, answers in.

use super::answer::{self, Answer};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

/// Room for any answer with one integer; it grows for those with more.
const BUFFER: usize = 4096;

/// The longest answer that is read: 100 000 integers of 20 digits and their head.
const LONGEST: usize = 4 << 20;

/// In the place of how much was written: nothing is under way.
const IDLE: usize = usize::MAX;

pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of the buffer is read and not yet taken.
    filled: usize,
    /// How much of the request is written.
    written: usize,
    /// The request under way: its index in the load's list.
    pub(super) request: usize,
    /// When the request under way began.
    pub(super) began: Instant,
    /// The greatest integer that came on this connection.
    pub(super) greatest: i64,
}

impl Connection {
    pub(super) fn open(
        address: SocketAddr,
        registry: &Registry,
        token: Token,
        request: usize,
    ) -> io::Result<Self> {
        // Connected before the clock runs.
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

    /// Makes this the request under way. It is written by [`Connection::write`].
    pub(super) fn begin(&mut self, request: usize, now: Instant) {
        self.request = request;
        self.began = now;
        self.written = 0;
    }

    /// Whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.written != IDLE
    }

    /// Writes what is left of the request, as far as the socket takes it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        while let Some(rest) = bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                // An event will come.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what there is. Returns the answer when it is whole.
    pub(super) fn read(&mut self) -> io::Result<Option<Answer>> {
        loop {
            if self.filled == self.buffer.len() {
                if self.filled >= LONGEST {
                    return Err(invalid("the answer is too long"));
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
            // With less than there was room for, the socket is empty, and an event will come.
            if answer.is_some() || read < room {
                return Ok(answer);
            }
        }
    }

    /// The body of the answer that was read.
    pub(super) fn body(&self, answer: &Answer) -> &[u8] {
        &self.buffer[answer.head..answer.head + answer.body]
    }

    /// Forgets the answer that was read.
    pub(super) fn done(&mut self, answer: &Answer) {
        let end = answer.head + answer.body;
        // Nothing follows an answer before the next request is sent; if it does, it will show.
        self.buffer.copy_within(end..self.filled, 0);
        self.filled -= end;
        self.written = IDLE;
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

//! TLS over the two streams of a connection.

use super::explain::explain;
use super::half::Half;
use super::link::Failure;
use bytes::{Bytes, BytesMut};
use rustls::ClientConnection;
use std::io::{self, IoSlice, Read, Write};
use std::task::{Context, Poll, ready};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, StreamError};

/// How many bytes are read at a time. Replies to engines are short.
const CHUNK: usize = 4 << 10;

/// How often is read in a row without getting data for the component. The longest record takes five reads.
const READS: usize = 16;

/// How many bytes are written at a time. Requests of engines are shorter.
const JOINED: usize = 32 << 10;

/// The TLS of one connection. Its functions are polled by both streams of the component, which one task drives.
///
/// It drives rustls itself, because a mint waits for every layer in between.
pub(super) struct Session {
    tls: ClientConnection,
    input: Half<DynInputStream>,
    output: Half<DynOutputStream>,
    /// The server's name, for messages.
    name: String,
    /// What the component has not read yet.
    decrypted: BytesMut,
    /// Whether the server has closed the connection.
    ended: bool,
    /// Whether an operation failed. All later ones fail, too.
    broken: bool,
    failure: Failure,
}

impl Session {
    /// A connection to the server of this name, before the handshake. It sets `failure` when TLS fails.
    pub(super) fn new(
        tls: ClientConnection,
        name: String,
        failure: Failure,
        input: DynInputStream,
        output: DynOutputStream,
    ) -> Self {
        Self {
            tls,
            input: Half::Idle(input),
            output: Half::Idle(output),
            name,
            decrypted: BytesMut::new(),
            ended: false,
            broken: false,
            failure,
        }
    }

    /// Waits until the handshake is done and everything that was written is on its way.
    pub(super) fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_broken(|session| {
            ready!(session.poll_handshake(context))?;
            session.poll_send(context)
        })
    }

    /// Waits until there is something to read, or the end.
    pub(super) fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.decrypted.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.unless_broken(|session| {
            ready!(session.poll_handshake(context))?;
            // A reply can only come once the request is on its way.
            if !session.ended
                && let Poll::Ready(Err(error)) = session.poll_send(context)
            {
                return Poll::Ready(Err(error));
            }
            for _ in 0..READS {
                if !session.decrypted.is_empty() || session.ended {
                    return Poll::Ready(Ok(()));
                }
                ready!(session.poll_receive(context))?;
            }
            // A server that sends records without data, on and on, must not keep other tasks waiting.
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    /// Up to this many bytes that were decrypted; None at the end.
    pub(super) fn take(&mut self, most: usize) -> Option<Bytes> {
        if self.decrypted.is_empty() && self.ended {
            return None;
        }
        let taken = if most < self.decrypted.len() {
            self.decrypted.split_to(most)
        } else {
            std::mem::take(&mut self.decrypted)
        };
        Some(taken.freeze())
    }

    /// Encrypts what the component writes, at most 16 KiB, after [`Session::poll_sent`] was ready.
    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(bytes)
    }

    fn unless_broken(
        &mut self,
        poll: impl FnOnce(&mut Self) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        let result = poll(self);
        self.broken = matches!(result, Poll::Ready(Err(_)));
        result
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            ready!(self.poll_send(context))?;
            if self.ended {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server ended the TLS handshake",
                )));
            }
            ready!(self.poll_receive(context))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the records that rustls has for the server.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let tls = &mut self.tls;
            let sent = self.output.poll(context, |stream| {
                let room = stream.check_write()?.min(JOINED);
                if room == 0 {
                    return Ok(None);
                }
                let mut records = Records::up_to(room);
                tls.write_tls(&mut records)
                    .map_err(|error| StreamError::LastOperationFailed(error.into()))?;
                stream.write(records.joined.freeze())?;
                Ok(Some(()))
            });
            if ready!(sent)?.is_none() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, and decrypts what was read.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let read = self.input.poll(context, |stream| {
            let bytes = stream.read(CHUNK)?;
            Ok((!bytes.is_empty()).then_some(bytes))
        });
        let Some(records) = ready!(read)? else {
            // Perhaps without a farewell of TLS: protocols of databases have their own end.
            self.ended = true;
            return Poll::Ready(Ok(()));
        };
        let mut rest = &*records;
        while !rest.is_empty() && !self.ended {
            self.tls.read_tls(&mut rest)?;
            match self.tls.process_new_packets() {
                Ok(state) => {
                    self.decrypt(state.plaintext_bytes_to_read())?;
                    self.ended = state.peer_has_closed();
                }
                Err(error) => {
                    // The server may learn the reason.
                    let _ = self.poll_send(context);
                    let why = explain(&error, &self.name);
                    // It is set once: all later operations fail without another reason.
                    let _ = self.failure.set(why.clone());
                    return Poll::Ready(Err(io::Error::other(why)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes this many bytes out of rustls, which takes in no more records while it has many.
    fn decrypt(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let mut fresh = BytesMut::zeroed(count);
        self.tls.reader().read_exact(&mut fresh)?;
        self.decrypted.unsplit(fresh);
        Ok(())
    }
}

/// Records for one write. Of several small writes, the second would wait until the server has confirmed the first
/// (Nagle's algorithm), which takes up to 40 ms in each handshake.
struct Records {
    joined: BytesMut,
    room: usize,
}

impl Records {
    fn up_to(room: usize) -> Self {
        Self {
            joined: BytesMut::new(),
            room,
        }
    }
}

impl Write for Records {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room - self.joined.len());
        self.joined
            .extend_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn write_vectored(&mut self, records: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut written = 0;
        for record in records {
            written += self.write(record)?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! Bounds the memory of messages that clients have begun to send. A message may have 4 MiB, and a client that stops in the
//! middle of one would keep what it sent in memory: with many of them that would be more than a machine has.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::PollSemaphore;

/// How many bytes of a message are read without a permit. Batches of a few hundred mints are shorter.
const SHORT: usize = 16 << 10;

/// How many longer messages are in memory at a time. The clients of further ones wait.
const LONG: usize = 64;

/// How long a longer message may take, from its permit on.
const LIMIT: Duration = Duration::from_secs(10);

/// The bytes of a client's control frame beside its payload.
const CONTROL: usize = 6;

/// The messages that clients send.
#[derive(Clone)]
pub(crate) struct Intake(Arc<Inner>);

struct Inner {
    permits: Arc<Semaphore>,
    waits: AtomicU64,
}

/// A connection, from which no more is read than the intake has room for.
pub(crate) struct Reader<S> {
    stream: S,
    intake: Intake,
    permits: PollSemaphore,
    waiting: bool,
    /// The bytes that were read since the last message.
    read: usize,
    long: Option<Long>,
}

/// A message that needs a permit.
struct Long {
    permit: OwnedSemaphorePermit,
    limit: Pin<Box<Sleep>>,
}

impl Intake {
    /// Reads messages from this connection.
    pub(crate) fn reader<S>(&self, stream: S) -> Reader<S> {
        Reader {
            stream,
            intake: self.clone(),
            permits: PollSemaphore::new(Arc::clone(&self.0.permits)),
            waiting: false,
            read: 0,
            long: None,
        }
    }

    /// How many messages have a permit.
    pub(crate) fn long(&self) -> usize {
        LONG - self.0.permits.available_permits()
    }

    /// How many messages have waited for a permit.
    pub(crate) fn waits(&self) -> u64 {
        self.0.waits.load(Ordering::Relaxed)
    }
}

impl Default for Intake {
    fn default() -> Self {
        Self(Arc::new(Inner {
            permits: Arc::new(Semaphore::new(LONG)),
            waits: AtomicU64::new(0),
        }))
    }
}

impl<S> Reader<S> {
    /// Notes the end of a message. The permit, if it has one, is to be kept for as long as the message.
    pub(crate) fn end_message(&mut self) -> Option<OwnedSemaphorePermit> {
        self.read = 0;
        self.long.take().map(|long| long.permit)
    }

    /// Notes a control frame with a payload of this length. It is part of no message.
    pub(crate) fn skip_control(&mut self, payload: usize) {
        self.read = self.read.saturating_sub(payload + CONTROL);
    }

    /// Resolves once more may be read.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.long.is_none() && self.read >= SHORT {
            let Poll::Ready(permit) = self.permits.poll_acquire(cx) else {
                if !std::mem::replace(&mut self.waiting, true) {
                    self.intake.0.waits.fetch_add(1, Ordering::Relaxed);
                }
                return Poll::Pending;
            };
            self.waiting = false;
            self.long = permit.map(|permit| Long {
                permit,
                limit: Box::pin(sleep(LIMIT)),
            });
        }
        if let Some(long) = &mut self.long
            && long.limit.as_mut().poll(cx).is_ready()
        {
            let text = "the message took too long";
            return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, text)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Reader<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_room(cx))?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        this.read += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Reader<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    const MOMENT: Duration = Duration::from_millis(100);

    /// A client that has sent a long message, and its reader.
    async fn client(intake: &Intake) -> (DuplexStream, Reader<DuplexStream>) {
        let (mut client, server) = duplex(4 * SHORT);
        client.write_all(&[0; 2 * SHORT]).await.unwrap();
        (client, intake.reader(server))
    }

    async fn read(reader: &mut Reader<DuplexStream>) -> io::Result<usize> {
        let mut bytes = vec![0; SHORT];
        reader.read(&mut bytes).await
    }

    #[tokio::test(start_paused = true)]
    async fn more_long_messages_than_there_is_room_for_wait() {
        let intake = Intake::default();
        let mut clients = Vec::new();
        for _ in 0..LONG {
            let (client, mut reader) = client(&intake).await;
            for _ in 0..2 {
                assert_eq!(read(&mut reader).await.unwrap(), SHORT);
            }
            clients.push((client, reader));
        }
        let (_last, mut further) = client(&intake).await;
        assert_eq!(read(&mut further).await.unwrap(), SHORT, "without a permit");
        assert!(timeout(MOMENT, read(&mut further)).await.is_err());
        let (_short, mut short) = client(&intake).await;
        assert_eq!(read(&mut short).await.unwrap(), SHORT, "nobody waits");
        assert_eq!((intake.long(), intake.waits()), (LONG, 1));
        // The message has arrived, and its permit is kept for as long as somebody works on it.
        let kept = clients[0].1.end_message();
        assert!(kept.is_some());
        assert!(timeout(MOMENT, read(&mut further)).await.is_err());
        drop(kept);
        assert_eq!(read(&mut further).await.unwrap(), SHORT);
        assert_eq!((intake.long(), intake.waits()), (LONG, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_message_that_does_not_come_is_given_up() {
        let intake = Intake::default();
        let (_client, mut reader) = client(&intake).await;
        for _ in 0..2 {
            assert_eq!(read(&mut reader).await.unwrap(), SHORT);
        }
        assert_eq!(intake.long(), 1);
        let error = read(&mut reader).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(reader);
        assert_eq!(intake.long(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn control_frames_are_no_part_of_a_message() {
        let intake = Intake::default();
        let (mut client, server) = duplex(4 * SHORT);
        let mut reader = intake.reader(server);
        let ping = [0; CONTROL + 10];
        for _ in 0..=SHORT / ping.len() {
            client.write_all(&ping).await.unwrap();
            let mut bytes = ping;
            reader.read_exact(&mut bytes).await.unwrap();
            reader.skip_control(10);
        }
        assert_eq!((reader.read, intake.long()), (0, 0));
        assert!(reader.end_message().is_none());
    }
}

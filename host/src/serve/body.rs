//! Response bodies that are written piece by piece.
//!
//! hyper polls for the next piece of a body long before the previous one is written, and buffers it. Here
//! the next piece is created only once the system has accepted the previous one, so that a slow client
//! costs the memory of one piece, however long its response is.

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};
use intd::{Content, Reservation};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

/// The body of a response of [`intd::App`].
pub(crate) type Outgoing = Either<Full<Bytes>, Box<Paced<Pieces>>>;

/// Creates the body for some content. Short content is sent whole.
pub(crate) fn outgoing(content: Content) -> Outgoing {
    match content.into_whole() {
        Ok(bytes) => Either::Left(Full::new(bytes)),
        Err(mut content) => {
            let reservation = content.take_reservation();
            Either::Right(Box::new(Paced::new(Pieces(content), reservation)))
        }
    }
}

/// Content as a body.
pub(crate) struct Pieces(Content);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next_piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len())
    }
}

/// A body that has at most one unwritten piece at a time.
pub(crate) struct Paced<B> {
    body: B,
    gate: Arc<Gate>,
}

/// The state that a body and its unwritten piece share.
#[derive(Default)]
struct Gate {
    /// Whether there is an unwritten piece.
    closed: AtomicBool,
    /// The task that waits for the piece to be written.
    waiting: AtomicWaker,
    /// Released when the body is dropped and its last piece is written.
    reservation: Option<Reservation>,
}

impl<B> Paced<B> {
    /// Holds `reservation` until the last piece is written or dropped.
    pub(crate) fn new(body: B, reservation: Option<Reservation>) -> Self {
        Self {
            body,
            gate: Arc::new(Gate {
                reservation,
                ..Gate::default()
            }),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { body, gate } = self.get_mut();
        if gate.closed.load(Ordering::Acquire) {
            gate.waiting.register(context.waker());
            // It may have been written in between.
            if gate.closed.load(Ordering::Acquire) {
                return Poll::Pending;
            }
        }
        let frame = ready!(Pin::new(&mut *body).poll_frame(context));
        if gate.reservation.is_none() && body.size_hint().exact() == Some(0) {
            // The last piece needs no gate, since no piece follows that would have to wait.
            return Poll::Ready(frame);
        }
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| frame.map_data(|bytes| Bytes::from_owner(Piece::new(bytes, gate))))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A piece that is not yet written. Dropping it opens the gate.
struct Piece {
    bytes: Bytes,
    gate: Arc<Gate>,
}

impl Piece {
    fn new(bytes: Bytes, gate: &Arc<Gate>) -> Self {
        gate.closed.store(true, Ordering::Release);
        Self {
            bytes,
            gate: Arc::clone(gate),
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // Frees this piece's memory before the next piece is created.
        self.bytes = Bytes::new();
        self.gate.closed.store(false, Ordering::Release);
        self.gate.waiting.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use http_body_util::{BodyExt, StreamBody};

    fn piece(text: &'static str) -> Result<Frame<Bytes>, Infallible> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    #[tokio::test]
    async fn one_piece_is_on_its_way_at_a_time() {
        let pieces = futures::stream::iter([piece("a"), piece("b"), piece("c")]);
        let mut body = Paced::new(StreamBody::new(pieces), None);
        let a = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(
            body.frame().now_or_never().is_none(),
            "the first is not written"
        );
        let mut waiting = tokio::spawn(async move {
            let b = body.frame().await.unwrap().unwrap().into_data().unwrap();
            (b, body)
        });
        tokio::task::yield_now().await;
        assert!((&mut waiting).now_or_never().is_none());
        drop(a);
        let (b, mut body) = waiting.await.unwrap();
        assert_eq!(b, "b");
        // Clones and slices keep the piece alive.
        let part = b.slice(0..1);
        drop(b);
        assert!(body.frame().now_or_never().is_none());
        drop(part);
        assert!(body.frame().now_or_never().is_some());
    }
}

//! The requests of an HTTP/2 connection, and clients that do not take their answers.
//!
//! Over HTTP/1.1 an answer that nobody takes blocks writes, which have a timeout. Over HTTP/2 it does not: a client may
//! give no room for the answer of one stream and go on with others. So each answer is in a list until its last byte is
//! written, with the time of its latest progress.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

/// The streams of one connection.
#[derive(Default)]
pub(super) struct Streams {
    /// How many requests are being answered.
    answering: AtomicUsize,
    sending: Mutex<Sending>,
}

#[derive(Default)]
struct Sending {
    /// How often the connection was checked.
    checks: u64,
    /// How many parts of answers were written.
    written: u64,
    next: u64,
    /// For each answer that is not written, the check that its latest progress followed.
    answers: HashMap<u64, u64>,
}

impl Streams {
    /// Resolves to the output of `answer`, whose request is in flight until then.
    pub(super) fn request<F: Future>(
        self: &Arc<Self>,
        answer: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let answering = Answering::new(self);
        async move {
            let answer = answer.await;
            drop(answering);
            answer
        }
    }

    /// Whether no request is being answered.
    pub(super) fn are_answered(&self) -> bool {
        self.answering.load(Ordering::Relaxed) == 0
    }

    /// How many parts of answers were written so far.
    pub(super) fn written(&self) -> u64 {
        self.sending().written
    }

    /// To be called after equal intervals. Whether there is an answer of which nothing was written for a whole interval.
    pub(super) fn check(&self) -> bool {
        let mut sending = self.sending();
        let last = sending.checks;
        sending.checks += 1;
        sending.answers.values().any(|progress| *progress < last)
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in flight. The client may reset it, and then it is dropped.
struct Answering(Arc<Streams>);

impl Answering {
    fn new(streams: &Arc<Streams>) -> Self {
        streams.answering.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer in the list.
struct Answer {
    streams: Arc<Streams>,
    id: u64,
}

impl Answer {
    fn new(streams: &Arc<Streams>) -> Self {
        let mut sending = streams.sending();
        let id = sending.next;
        sending.next += 1;
        let now = sending.checks;
        sending.answers.insert(id, now);
        drop(sending);
        Self {
            streams: Arc::clone(streams),
            id,
        }
    }

    fn progress(&self) {
        let mut sending = self.streams.sending();
        sending.written = sending.written.wrapping_add(1);
        let now = sending.checks;
        sending.answers.insert(self.id, now);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.streams.sending().answers.remove(&self.id);
    }
}

/// A body that is in the list until its last part is written.
pub(super) struct Listed<B> {
    body: B,
    answer: Arc<Answer>,
}

impl<B> Listed<B> {
    pub(super) fn new(body: B, streams: &Arc<Streams>) -> Self {
        Self {
            body,
            answer: Arc::new(Answer::new(streams)),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Listed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { body, answer } = self.get_mut();
        let frame = ready!(Pin::new(body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|bytes| {
                    Bytes::from_owner(Part {
                        bytes,
                        answer: Arc::clone(answer),
                    })
                })
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A part of an answer, which is dropped when it is written.
struct Part {
    bytes: Bytes,
    answer: Arc<Answer>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.answer.progress();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use http_body_util::{BodyExt, Full};

    #[test]
    fn an_answer_that_nobody_takes_is_noticed() {
        let streams = Arc::new(Streams::default());
        assert!(!streams.check());
        let mut body = Listed::new(Full::new(Bytes::from_static(b"2")), &streams);
        assert!(!streams.check(), "it is not there for a whole interval");
        let part = body.frame().now_or_never();
        drop(body);
        assert!(streams.check());
        assert_eq!(streams.written(), 0);
        drop(part);
        assert_eq!(streams.written(), 1);
        assert!(!streams.check());
    }

    #[test]
    fn progress_is_noticed() {
        let streams = Arc::new(Streams::default());
        let mut body = Listed::new(Full::new(Bytes::from_static(b"2")), &streams);
        for _ in 0..3 {
            assert!(!streams.check());
            // A part that is written while there are others.
            drop(Part {
                bytes: Bytes::new(),
                answer: Arc::clone(&body.answer),
            });
        }
        let part = body.frame().now_or_never();
        drop(part);
        assert!(!streams.check());
        assert!(streams.check());
    }

    #[tokio::test]
    async fn requests_in_flight_are_counted() {
        let streams = Arc::new(Streams::default());
        let request = streams.request(async { 2 });
        assert!(!streams.are_answered());
        assert_eq!(request.await, 2);
        assert!(streams.are_answered());
        let reset = streams.request(std::future::pending::<()>());
        assert!(!streams.are_answered());
        drop(reset);
        assert!(streams.are_answered());
    }
}

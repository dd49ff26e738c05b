//! Sending the head of a response together with the first frame of its body.

use ::http::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, WasiBody};

/// Waits for the first frame of the body, but no longer than `longest`, so that it is sent together with
/// the head.
///
/// A component's body is read in another thread, so its first frame comes a moment after the head. hyper
/// sends what it has before it waits for a body, so without this function most responses would be sent in
/// two packets. Without `TCP_NODELAY` the second packet would also wait for the client's acknowledgment
/// of the first, which takes 40 ms. A frame that comes later is sent after the head, as usual.
pub(crate) async fn with_first_frame(
    response: Response<WasiBody>,
    longest: Duration,
) -> Response<Buffered> {
    let (parts, mut body) = response.into_parts();
    let begun = if body.is_end_stream() {
        Buffered::default()
    } else {
        match timeout(longest, body.frame()).await {
            Ok(first) => Buffered {
                rest: first.is_some().then_some(body),
                first,
            },
            Err(_) => Buffered {
                first: None,
                rest: Some(body),
            },
        }
    };
    Response::from_parts(parts, begun)
}

/// A body whose first frame may have been read already.
#[derive(Default)]
pub(crate) struct Buffered {
    first: Option<Result<Frame<Bytes>, Error>>,
    /// The rest of the body; None if nothing follows `first`.
    rest: Option<WasiBody>,
}

impl Body for Buffered {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let first = match &self.first {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
            _ => 0,
        };
        let rest = match &self.rest {
            Some(rest) => rest.size_hint(),
            None => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(first));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(first)) {
            hint.set_upper(upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use futures::channel::mpsc;
    use http_body_util::StreamBody;
    use std::time::Instant;

    /// The time limit of a test that hangs.
    const LONG: Duration = Duration::from_secs(60);

    fn body() -> (mpsc::UnboundedSender<&'static str>, WasiBody) {
        let (sender, receiver) = mpsc::unbounded();
        let frames =
            receiver.map(|text: &str| Ok(Frame::data(Bytes::from_static(text.as_bytes()))));
        (sender, StreamBody::new(frames).boxed_unsync())
    }

    /// The data frames of the body, in order.
    async fn pieces(mut body: Buffered) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.extend(frame.unwrap().into_data());
        }
        pieces
    }

    #[tokio::test]
    async fn the_first_piece_is_waited_for() {
        let (sender, body) = body();
        let answer = tokio::spawn(with_first_frame(Response::new(body), LONG));
        tokio::task::yield_now().await;
        sender.unbounded_send("12").unwrap();
        let body = answer.await.unwrap().into_body();
        assert_eq!(body.size_hint().lower(), 2);
        assert!(!body.is_end_stream());
        sender.unbounded_send("34").unwrap();
        drop(sender);
        assert_eq!(pieces(body).await, ["12", "34"]);
    }

    #[tokio::test]
    async fn a_body_that_begins_late_holds_its_head_up_only_so_long() {
        let (sender, body) = body();
        let short = Duration::from_millis(20);
        let begun = Instant::now();
        let body = with_first_frame(Response::new(body), short)
            .await
            .into_body();
        assert!(begun.elapsed() >= short);
        sender.unbounded_send("12").unwrap();
        drop(sender);
        assert_eq!(pieces(body).await, ["12"]);
    }

    #[tokio::test]
    async fn a_body_may_be_empty() {
        let (sender, body) = body();
        drop(sender);
        let body = with_first_frame(Response::new(body), LONG)
            .await
            .into_body();
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(pieces(body).await.is_empty());
    }
}

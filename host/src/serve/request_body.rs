//! Reads the bodies of requests.

use super::Limits;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Body;
use intd::Problem;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

/// How many bytes of a body are read without a permit. A connection has up to a hundred requests at a time.
const SHORT: usize = 1 << 10;

/// How many longer bodies are in memory at a time. Further ones wait.
pub(super) const LONG: usize = 1024;

/// Why the body of a request could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    Incomplete,
    Late,
    /// Too many long bodies were read at the time.
    Busy,
}

impl From<Unread> for Problem {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Incomplete => Self::invalid("the request's body is incomplete"),
            Unread::Late => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "invalid",
                "the request's body did not arrive in time",
            ),
            Unread::Busy => Self::busy("too many requests with long bodies at a time"),
        }
    }
}

/// Reads the body, up to `most` bytes, so that a body that is too long is detected.
pub(crate) async fn read<B: Body<Data = Bytes> + Unpin>(
    mut body: B,
    most: usize,
    limits: &Limits,
) -> Result<Bytes, Unread> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let deadline = Instant::now() + limits.reading;
    let mut bytes = Vec::new();
    let mut permit = None;
    while bytes.len() < most {
        if permit.is_none() && bytes.len() > SHORT {
            let acquired = Arc::clone(&limits.long_bodies).acquire_owned();
            let acquired = timeout_at(deadline, acquired).await;
            permit = Some(acquired.ok().and_then(Result::ok).ok_or(Unread::Busy)?);
        }
        let frame = timeout_at(deadline, body.frame()).await;
        let Some(frame) = frame.map_err(|_| Unread::Late)? else {
            break;
        };
        if let Some(data) = frame.map_err(|_| Unread::Incomplete)?.data_ref() {
            bytes.extend_from_slice(data.get(..most - bytes.len()).unwrap_or(data));
        }
    }
    Ok(match permit {
        None => bytes.into(),
        Some(permit) => Bytes::from_owner(Long {
            bytes,
            _permit: permit,
        }),
    })
}

/// A long body, which has its permit for as long as it is in memory.
struct Long {
    bytes: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Long {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream::{iter, pending};
    use futures::{StreamExt, future::join_all};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use std::convert::Infallible;
    use std::time::Duration;

    const MOST: usize = 4 * SHORT;

    /// A body whose pieces have these lengths, and whose end does not come if it is not `whole`.
    fn body(
        lengths: impl IntoIterator<Item = usize>,
        whole: bool,
    ) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let frames = lengths
            .into_iter()
            .map(|length| Ok(Frame::data(vec![b'x'; length].into())));
        let frames: Vec<_> = frames.collect();
        let end = if whole {
            iter([]).boxed()
        } else {
            pending().boxed()
        };
        StreamBody::new(iter(frames).chain(end))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_read_up_to_the_limit() {
        let limits = Limits::default();
        for (lengths, whole, expected) in [
            (vec![], true, Ok(0)),
            (vec![1, 2, 3], true, Ok(6)),
            (vec![SHORT, SHORT, SHORT], true, Ok(3 * SHORT)),
            (vec![SHORT; 9], true, Ok(MOST)),
            (vec![MOST + 7], false, Ok(MOST)),
            (vec![1], false, Err(Unread::Late)),
            (vec![SHORT; 3], false, Err(Unread::Late)),
        ] {
            let read = read(body(lengths.clone(), whole), MOST, &limits).await;
            assert_eq!(read.map(|bytes| bytes.len()), expected, "{lengths:?}");
        }
        assert_eq!(limits.long_bodies.available_permits(), LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn few_long_bodies_are_in_memory_at_a_time() {
        let limits = Limits::default();
        let long = || body([SHORT, 1, 1], true);
        let held = join_all((0..LONG).map(|_| read(long(), MOST, &limits))).await;
        assert_eq!(limits.long_bodies.available_permits(), 0);
        let begun = Instant::now();
        assert_eq!(read(long(), MOST, &limits).await, Err(Unread::Busy));
        assert_eq!(begun.elapsed().as_secs(), limits.reading.as_secs());
        // A short one does not wait, and a long one does until another one is no longer needed.
        let short = read(body([SHORT], true), MOST, &limits).await;
        assert_eq!(short.map(|bytes| bytes.len()), Ok(SHORT));
        let free = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(held);
        };
        let (read, ()) = tokio::join!(read(long(), MOST, &limits), free);
        assert_eq!(read.map(|bytes| bytes.len()), Ok(SHORT + 2));
    }
}

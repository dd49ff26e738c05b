//! One request and its answer.

use crate::bindings::wasi::http::client;
use crate::bindings::wasi::http::types::{
    Fields, Method as WasiMethod, Request as Outgoing, RequestOptions, Response, Scheme,
};
use crate::bindings::{wit_future, wit_stream};
use crate::{Failure, Quoter, nanos, sleep};
use futures::future::{Either, join, select};
use std::pin::pin;
use std::time::Duration;
use wit_bindgen::StreamResult;

/// How much is read at a time, in bytes; most answers are shorter.
const CHUNK: usize = 4 * 1024;

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// Whether to use `https`.
    pub secure: bool,
    /// Host and port.
    pub authority: &'a str,
    /// The path with the query.
    pub path: &'a str,
    /// The value of the header `authorization`.
    pub authorization: Option<&'a [u8]>,
    /// The body, which is JSON.
    pub body: Option<&'a [u8]>,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body. A truncated one is not detected here: JSON shows it.
    pub body: Vec<u8>,
    /// How long the upstream asks to wait before the next request (`Retry-After`), if it says so in
    /// seconds.
    pub retry_after: Option<Duration>,
}

impl Request<'_> {
    /// Sends the request and reads the answer, which may have up to `most` bytes, within `limit`.
    ///
    /// # Errors
    /// As the cases of [`Failure`] say.
    pub async fn send(
        &self,
        limit: Duration,
        most: usize,
        quoter: &Quoter,
    ) -> Result<Answer, Failure> {
        // The timeouts in the request's options cover parts of it, and a host may ignore them.
        within(limit, self.exchange(nanos(limit), most, quoter)).await
    }

    async fn exchange(&self, nanos: u64, most: usize, quoter: &Quoter) -> Result<Answer, Failure> {
        let method = match self.method {
            Method::Get => WasiMethod::Get,
            Method::Post => WasiMethod::Post,
            Method::Put => WasiMethod::Put,
        };
        let (contents, to_write) = match self.body {
            Some(body) => {
                let (writer, reader) = wit_stream::new();
                (Some(reader), Some((writer, body.to_vec())))
            }
            None => (None, None),
        };
        // There are no trailers: the writer is dropped.
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (request, _sent) =
            Outgoing::new(self.fields()?, contents, trailers, Some(options(nanos)));
        let scheme = if self.secure {
            Scheme::Https
        } else {
            Scheme::Http
        };
        request
            .set_method(&method)
            .and_then(|()| request.set_scheme(Some(&scheme)))
            .and_then(|()| request.set_authority(Some(self.authority)))
            .and_then(|()| request.set_path_with_query(Some(self.path)))
            .map_err(|()| Failure::Address)?;
        let write = async {
            if let Some((mut writer, body)) = to_write {
                // If the upstream does not read all of it, its answer, or the lack of one, shows that.
                writer.write_all(body).await;
            }
        };
        let (response, ()) = join(client::send(request), write).await;
        receive(response.map_err(|code| Failure::of(&code, quoter))?, most).await
    }

    fn fields(&self) -> Result<Fields, Failure> {
        let mut entries = Vec::with_capacity(3);
        if let Some(authorization) = self.authorization {
            entries.push(("authorization".to_owned(), authorization.to_vec()));
        }
        if let Some(body) = self.body {
            entries.push(("content-type".to_owned(), b"application/json".to_vec()));
            let length = body.len().to_string().into_bytes();
            entries.push(("content-length".to_owned(), length));
        } else if self.method != Method::Get {
            entries.push(("content-length".to_owned(), b"0".to_vec()));
        }
        Fields::from_list(&entries).map_err(|_| Failure::Headers)
    }
}

/// The result of an exchange, or [`Failure::Late`]. Whichever loses the race is cancelled.
pub(crate) async fn within(
    limit: Duration,
    exchange: impl Future<Output = Result<Answer, Failure>>,
) -> Result<Answer, Failure> {
    match select(pin!(exchange), pin!(sleep(limit))).await {
        Either::Left((result, _)) => result,
        Either::Right(((), _)) => Err(Failure::Late(limit)),
    }
}

/// Timeouts for the parts of a request. A host that does not support them returns an error, which is
/// ignored.
fn options(nanos: u64) -> RequestOptions {
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(Some(nanos));
    let _ = options.set_first_byte_timeout(Some(nanos));
    let _ = options.set_between_bytes_timeout(Some(nanos));
    options
}

async fn receive(response: Response, most: usize) -> Result<Answer, Failure> {
    let status = response.get_status_code();
    let retry_after = retry_after(&response.get_headers().get("retry-after"));
    let (_, done) = wit_future::new(|| Ok(()));
    let (mut stream, _trailers) = Response::consume_body(response, done);
    let mut body = Vec::new();
    let mut buffer = Vec::with_capacity(CHUNK);
    loop {
        let (result, mut chunk) = stream.read(buffer).await;
        body.append(&mut chunk);
        if body.len() > most {
            return Err(Failure::TooLong(most));
        }
        match result {
            StreamResult::Complete(_) => buffer = chunk,
            StreamResult::Dropped | StreamResult::Cancelled => {
                return Ok(Answer {
                    status,
                    body,
                    retry_after,
                });
            }
        }
    }
}

/// The value of the header in seconds. Dates, and whatever else it may be, are ignored.
pub(crate) fn retry_after(values: &[Vec<u8>]) -> Option<Duration> {
    let [value] = values else { return None };
    let seconds: u32 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_to_wait() {
        let of = |text: &str| retry_after(&[text.as_bytes().to_vec()]);
        assert_eq!(of("3"), Some(Duration::from_secs(3)));
        assert_eq!(of(" 0 "), Some(Duration::ZERO));
        for other in [
            "",
            "-1",
            "1.5",
            "99999999999",
            "Fri, 31 Dec 1999 23:59:59 GMT",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(retry_after(&[]), None);
        assert_eq!(retry_after(&[b"1".to_vec(), b"2".to_vec()]), None);
        assert_eq!(retry_after(&[vec![0xff]]), None);
    }
}

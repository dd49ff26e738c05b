//! A request as HTTP/1.1 writes it (RFC 9112, section 3).

use crate::{Failure, Method, Request};

/// The bytes of a request.
///
/// # Errors
/// [`Failure::Address`] or [`Failure::Headers`] for parts that would end their line early.
pub(super) fn encode(request: &Request<'_>) -> Result<Vec<u8>, Failure> {
    let graphic = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic());
    if !(graphic(request.authority) && graphic(request.path)) {
        return Err(Failure::Address);
    }
    let method = match request.method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
    };
    let mut text = Vec::with_capacity(256);
    let mut add = |parts: &[&[u8]]| parts.iter().for_each(|part| text.extend_from_slice(part));
    add(&[method.as_bytes(), b" ", request.path.as_bytes()]);
    add(&[
        b" HTTP/1.1\r\nhost: ",
        request.authority.as_bytes(),
        b"\r\n",
    ]);
    if let Some(value) = request.authorization {
        let fits = |byte: &u8| matches!(byte, b' '..=b'~' | 0x80..);
        if !value.iter().all(fits) {
            return Err(Failure::Headers);
        }
        add(&[b"authorization: ", value, b"\r\n"]);
    }
    if request.body.is_some() {
        add(&[b"content-type: application/json\r\n"]);
    }
    let body = request.body.unwrap_or_default();
    if request.method != Method::Get || !body.is_empty() {
        let length = body.len().to_string();
        add(&[b"content-length: ", length.as_bytes(), b"\r\n"]);
    }
    add(&[b"\r\n", body]);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: Request<'_> = Request {
        method: Method::Post,
        secure: false,
        authority: "[::1]:8081",
        path: "/v1/sequences/a/claim",
        authorization: Some(b"Bearer x"),
        body: Some(b"{}"),
    };

    #[test]
    fn requests_are_text() {
        assert_eq!(
            encode(&POST).as_deref(),
            Ok(
                &b"POST /v1/sequences/a/claim HTTP/1.1\r\nhost: [::1]:8081\r\nauthorization: Bearer x\r\n\
                   content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"[..]
            )
        );
        let get = Request {
            method: Method::Get,
            authorization: None,
            body: None,
            ..POST
        };
        assert_eq!(
            encode(&get).as_deref(),
            Ok(&b"GET /v1/sequences/a/claim HTTP/1.1\r\nhost: [::1]:8081\r\n\r\n"[..])
        );
        let empty = Request {
            method: Method::Put,
            ..get
        };
        let text = encode(&empty).expect("a request");
        assert!(text.ends_with(b"\r\ncontent-length: 0\r\n\r\n"));
    }

    #[test]
    fn no_part_adds_lines() {
        for authorization in ["Bearer x\r\nhost: b", "Bearer \0", "\n"] {
            let request = Request {
                authorization: Some(authorization.as_bytes()),
                ..POST
            };
            assert_eq!(encode(&request), Err(Failure::Headers), "{authorization:?}");
        }
        for bad in ["/a b", "/a\r\nx: y", "/é"] {
            let path = Request { path: bad, ..POST };
            let authority = Request {
                authority: bad,
                ..POST
            };
            assert_eq!(encode(&path), Err(Failure::Address), "{bad:?}");
            assert_eq!(encode(&authority), Err(Failure::Address), "{bad:?}");
        }
    }
}

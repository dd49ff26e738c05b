//! Headers of questions that are passed on.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// In a question: it comes from another member, for the client that the value names, and is not passed on again. In an
/// answer: the member does not hold the partition either.
pub(crate) const FORWARDED: HeaderName = HeaderName::from_static("artisanal-forwarded");

/// The value in an answer.
pub(crate) const NOT_HELD: HeaderValue = HeaderValue::from_static("not-held");

/// The maximum length of the name of a client, in bytes.
const MAX_BY: usize = 256;

/// Headers that concern one connection only, RFC 9110, section 7.6.1, or that are written anew.
const HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The headers of a question for another member.
pub(super) fn of_request(headers: &HeaderMap, trailers: bool) -> HeaderMap {
    let mut headers = end_to_end(headers);
    for name in [
        header::HOST,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::SEC_WEBSOCKET_PROTOCOL,
        FORWARDED,
    ] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    headers
}

/// The headers of the answer for the client.
pub(super) fn of_answer(headers: &HeaderMap) -> HeaderMap {
    let mut headers = end_to_end(headers);
    headers.remove(FORWARDED);
    headers
}

/// The client that a member names.
pub(crate) fn said_by(headers: &HeaderMap) -> Option<&str> {
    let by = headers.get(FORWARDED)?.to_str().ok()?;
    (1..=MAX_BY).contains(&by.len()).then_some(by)
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let listed = headers.get_all(header::CONNECTION).iter();
    let listed: Vec<_> = listed
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let kept = headers.iter().filter(|(name, _)| {
        !HOP.contains(name) && !listed.iter().any(|listed| listed == name.as_str())
    });
    let mut all = HeaderMap::with_capacity(headers.len());
    for (name, value) in kept {
        all.append(name, value.clone());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_one_connection_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "a:1"),
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("content-length", "1"),
            ("authorization", "Bearer x"),
            ("x-request-id", "r"),
            ("artisanal-forwarded", "somebody"),
            ("accept", "a"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        headers.append("accept", "b".parse().unwrap());
        let names = |headers: &HeaderMap| {
            let names = headers
                .iter()
                .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            names.join(" ")
        };
        let kept = "accept=a accept=b authorization=Bearer x";
        assert_eq!(
            names(&of_request(&headers, false)),
            format!("{kept} x-request-id=r")
        );
        assert_eq!(
            names(&of_request(&headers, true)),
            format!("{kept} te=trailers x-request-id=r")
        );
        assert_eq!(
            names(&of_answer(&headers)),
            format!("{kept} content-length=1 host=a:1 x-request-id=r")
        );
        assert_eq!(said_by(&headers), Some("somebody"));
        headers.insert(FORWARDED, "x".repeat(257).parse().unwrap());
        assert_eq!(said_by(&headers), None);
    }
}

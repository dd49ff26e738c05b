//! Cross-origin resource sharing: which web pages may use the endpoint from a browser.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The configured origins. Without any, answers have no CORS headers, and browsers keep pages of
/// other sites from reading them.
#[derive(Clone, Debug)]
pub struct Cors(Origins);

#[derive(Clone, Debug)]
enum Origins {
    Any,
    These(Vec<HeaderValue>),
}

impl Cors {
    /// `*`, or origins such as `https://example.com:8443`, separated by commas.
    ///
    /// # Errors
    /// A message that names the invalid origin.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self(Origins::Any));
        }
        text.split(',')
            .map(|origin| parse_origin(origin.trim()))
            .collect::<Result<_, _>>()
            .map(|origins| Self(Origins::These(origins)))
    }

    /// Adds the headers to an answer that a browser needs to let the requesting page read it.
    pub(crate) fn mark(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let allowed = match &self.0 {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::These(origins) => {
                answer.insert(header::VARY, HeaderValue::from_static("Origin"));
                request
                    .get(header::ORIGIN)
                    .filter(|origin| origins.contains(origin))
                    .cloned()
            }
        };
        if let Some(origin) = allowed {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("Retry-After, Idempotency-Replayed"),
            );
        }
    }

    /// The headers of the answer to a preflight request.
    pub(crate) fn preflight(allow: &'static str) -> [(HeaderName, HeaderValue); 3] {
        [
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static(allow),
            ),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("Authorization, Content-Type, Idempotency-Key"),
            ),
            (
                header::ACCESS_CONTROL_MAX_AGE,
                HeaderValue::from_static("600"),
            ),
        ]
    }
}

/// Parses an origin as browsers send it: scheme, host and port, nothing after them, in lower case.
fn parse_origin(text: &str) -> Result<HeaderValue, String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let fine = rest.is_some_and(|host| {
        !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase() && !b"/?#@,*".contains(&b))
    });
    HeaderValue::from_str(text)
        .ok()
        .filter(|_| fine)
        .ok_or_else(|| {
            format!(
                "`{}` is not an origin; write `https://example.com` without anything after the host \
                 and port, in lower case, or `*` for every origin",
                text.escape_debug()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(cors: &Cors, origin: Option<&'static str>) -> HeaderMap {
        let mut request = HeaderMap::new();
        if let Some(origin) = origin {
            request.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        let mut answer = HeaderMap::new();
        cors.mark(&request, &mut answer);
        answer
    }

    #[test]
    fn every_origin() {
        let cors = Cors::parse("*").unwrap();
        let answer = marked(&cors, Some("https://a.example"));
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!answer.contains_key(header::VARY));
    }

    #[test]
    fn only_these_origins() {
        let cors = Cors::parse("https://a.example, http://localhost:3000").unwrap();
        for origin in ["https://a.example", "http://localhost:3000"] {
            let answer = marked(&cors, Some(origin));
            assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], origin);
            assert_eq!(answer[header::VARY], "Origin");
        }
        for origin in [
            None,
            Some("http://a.example"),
            Some("https://a.example.evil.example"),
            Some("null"),
        ] {
            let answer = marked(&cors, origin);
            assert!(
                !answer.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN),
                "{origin:?}"
            );
            assert_eq!(answer[header::VARY], "Origin");
        }
    }

    #[test]
    fn what_is_not_an_origin() {
        for bad in [
            "",
            "example.com",
            "https://",
            "https://a.example/",
            "https://a.example/x",
            "https://A.example",
            "https://u@a.example",
            "https://*.example",
            "ftp://a.example",
            "https://a.example,",
            "https://a\n.example",
            "null",
        ] {
            assert!(Cors::parse(bad).is_err(), "{bad:?}");
        }
    }
}

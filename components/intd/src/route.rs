//! The paths of the endpoint, with their methods and parameters.

use crate::query::Takes;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// A path of the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Root,
    Last,
    Ping,
    Healthz,
    OpenApi,
    /// The list of sequences.
    Sequences,
    /// Mints from the sequence with this name, which may not exist.
    Next(Cow<'a, str>),
    /// The sequence with this name, which may not exist.
    Sequence(Cow<'a, str>),
}

impl<'a> Route<'a> {
    /// The route of a path as it was received; None if it does not exist.
    pub(crate) fn find(path: &'a str) -> Option<Self> {
        match path {
            "/" => return Some(Self::Root),
            "/last" => return Some(Self::Last),
            "/ping" => return Some(Self::Ping),
            "/healthz" => return Some(Self::Healthz),
            "/openapi.json" => return Some(Self::OpenApi),
            "/v1/sequences" => return Some(Self::Sequences),
            _ => {}
        }
        // Split at slashes before decoding: a key may contain an encoded slash.
        let rest = path.strip_prefix("/v1/sequences/")?;
        let (key, next) = match rest.split_once('/') {
            None => (rest, false),
            Some((key, "next")) => (key, true),
            Some(_) => return None,
        };
        let key = percent_decode_str(key).decode_utf8().ok()?;
        if key.is_empty() {
            return None;
        }
        Some(if next {
            Self::Next(key)
        } else {
            Self::Sequence(key)
        })
    }

    /// The path with the name of its parameter in braces, as `/openapi.json` writes it.
    pub(crate) fn template(&self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Last => "/last",
            Self::Ping => "/ping",
            Self::Healthz => "/healthz",
            Self::OpenApi => "/openapi.json",
            Self::Sequences => "/v1/sequences",
            Self::Next(_) => "/v1/sequences/{key}/next",
            Self::Sequence(_) => "/v1/sequences/{key}",
        }
    }

    /// The methods of the route, in the format of the header `Allow`.
    ///
    /// There is no HEAD where GET mints: it would mint as well and discard the integers.
    pub(crate) fn allow(&self) -> &'static str {
        match self {
            Self::Root => "GET, POST",
            Self::Last | Self::Ping | Self::Healthz | Self::OpenApi | Self::Sequences => {
                "GET, HEAD"
            }
            Self::Next(_) => "POST",
            Self::Sequence(_) => "GET, HEAD, PUT",
        }
    }

    /// The same with OPTIONS, for servers that answer preflight requests.
    pub(crate) fn allow_with_options(&self) -> &'static str {
        match self {
            Self::Root => "GET, POST, OPTIONS",
            Self::Last | Self::Ping | Self::Healthz | Self::OpenApi | Self::Sequences => {
                "GET, HEAD, OPTIONS"
            }
            Self::Next(_) => "POST, OPTIONS",
            Self::Sequence(_) => "GET, HEAD, PUT, OPTIONS",
        }
    }

    /// Whether the route has this method, apart from OPTIONS.
    pub(crate) fn allows(&self, method: &http::Method) -> bool {
        self.allow().split(", ").any(|known| known == method)
    }

    pub(crate) fn takes(&self) -> Takes {
        let none = Takes::NONE;
        match self {
            Self::Root => Takes {
                count: true,
                ..none
            },
            Self::Last | Self::Ping | Self::Healthz | Self::OpenApi => none,
            Self::Sequences => Takes { page: true, ..none },
            Self::Next(_) => Takes {
                count: true,
                strings: true,
                ..none
            },
            Self::Sequence(_) => Takes {
                strings: true,
                ..none
            },
        }
    }
}

/// The template of the route of a path, such as `/v1/sequences/{key}`; None if there is no such route.
pub fn path_template(path: &str) -> Option<&'static str> {
    Route::find(path).map(|route| route.template())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use proptest::prelude::*;

    #[test]
    fn keys_are_decoded() {
        let sequence = |key: &'static str| Some(Route::Sequence(key.into()));
        assert_eq!(Route::find("/v1/sequences/a"), sequence("a"));
        assert_eq!(Route::find("/v1/sequences/a%2Fb"), sequence("a/b"));
        assert_eq!(Route::find("/v1/sequences/%C3%A9%20"), sequence("é "));
        assert_eq!(Route::find("/v1/sequences/next"), sequence("next"));
        assert_eq!(Route::find("/v1/sequences"), Some(Route::Sequences));
        assert_eq!(
            Route::find("/v1/sequences/a/next"),
            Some(Route::Next("a".into()))
        );
    }

    #[test]
    fn everything_else_is_nothing() {
        for path in [
            "",
            "*",
            "//",
            "/index.html",
            "/favicon.ico",
            "/robots.txt",
            "/last/",
            "/LAST",
            "/%6cast",
            "/v1",
            "/v1/sequences/",
            "/v1/sequences//next",
            "/v1/sequences/a/next/",
            "/v1/sequences/a/last",
            "/v1/sequences/a/b/next",
            "/v1/sequences/%ff",
        ] {
            assert_eq!(Route::find(path), None, "{path}");
        }
    }

    #[test]
    fn methods() {
        let root = Route::Root;
        assert!(root.allows(&Method::GET) && root.allows(&Method::POST));
        for method in [Method::HEAD, Method::PUT, Method::OPTIONS, Method::TRACE] {
            assert!(!root.allows(&method), "{method}");
        }
        assert!(!Route::Next("a".into()).allows(&Method::GET));
        assert!(!root.allows(&Method::from_bytes(b"GET,").unwrap_or(Method::PUT)));
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "\\PC{0,60}") {
            let _ = Route::find(&path);
            let _ = Route::find(&format!("/v1/sequences/{path}"));
        }
    }
}

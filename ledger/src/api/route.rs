//! The paths of a ledger.

use super::Problem;
use http::StatusCode;
use percent_encoding::percent_decode_str;

/// What a path means.
#[derive(Debug)]
pub(super) enum Route {
    Integer(String, i64),
    Gaps(String),
    Events(String),
    State(String),
    OpenApi,
    Alive,
    Stats,
    Ingest,
    Backup,
    Members,
}

impl Route {
    /// What a path means, as it was received.
    pub(super) fn find(path: &str) -> Result<Self, Problem> {
        let nothing = || {
            Problem::new(
                StatusCode::NOT_FOUND,
                "not-found",
                "this path does not exist; /openapi.json lists those that do",
            )
        };
        let key = |text: &str| {
            let key = percent_decode_str(text)
                .decode_utf8()
                .map_err(|_| Problem::invalid("the key is not UTF-8"))?;
            artisanal_core::limits::check_key(&key)
                .map_err(|error| Problem::invalid(error.to_string()))?;
            Ok::<_, Problem>(key.into_owned())
        };
        let parts: Vec<_> = path.split('/').skip(1).collect();
        match parts.as_slice() {
            ["openapi.json"] => Ok(Route::OpenApi),
            ["v1.0", "alive"] => Ok(Route::Alive),
            ["v1.0", "stats"] => Ok(Route::Stats),
            ["v1", "members"] => Ok(Route::Members),
            ["v1", "backup"] => Ok(Route::Backup),
            ["v1" | "v1.0", "ingest"] => Ok(Route::Ingest),
            ["v1", "integers", name, integer] => match integer.parse() {
                Ok(integer @ 0..) => Ok(Route::Integer(key(name)?, integer)),
                _ => Err(Problem::invalid(
                    "an integer is a whole number from 0 to 2^63 - 1",
                )),
            },
            ["v1", "keys", name, "gaps"] => Ok(Route::Gaps(key(name)?)),
            ["v1", "keys", name, "events"] => Ok(Route::Events(key(name)?)),
            ["v1", "keys", name, "state"] => Ok(Route::State(key(name)?)),
            _ => Err(nothing()),
        }
    }

    /// The key in question, if there is one.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::Integer(key, _) | Self::Gaps(key) | Self::Events(key) | Self::State(key) => {
                Some(key)
            }
            _ => None,
        }
    }

    /// The methods of the path, as in the header `Allow`.
    pub(super) fn allow(&self) -> &'static str {
        match self {
            Self::Events(_) => "GET, HEAD, POST",
            _ => "GET, HEAD",
        }
    }
}

//! Query parameters.

use artisanal_core::{Error, MAX_COUNT};
use std::borrow::Cow;

/// The parameters of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// How many integers; default 1.
    pub(crate) count: u32,
    /// Whether integers in JSON are to be strings.
    pub(crate) strings: bool,
}

/// Which parameters a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Takes {
    pub(crate) count: bool,
    pub(crate) strings: bool,
}

impl Query {
    pub(crate) const DEFAULT: Self = Self {
        count: 1,
        strings: false,
    };

    /// Parses the parameters. One that the route does not take is an error, because the client expects
    /// an effect of it.
    pub(crate) fn parse(query: Option<&str>, takes: Takes) -> Result<Self, Error> {
        let mut parsed = Self::DEFAULT;
        let Some(query) = query else {
            return Ok(parsed);
        };
        let mut seen = Takes {
            count: false,
            strings: false,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let twice = match &*name {
                "count" if takes.count => {
                    parsed.count = count(&value)?;
                    std::mem::replace(&mut seen.count, true)
                }
                "strings" if takes.strings => {
                    parsed.strings = flag(&value)?;
                    std::mem::replace(&mut seen.strings, true)
                }
                _ => return Err(unknown(&name, takes)),
            };
            if twice {
                return Err(Error::Invalid(format!(
                    "the parameter `{name}` appears twice; give it once"
                )));
            }
        }
        Ok(parsed)
    }
}

fn count(text: &str) -> Result<u32, Error> {
    Some(text)
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|count| (1..=MAX_COUNT).contains(count))
        .ok_or_else(|| {
            Error::Invalid(format!(
                "count is `{}`; it must be a whole number from 1 to {MAX_COUNT}",
                shown(text)
            ))
        })
}

fn flag(text: &str) -> Result<bool, Error> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::Invalid(format!(
            "strings is `{}`; it must be `true` or `false`",
            shown(text)
        ))),
    }
}

fn unknown(name: &str, takes: Takes) -> Error {
    let known = match (takes.count, takes.strings) {
        (true, true) => "this path takes `count` and `strings`",
        (true, false) => "this path takes `count`",
        (false, true) => "this path takes `strings`",
        (false, false) => "this path takes none",
    };
    Error::Invalid(format!("unknown parameter `{}`; {known}", shown(name)))
}

/// The beginning of a client's text, for messages.
fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(40) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: Takes = Takes {
        count: true,
        strings: true,
    };

    fn parse(query: &str) -> Result<Query, Error> {
        Query::parse(Some(query), BOTH)
    }

    fn message(query: &str) -> String {
        parse(query).expect_err(query).to_string()
    }

    #[test]
    fn what_is_understood() {
        let query = |count, strings| Ok(Query { count, strings });
        assert_eq!(Query::parse(None, BOTH), query(1, false));
        assert_eq!(parse(""), query(1, false));
        assert_eq!(parse("&"), query(1, false));
        assert_eq!(parse("count=100000&strings=true"), query(100_000, true));
        assert_eq!(parse("strings=false&count=%37"), query(7, false));
    }

    #[test]
    fn mistakes_are_named() {
        for bad in [
            "count=",
            "count",
            "count=0",
            "count=100001",
            "count=-1",
            "count=+1",
            "count=1.0",
            "count=1e3",
            "count=99999999999999999999",
            "count=%31%00",
        ] {
            assert!(message(bad).contains("1 to 100000"), "{bad}");
        }
        for bad in ["strings", "strings=1", "strings=TRUE"] {
            assert!(message(bad).contains("`true` or `false`"), "{bad}");
        }
        assert!(message("Count=1").contains("`Count`"));
        assert!(message("count=1&count=1").contains("twice"));
        assert!(message(&format!("{}=1", "x".repeat(5000))).len() < 200);
    }

    #[test]
    fn a_parameter_has_its_place() {
        let none = Takes {
            count: false,
            strings: false,
        };
        assert!(Query::parse(Some("count=1"), none).is_err());
        assert!(Query::parse(Some("strings=true"), none).is_err());
        assert!(
            Query::parse(
                Some("strings=true"),
                Takes {
                    count: true,
                    ..none
                }
            )
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "\\PC{0,60}") {
            let _ = parse(&query);
            let _ = parse(&format!("count={query}"));
        }
    }
}

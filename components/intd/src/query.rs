//! Query parameters.

use artisanal_core::{Error, MAX_COUNT};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The maximum number of keys in one answer.
pub(crate) const MAX_LIMIT: u32 = 1_000;

/// The parameters of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// How many integers; default 1.
    pub(crate) count: u32,
    /// Whether integers in JSON are to be strings.
    pub(crate) strings: bool,
    /// The key after which a list begins; empty for the first page.
    pub(crate) after: String,
    /// How many keys a list has at most; default 100.
    pub(crate) limit: u32,
}

/// Which parameters a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Takes {
    pub(crate) count: bool,
    pub(crate) strings: bool,
    /// `after` and `limit`.
    pub(crate) page: bool,
}

impl Takes {
    pub(crate) const NONE: Self = Self {
        count: false,
        strings: false,
        page: false,
    };

    fn names(self) -> Vec<&'static str> {
        [
            ("count", self.count),
            ("strings", self.strings),
            ("after", self.page),
            ("limit", self.page),
        ]
        .into_iter()
        .filter_map(|(name, takes)| takes.then_some(name))
        .collect()
    }
}

impl Query {
    pub(crate) const DEFAULT: Self = Self {
        count: 1,
        strings: false,
        after: String::new(),
        limit: 100,
    };

    /// Parses the parameters. One that the route does not take is an error, because the client expects
    /// an effect of it.
    pub(crate) fn parse(query: Option<&str>, takes: Takes) -> Result<Self, Error> {
        let mut parsed = Self::DEFAULT;
        let Some(query) = query else {
            return Ok(parsed);
        };
        let mut seen = BTreeSet::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "count" if takes.count => parsed.count = number("count", &value, MAX_COUNT)?,
                "strings" if takes.strings => parsed.strings = flag(&value)?,
                "after" if takes.page => parsed.after = value.into_owned(),
                "limit" if takes.page => parsed.limit = number("limit", &value, MAX_LIMIT)?,
                _ => return Err(unknown(&name, takes)),
            }
            if let Some(twice) = seen.replace(name) {
                return Err(Error::Invalid(format!(
                    "the parameter `{twice}` appears twice; give it once"
                )));
            }
        }
        Ok(parsed)
    }
}

fn number(name: &str, text: &str, most: u32) -> Result<u32, Error> {
    Some(text)
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| {
            Error::Invalid(format!(
                "{name} is `{}`; it must be a whole number from 1 to {most}",
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
    let names = takes.names();
    let known = match names.split_last() {
        None => "this path takes none".to_owned(),
        Some((only, [])) => format!("this path takes `{only}`"),
        Some((last, first)) => format!("this path takes `{}` and `{last}`", first.join("`, `")),
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
        page: false,
    };

    const PAGE: Takes = Takes {
        page: true,
        ..Takes::NONE
    };

    fn parse(query: &str) -> Result<Query, Error> {
        Query::parse(Some(query), BOTH)
    }

    fn message(query: &str) -> String {
        parse(query).expect_err(query).to_string()
    }

    #[test]
    fn what_is_understood() {
        let query = |count, strings| {
            Ok(Query {
                count,
                strings,
                ..Query::DEFAULT
            })
        };
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
        let none = Takes::NONE;
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

    #[test]
    fn pages() {
        let page = |query: &str| Query::parse(Some(query), PAGE);
        let read = page("after=a%2Fb+c&limit=1000").unwrap();
        assert_eq!((&*read.after, read.limit), ("a/b c", 1_000));
        assert_eq!(page("").unwrap(), Query::DEFAULT);
        for (bad, says) in [
            ("limit=0", "1 to 1000"),
            ("limit=1001", "1 to 1000"),
            ("after=a&after=b", "twice"),
            ("count=1", "takes `after` and `limit`"),
        ] {
            let text = page(bad).expect_err(bad).to_string();
            assert!(text.contains(says), "{bad}: {text}");
        }
        assert!(message("limit=1").contains("takes `count` and `strings`"));
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "\\PC{0,60}") {
            let _ = parse(&query);
            let _ = parse(&format!("count={query}"));
        }
    }
}

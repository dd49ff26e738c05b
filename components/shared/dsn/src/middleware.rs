//! Parameters for a component between the caller and the engine, which the engine does not see.

/// Takes a parameter out of a DSN: the rest, and the parameter's value. If it is there several times, the last one
/// counts.
///
/// Nothing else of the DSN changes or is checked, so that the engine sees what the caller wrote.
pub fn take_param(dsn: &str, name: &str) -> (String, Option<String>) {
    let mut found = None;
    let mut keep = |word: &&str| {
        let value = word
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='));
        if let Some(value) = value {
            found = Some(value.to_owned());
        }
        value.is_none()
    };
    let rest = match dsn.split_at_checked(query(dsn)) {
        Some((before, query)) if query.starts_with('?') => {
            let kept: Vec<_> = query[1..].split('&').filter(&mut keep).collect();
            match kept.as_slice() {
                [] => before.to_owned(),
                kept => format!("{before}?{}", kept.join("&")),
            }
        }
        // The keywords of libpq. The parameter is the last word: others may be within quotes.
        _ => match dsn.trim_end().rsplit_once(' ') {
            Some((before, last)) if !keep(&last) => before.trim_end().to_owned(),
            _ => dsn.to_owned(),
        },
    };
    (rest, found)
}

/// Where the parameters of a DSN begin, with their question mark. Like the parser of engines, this finds the
/// first one after `://`, or else after the last `/`, since a password may contain others.
fn query(dsn: &str) -> usize {
    let begin = match dsn.find("://") {
        Some(scheme) => scheme,
        None => dsn.rfind('/').unwrap_or(dsn.len()),
    };
    let rest = dsn.get(begin..).unwrap_or_default();
    rest.find('?').map_or(dsn.len(), |at| begin + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_does_not_see_the_parameter() {
        for (dsn, rest, value) in [
            ("", "", None),
            ("redis://h", "redis://h", None),
            ("redis://h?lease=5", "redis://h", Some("5")),
            ("redis://h?lease=", "redis://h", Some("")),
            ("redis://h?timeout=2s", "redis://h?timeout=2s", None),
            (
                "redis://h?lease=5&timeout=2s",
                "redis://h?timeout=2s",
                Some("5"),
            ),
            (
                "redis://h?timeout=2s&lease=5",
                "redis://h?timeout=2s",
                Some("5"),
            ),
            (
                "redis://h?lease=5&wait=1&lease=6",
                "redis://h?wait=1",
                Some("6"),
            ),
            ("redis://h?release=5", "redis://h?release=5", None),
            ("redis://h?lease-node=5", "redis://h?lease-node=5", None),
            ("u:p?lease=1@/db", "u:p?lease=1@/db", None),
            ("u:p?/x@tcp(h)/db?lease=7", "u:p?/x@tcp(h)/db", Some("7")),
            ("host=h dbname=d lease=9", "host=h dbname=d", Some("9")),
            ("host=h lease=9 dbname=d", "host=h lease=9 dbname=d", None),
            ("host=h password=lease=9", "host=h password=lease=9", None),
        ] {
            let taken = take_param(dsn, "lease");
            assert_eq!(taken, (rest.to_owned(), value.map(str::to_owned)), "{dsn}");
        }
    }
}

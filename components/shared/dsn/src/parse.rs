//! The parser of DSNs.

use crate::{Address, Dsn, Error, Secret, keywords};
use percent_encoding::percent_decode_str;
use std::str::FromStr;

impl Dsn {
    /// The maximum length of a DSN, in bytes.
    pub const MAX_BYTES: usize = 4096;
    /// The maximum number of hosts in a DSN.
    pub const MAX_ADDRESSES: usize = 64;
}

impl FromStr for Dsn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(Error::TooLong(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::Control);
        }
        match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => url(scheme, rest),
            _ if keywords::is_form(text) => keywords::parse(text),
            _ => go(text),
        }
    }
}

/// Whether the text may be the scheme of a URL (RFC 3986, 3.1). A user name with a colon may not.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn url(scheme: &str, rest: &str) -> Result<Dsn, Error> {
    // Fragments have no meaning here; a `#` is probably part of a password that was not escaped.
    if rest.contains('#') {
        return Err(Error::Encoding("password"));
    }
    let (rest, query) = split_query(rest);
    // A `/` in a password must be escaped, so the first one ends the authority. The last `@` before it
    // ends the user information, so that a missing escape cannot turn a password into a host.
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if path.contains('@') || query.contains('@') {
        return Err(Error::Encoding("password"));
    }
    let (user, password, hosts) = split_user(authority)?;
    let addresses = match hosts {
        "" => Vec::new(),
        hosts => addresses(hosts)?,
    };
    Ok(Dsn {
        scheme: scheme.to_ascii_lowercase(),
        user: user.map(|u| decode(u, "user")).transpose()?,
        password: password
            .map(|p| decode(p, "password"))
            .transpose()?
            .map(Secret::new),
        addresses,
        path: decode(path, "path")?,
        params: params(query)?,
    })
}

/// Parses `[user[:password]@][tcp[(host[:port])]]/database[?…]`. Only the parameters are
/// percent-encoded: Go's driver reads the password verbatim, up to the last `@` before the last `/`.
fn go(text: &str) -> Result<Dsn, Error> {
    let (before, after) = text.rsplit_once('/').ok_or(Error::Form)?;
    let (path, query) = split_query(after);
    // Parameters contain no `@`: this is a password, and the part after it is missing.
    if path.contains('@') || query.contains('@') {
        return Err(Error::Form);
    }
    let (login, place) = before
        .rsplit_once('@')
        .map_or((None, before), |(login, place)| (Some(login), place));
    let (user, password) = match login {
        None => (None, None),
        Some(login) => match login.split_once(':') {
            Some((user, password)) => (Some(user), Some(password)),
            None => (Some(login), None),
        },
    };
    let addresses = match place.split_once('(') {
        None if place.is_empty() || place == "tcp" => Vec::new(),
        None => return Err(Error::Form),
        Some((network, rest)) => {
            if network != "tcp" {
                return Err(Error::Network);
            }
            addresses(rest.strip_suffix(')').ok_or(Error::Form)?)?
        }
    };
    Ok(Dsn {
        scheme: "mysql".to_owned(),
        user: user.filter(|u| !u.is_empty()).map(str::to_owned),
        password: password.map(|p| Secret::new(p.to_owned())),
        addresses,
        path: path.to_owned(),
        params: params(query)?,
    })
}

fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

type Login<'a> = (Option<&'a str>, Option<&'a str>, &'a str);

fn split_user(authority: &str) -> Result<Login<'_>, Error> {
    let Some((login, hosts)) = authority.rsplit_once('@') else {
        return Ok((None, None, authority));
    };
    if login.contains('@') {
        return Err(Error::Encoding("password"));
    }
    Ok(match login.split_once(':') {
        Some((user, password)) => (Some(user).filter(|u| !u.is_empty()), Some(password), hosts),
        None => (Some(login).filter(|u| !u.is_empty()), None, hosts),
    })
}

fn addresses(hosts: &str) -> Result<Vec<Address>, Error> {
    let count = hosts.split(',').count();
    if count > Dsn::MAX_ADDRESSES {
        return Err(Error::TooManyHosts(count));
    }
    hosts
        .split(',')
        .zip(1..)
        .map(|(host, number)| {
            Address::parse(host.trim()).map_err(|error| match error {
                Error::Host if count > 1 => Error::HostNumber(number),
                error => error,
            })
        })
        .collect()
}

fn params(query: &str) -> Result<Vec<(String, String)>, Error> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, "parameter")?, decode(value, "parameter")?))
        })
        .collect()
}

fn decode(text: &str, what: &'static str) -> Result<String, Error> {
    let bytes = text.as_bytes();
    let broken = bytes.iter().enumerate().any(|(i, b)| {
        *b == b'%'
            && !bytes
                .get(i + 1..i + 3)
                .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    if broken {
        return Err(Error::Encoding(what));
    }
    let text = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| Error::Encoding(what))?;
    if text.chars().any(char::is_control) {
        return Err(Error::Control);
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dsn(text: &str) -> Dsn {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn error(text: &str) -> Error {
        text.parse::<Dsn>().expect_err(text)
    }

    fn hosts(dsn: &Dsn) -> Vec<String> {
        dsn.addresses().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn urls() {
        let d = dsn("redis://alice:p%40ss@Example.com:6380/3?timeout=500ms&wait=1");
        assert_eq!(
            (d.scheme(), d.user(), d.path()),
            ("redis", Some("alice"), "3")
        );
        assert_eq!(d.password().map(Secret::reveal), Some("p@ss"));
        assert_eq!(hosts(&d), ["example.com:6380"]);
        assert_eq!(d.param("timeout"), Some("500ms"));
        assert_eq!(d.param("wait"), Some("1"));
        assert_eq!(d.param("other"), None);
        assert_eq!(hosts(&dsn("redis://:secret@[::1]/")), ["[::1]"]);
        assert_eq!(dsn("redis://:secret@h").user(), None);
        assert_eq!(dsn("memory://").addresses(), []);
        assert_eq!(hosts(&dsn("keyvalue://default")), ["default"]);
        let d = dsn("redis+sentinel://u:p@a:26379,b/primary/3?wait=1");
        assert_eq!((d.scheme(), d.path()), ("redis+sentinel", "primary/3"));
        assert_eq!(hosts(&d), ["a:26379", "b"]);
    }

    #[test]
    fn several_hosts() {
        let d = dsn("http://u:p@a:4001,b:4002,[::1]:4003");
        assert_eq!(hosts(&d), ["a:4001", "b:4002", "[::1]:4003"]);
        assert_eq!(error("http://a,,b"), Error::HostNumber(2));
        assert_eq!(
            error(&format!("http://{}", ["h"; 65].join(","))),
            Error::TooManyHosts(65)
        );
    }

    #[test]
    fn the_form_of_gos_mysql_driver() {
        let d = dsn("user:p:a@ss/word@tcp(127.0.0.1:3307)/db?timeout=1s");
        assert_eq!(
            (d.scheme(), d.user(), d.path()),
            ("mysql", Some("user"), "db")
        );
        assert_eq!(d.password().map(Secret::reveal), Some("p:a@ss/word"));
        assert_eq!(hosts(&d), ["127.0.0.1:3307"]);
        assert_eq!(hosts(&dsn("user:pw@/db")), [""; 0]);
        assert_eq!(hosts(&dsn("user@tcp([::1]:3306)/db")), ["[::1]:3306"]);
        assert_eq!(hosts(&dsn("/db")), [""; 0]);
        assert_eq!(error("user@unix(/tmp/mysql.sock)/db"), Error::Network);
        // A password that contains `://`, like a URL.
        assert_eq!(
            dsn("user:a://b@tcp(h)/db").password().map(Secret::reveal),
            Some("a://b")
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(error(""), Error::Empty);
        assert_eq!(error("localhost:6379"), Error::Form);
        assert_eq!(error("redis://h\n"), Error::Control);
        assert_eq!(error("redis://h/%0a"), Error::Control);
        assert_eq!(error("redis://h:0"), Error::Port);
        assert_eq!(error("redis://h:65536"), Error::Port);
        assert_eq!(error("redis://h:+1"), Error::Port);
        assert_eq!(error("redis://::1:6379"), Error::BareIpv6);
        assert_eq!(error("redis://[::g]:1"), Error::Host);
        assert_eq!(error("redis://a b"), Error::Host);
        assert_eq!(error("user@/db?a=b@c"), Error::Form);
        assert_eq!(error("redis://u:%zz@h"), Error::Encoding("password"));
        assert_eq!(error("redis://u:%ff@h"), Error::Encoding("password"));
        assert_eq!(
            error(&format!("redis://{}", "h".repeat(5000))),
            Error::TooLong(5008)
        );
    }

    #[test]
    fn a_forgotten_escape_never_shows_the_password() {
        for text in [
            "redis://u:hun@ter2@h",
            "redis://u:hunter2/@h",
            "redis://u:hunter2#@h",
            "redis://u:hun%ter2@h",
            "redis://u:12?hunter2@h",
            "redis://u:hunter2",
            "redis://u:hun:ter2",
            "redis://u x:hunter2",
            "redis://hun ter2",
            "redis://u:x@hun(ter2)",
            "redis://u:x@[hunter2",
            "redis://u:x@[hunter2]",
            "redis://u:x@y?hunter2@h",
            "redis://u:x@h/?hun=ter2@h",
            "u:x@hun(ter2)/db",
            "u:x@hunter2/db",
            "u:x/?hunter2@tcp(h)",
            "u:x@y/?hunter2@tcp(h)",
            "u:x@/hunter2?y@tcp(h)",
            "root:x@hunter2(1)/db",
        ] {
            let error = error(text);
            let message = format!("{error} {error:?}");
            assert!(!message.contains("hun"), "{text}: {message}");
        }
    }

    #[test]
    fn user_password_and_parameters_are_not_shown() {
        let shown = format!(
            "{:?}",
            dsn("redis://hunter1:hunter2@h/hunter3?hunter4=hunter5")
        );
        assert!(
            shown.contains("redis") && shown.contains("\"h\""),
            "{shown}"
        );
        assert!(!shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn unknown_parameters_are_refused() {
        let d = dsn("redis://h?timout=1s");
        assert_eq!(d.only_params(&["timout"]), Ok(()));
        let error = d.only_params(&["timeout", "wait"]).unwrap_err().to_string();
        assert!(
            error.contains("`timout`") && error.contains("timeout, wait"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<Dsn>();
        }

        #[test]
        fn no_url_panics(rest in "[a-z0-9@:/?%,&=\\[\\]()#.]{0,40}") {
            let _ = format!("redis://{rest}").parse::<Dsn>();
            let _ = format!("u:{rest}/db").parse::<Dsn>();
        }

        #[test]
        fn addresses_survive_printing(host in "[a-z][a-z0-9.-]{0,20}", port in proptest::option::of(1u16..)) {
            let address = Address { host, port };
            prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
        }
    }
}

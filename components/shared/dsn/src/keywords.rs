//! The keyword form of libpq, PostgreSQL's own client: `host=… port=… user=… password=… dbname=…`.

use crate::{Address, Dsn, Error, Secret};
use std::net::Ipv6Addr;

/// The keywords that are not parameters.
const OWN: [&str; 5] = ["host", "port", "user", "password", "dbname"];

/// Keywords of libpq and of this project's engines. A DSN in this form begins with one of them, and other
/// words may be a part of a password, which no error must repeat.
const OTHERS: [&str; 24] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssencmode",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "lease",
    "load_balance_hosts",
    "options",
    "passfile",
    "replication",
    "require_auth",
    "service",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
    "timeout",
    "tls",
];

/// Whether the text begins with a keyword and a `=`.
pub(crate) fn is_form(text: &str) -> bool {
    let text = text.trim_start();
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    is_known(name) && rest.trim_start().starts_with('=')
}

/// Parses the pairs. Values may be in single quotes; within and outside of them, a backslash makes the
/// next character literal.
pub(crate) fn parse(text: &str) -> Result<Dsn, Error> {
    let mut dsn = Dsn {
        scheme: "postgres".to_owned(),
        user: None,
        password: None,
        addresses: Vec::new(),
        path: String::new(),
        params: Vec::new(),
    };
    let (mut hosts, mut ports) = (String::new(), String::new());
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(Error::Keywords)?;
        let name = name.trim_end();
        if !is_known(name) {
            return Err(Error::Keywords);
        }
        let (value, after) = value(after.trim_start())?;
        rest = after.trim_start();
        match name {
            "host" => hosts = value,
            "port" => ports = value,
            "user" => dsn.user = Some(value).filter(|user| !user.is_empty()),
            "password" => dsn.password = Some(Secret::new(value)),
            "dbname" => dsn.path = value,
            name => dsn.params.push((name.to_owned(), value)),
        }
    }
    dsn.addresses = addresses(&hosts, &ports)?;
    Ok(dsn)
}

fn is_name(c: char) -> bool {
    c.is_ascii_lowercase() || c == '_'
}

fn is_known(name: &str) -> bool {
    OWN.contains(&name) || OTHERS.contains(&name)
}

/// Splits the text after a `=` into the value and what follows it.
fn value(text: &str) -> Result<(String, &str), Error> {
    let (quoted, text) = match text.strip_prefix('\'') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, literal)| literal)),
            '\'' if quoted => {
                let after = text.get(at + 1..).unwrap_or_default();
                // Otherwise a quote in a password was not escaped.
                return if after.is_empty() || after.starts_with(char::is_whitespace) {
                    Ok((value, after))
                } else {
                    Err(Error::Keywords)
                };
            }
            c if !quoted && c.is_whitespace() => {
                return Ok((value, text.get(at..).unwrap_or_default()));
            }
            c => value.push(c),
        }
    }
    if quoted {
        Err(Error::Keywords)
    } else {
        Ok((value, ""))
    }
}

/// The hosts with their ports: one for all of them, or one each. A host that is missing is the engine's
/// default one, and so is a port.
fn addresses(hosts: &str, ports: &str) -> Result<Vec<Address>, Error> {
    let hosts: Vec<_> = hosts.split(',').map(str::trim).collect();
    let ports: Vec<_> = ports.split(',').map(str::trim).collect();
    if hosts == [""] {
        return match ports[..] {
            [""] => Ok(Vec::new()),
            _ => Err(Error::PortWithoutHost),
        };
    }
    if hosts.len() > Dsn::MAX_ADDRESSES {
        return Err(Error::TooManyHosts(hosts.len()));
    }
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(Error::PortCount);
    }
    let port_of = |number: usize| ports.get(number).or(ports.first()).copied();
    hosts
        .iter()
        .enumerate()
        .map(|(number, host)| {
            if host.starts_with(['/', '@']) {
                return Err(Error::Socket);
            }
            let bare = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            let host = bare.unwrap_or(host);
            let mut text = match host.parse::<Ipv6Addr>() {
                Ok(_) => format!("[{host}]"),
                // The port is a keyword of its own here.
                Err(_) if host.contains(':') => return Err(Error::Host),
                Err(_) => host.to_owned(),
            };
            if let Some(port) = port_of(number).filter(|port| !port.is_empty()) {
                text = format!("{text}:{port}");
            }
            Address::parse(&text)
        })
        .collect()
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

    fn hosts(text: &str) -> Vec<String> {
        dsn(text)
            .addresses()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn keywords() {
        let d = dsn("host=Example.com port=5433 user=alice password=p@ss:/x dbname=ids timeout=1s");
        assert_eq!(
            (d.scheme(), d.user(), d.path()),
            ("postgres", Some("alice"), "ids")
        );
        assert_eq!(d.password().map(Secret::reveal), Some("p@ss:/x"));
        assert_eq!(d.param("timeout"), Some("1s"));
        let d = dsn(r"  user = 'a b'  password='it\'s \\ ' dbname=a\ b ");
        assert_eq!((d.user(), d.path()), (Some("a b"), "a b"));
        assert_eq!(d.password().map(Secret::reveal), Some(r"it's \ "));
        // libpq skips spaces on both sides of the `=`.
        assert_eq!(
            dsn("user=u password= x dbname=d")
                .password()
                .map(Secret::reveal),
            Some("x")
        );
        assert_eq!(
            dsn("user=u password='' dbname=d")
                .password()
                .map(Secret::reveal),
            Some("")
        );
        // The last one counts, as in libpq.
        assert_eq!(dsn("user=a user=b").user(), Some("b"));
        assert_eq!(dsn("user=u password=postgres://x").user(), Some("u"));
    }

    #[test]
    fn hosts_and_ports() {
        assert_eq!(hosts("user=u host=a,b"), ["a", "b"]);
        assert_eq!(hosts("host=a,b port=5433"), ["a:5433", "b:5433"]);
        assert_eq!(hosts("host=a,b,c port=1,,3"), ["a:1", "b", "c:3"]);
        assert_eq!(hosts("host=::1,[::2] port=5"), ["[::1]:5", "[::2]:5"]);
        assert_eq!(hosts("user=u dbname=d"), [""; 0]);
        assert_eq!(error("host=a,b port=1,2,3"), Error::PortCount);
        assert_eq!(error("host=a port=x"), Error::Port);
        assert_eq!(error("port=5433 user=u"), Error::PortWithoutHost);
        assert_eq!(error("host=/run/postgresql"), Error::Socket);
        assert_eq!(error("host=a:5432"), Error::Host);
        assert_eq!(error("host=a,,b"), Error::Host);
        let many = format!("host={}", ["h"; 65].join(","));
        assert_eq!(error(&many), Error::TooManyHosts(65));
    }

    /// A DSN in the form of Go's MySQL driver may have a `=` in its password or parameters.
    #[test]
    fn other_forms_are_told_apart() {
        for text in [
            "user:a=b@tcp(h)/db?timeout=1s",
            "hosts=a:x@/db",
            "/db?timeout=1s",
        ] {
            assert_eq!(dsn(text).scheme(), "mysql", "{text}");
        }
        assert_eq!(dsn("postgres://u:host=x@h/d").user(), Some("u"));
        assert_eq!(error("Host=a"), Error::Form);
    }

    #[test]
    fn a_password_that_is_not_quoted_is_not_shown() {
        for text in [
            "user=u password=x hunter2 host=h",
            "user=u password=x hun=ter2 host=h",
            "user=u password='x'hunter2' host=h",
            "user=u password='x hunter2",
            "user=u password=x host=hun(ter2)",
            "user=u password=x =hunter2",
        ] {
            let error = error(text);
            let message = format!("{error} {error:?}");
            assert!(!message.contains("hun"), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(rest in "[a-z0-9=' ,:\\\\é\\[\\]/]{0,40}") {
            let _ = format!("host={rest}").parse::<Dsn>();
        }

        #[test]
        fn what_is_quoted_is_read(password in "[ -~é]{0,20}") {
            let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
            let text = format!("password='{quoted}' host=h");
            let dsn = text.parse::<Dsn>().expect("valid");
            prop_assert_eq!(dsn.password().map(Secret::reveal), Some(password.as_str()));
            prop_assert_eq!(dsn.addresses().len(), 1);
        }
    }
}

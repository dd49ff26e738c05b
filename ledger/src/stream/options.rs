//! Which stream, and how to reach it.

use crate::Error;
use artisanal_core::Secret;
use engine_dsn::{Address, Dsn};
use std::path::PathBuf;

/// The port of NATS servers.
const PORT: u16 = 4222;

/// The name of the stream if the DSN has none.
const NAME: &str = "LEDGER";

/// How many copies of a message a stream can have.
const MOST_REPLICAS: usize = 5;

/// Which stream, and how to reach it. `Debug` shows no password.
#[derive(Clone, Debug)]
pub struct Options {
    /// The servers, `host:port`.
    pub servers: Vec<String>,
    /// Whether connections have TLS.
    pub tls: bool,
    /// User and password.
    pub login: Option<(String, Secret)>,
    /// A token instead.
    pub token: Option<Secret>,
    /// The name of the stream, which its subjects begin with.
    pub stream: String,
    /// How many servers have each message. None means 1 if the stream has to be made, and any number otherwise.
    pub replicas: Option<usize>,
    /// Certificates of private authorities.
    pub ca_file: Option<PathBuf>,
}

impl Options {
    /// Reads `nats://[user:password@]host[:port][,…][?stream=NAME&replicas=N&token=TOKEN]`, or `tls://…`.
    ///
    /// # Errors
    /// [`Error::Misconfigured`], without the password.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |text: &str| Error::Misconfigured(format!("--store: {text}"));
        let dsn: Dsn = text.parse().map_err(|error| wrong(&format!("{error}")))?;
        let tls = match dsn.scheme() {
            "nats" => false,
            "tls" => true,
            _ => return Err(wrong("the DSN begins with nats:// or tls://")),
        };
        dsn.only_params(&["stream", "replicas", "token"])
            .map_err(|error| wrong(&format!("{error}")))?;
        if dsn.addresses().is_empty() || !dsn.path().is_empty() {
            return Err(wrong(
                "the DSN is nats://HOST[:PORT][,HOST…][?stream=NAME&replicas=N]",
            ));
        }
        let stream = dsn.param("stream").unwrap_or(NAME).to_owned();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if !(1..=64).contains(&stream.len()) || !stream.bytes().all(fits) {
            return Err(wrong(
                "`stream` is a name of 1 to 64 letters, digits, `-` and `_`",
            ));
        }
        let replicas = match dsn.param("replicas").map(str::parse) {
            None => None,
            Some(Ok(number)) if (1..=MOST_REPLICAS).contains(&number) => Some(number),
            Some(_) => return Err(wrong("`replicas` is a number from 1 to 5")),
        };
        let login = match (dsn.user(), dsn.password()) {
            (None, _) => None,
            (Some(user), password) => {
                let empty = || Secret::new(String::new());
                Some((user.to_owned(), password.cloned().unwrap_or_else(empty)))
            }
        };
        let token = dsn
            .param("token")
            .map(|token| Secret::new(token.to_owned()));
        if login.is_some() && token.is_some() {
            return Err(wrong("the DSN has either a user or a token"));
        }
        Ok(Self {
            servers: dsn.addresses().iter().map(server).collect(),
            tls,
            login,
            token,
            stream,
            replicas,
            ca_file: None,
        })
    }
}

fn server(address: &Address) -> String {
    let port = address.port_or(PORT);
    if address.host.contains(':') {
        format!("[{}]:{port}", address.host)
    } else {
        format!("{}:{port}", address.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_names_servers_and_stream() {
        let options = Options::parse("nats://h1,h2:4333,[::1]").unwrap();
        assert_eq!(options.servers, ["h1:4222", "h2:4333", "[::1]:4222"]);
        assert_eq!((&*options.stream, options.replicas), ("LEDGER", None));
        assert!(!options.tls && options.login.is_none() && options.token.is_none());
        let options = Options::parse("tls://u:p%40ss@h?stream=A-b_1&replicas=3").unwrap();
        assert!(options.tls);
        assert_eq!((&*options.stream, options.replicas), ("A-b_1", Some(3)));
        let (user, password) = options.login.as_ref().unwrap();
        assert_eq!((&**user, password.reveal()), ("u", "p@ss"));
        assert!(!format!("{options:?}").contains("p@ss"));
    }

    #[test]
    fn a_wrong_dsn_is_refused_without_its_password() {
        for dsn in [
            "nats://",
            "redis://h",
            "h:4222",
            "nats://u:secret@h/path",
            "nats://u:secret@h?stream=a.b",
            "nats://u:secret@h?stream=",
            "nats://u:secret@h?replicas=0",
            "nats://u:secret@h?replicas=6",
            "nats://u:secret@h?replica=3",
            "nats://u:secret@h?token=secret",
        ] {
            let error = Options::parse(dsn).expect_err(dsn).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

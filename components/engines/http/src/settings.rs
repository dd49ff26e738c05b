//! The settings in the DSN.

use engine_dsn::{Address, Dsn};
use engine_guest::{Error, deadline, remote};
use std::time::Duration;

/// What the DSN says.
pub(crate) struct Settings {
    /// Whether to use `https`.
    pub(crate) secure: bool,
    /// `host:port` of the server.
    pub(crate) authority: String,
    /// The key of the sequence at the server.
    pub(crate) key: String,
    /// The token for minting, if any.
    pub(crate) mint_token: Option<String>,
    /// The token for raising, if any.
    pub(crate) admin_token: Option<String>,
    pub(crate) timeout: Duration,
}

impl Settings {
    pub(crate) fn read(dsn: &Dsn, key: &str) -> Result<Self, Error> {
        dsn.only_params(&["timeout"])
            .map_err(|e| Error::Invalid(e.to_string()))?;
        let secure = dsn.scheme() == "https";
        let [address] = dsn.addresses() else {
            return Err(Error::Invalid(format!(
                "the DSN names {} hosts; it must name one, that of the server: `http://HOST:8080`",
                dsn.addresses().len()
            )));
        };
        let address = Address {
            host: address.host.clone(),
            port: Some(address.port_or(if secure { 443 } else { 8080 })),
        };
        let token = |token: Option<&str>| {
            match token {
            None | Some("") => Ok(None),
            Some(token) if token.len() <= 1024 && token.bytes().all(|b| b.is_ascii_graphic()) => {
                Ok(Some(token.to_owned()))
            }
            Some(_) => Err(Error::Invalid(
                "a token in the DSN is not one: tokens are 1 to 1024 printable ASCII characters without \
                 spaces"
                    .into(),
            )),
        }
        };
        Ok(Self {
            secure,
            authority: address.to_string(),
            key: remote::key(dsn, key)?,
            mint_token: token(dsn.user())?,
            admin_token: token(dsn.password().map(|password| password.reveal()))?,
            timeout: deadline::timeout(dsn)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dsn: &str) -> Result<Settings, Error> {
        Settings::read(&dsn.parse().expect(dsn), "orders-1")
    }

    #[test]
    fn the_server_and_its_tokens() {
        let plain = read("http://a").expect("valid");
        assert_eq!((plain.secure, &*plain.authority), (false, "a:8080"));
        assert_eq!((plain.mint_token, plain.admin_token), (None, None));
        assert_eq!(plain.timeout, deadline::DEFAULT);
        let full = read("https://m%3Ant:t0p@[::1]:99/k?timeout=1s").expect("valid");
        assert_eq!((full.secure, &*full.authority), (true, "[::1]:99"));
        assert_eq!(full.mint_token.as_deref(), Some("m:nt"));
        assert_eq!(full.admin_token.as_deref(), Some("t0p"));
        assert_eq!(full.timeout, Duration::from_secs(1));
        assert_eq!(read("https://a").expect("valid").authority, "a:443");
        let admin = read("http://:t0p@a").expect("valid");
        assert_eq!(admin.mint_token, None);
        assert_eq!(admin.admin_token.as_deref(), Some("t0p"));
        for bad in [
            "http://",
            "http://a,b",
            "http://hunter2%20@a",
            "http://a:hunter2%C3%A9@a",
            "http://hunter2@a?admin_token=hunter2",
        ] {
            let error = read(bad).err().expect(bad);
            assert!(
                matches!(&error, Error::Invalid(text) if !text.contains("hunter2")),
                "{error:?}"
            );
        }
    }
}

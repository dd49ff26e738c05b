//! Data source names: the backend, its addresses and the login.
//!
//! Engines parse their DSN with this crate, and so does the host, which decides which addresses an
//! engine may connect to: both get the same addresses. No I/O, no name resolution.
//!
//! Three forms are supported. A URL, whose authority may list several nodes:
//! `scheme://[user[:password]@]host[:port][,host[:port]…][/path][?name=value&…]`, with IPv6 addresses
//! in brackets; the form of Go's MySQL driver:
//! `[user[:password]@][tcp[(host[:port])]]/database[?name=value&…]`, whose scheme is `mysql`; and the
//! keywords of libpq: `host=… port=… user=… password=… dbname=…`, whose scheme is `postgres`.

mod address;
pub mod duration;
mod error;
mod keywords;
mod middleware;
mod parse;

pub use address::Address;
pub use artisanal_core::Secret;
pub use error::Error;
pub use middleware::take_param;

use std::fmt;
use std::time::Duration;

/// The greatest value of the parameter `timeout`, which engines have for one operation.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// A parsed DSN. Its `Debug` shows the scheme and the addresses, but neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    scheme: String,
    user: Option<String>,
    password: Option<Secret>,
    addresses: Vec<Address>,
    path: String,
    params: Vec<(String, String)>,
}

impl Dsn {
    /// The scheme, which identifies the kind of backend, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user to log in as, percent-decoded.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, percent-decoded. May be present but empty.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// Whether there is a user or a password, even an empty one.
    pub fn has_credentials(&self) -> bool {
        self.user.is_some() || self.password.is_some()
    }

    /// The nodes, in the order of the DSN; none for DSNs such as `memory://`.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The part after the authority, percent-decoded and without the leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of a parameter, percent-decoded. If it appears several times, the last one counts.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Checks that there are no parameters but these, so that a misspelt one is not ignored.
    ///
    /// # Errors
    /// [`Error::UnknownParam`] with the first unknown name.
    pub fn only_params(&self, known: &[&str]) -> Result<(), Error> {
        match self
            .params
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()))
        {
            None => Ok(()),
            Some((name, _)) => Err(Error::UnknownParam {
                name: name.clone(),
                known: known.iter().map(|k| (*k).to_owned()).collect(),
            }),
        }
    }
}

/// Hides everything but the scheme and the addresses: people also put secrets in the user name or in
/// a parameter.
impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dsn")
            .field("scheme", &self.scheme)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

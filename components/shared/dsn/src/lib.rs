//! Data source names: which backend, at which addresses, with which rights.
//!
//! Engines read their DSN with this crate, and so does the host that must decide which addresses
//! an engine may open: both see the same addresses. No I/O, no resolution of names.
//!
//! Two forms are understood. A URL, whose authority may list several nodes:
//! `scheme://[user[:password]@]host[:port][,host[:port]…][/path][?name=value&…]`, with IPv6
//! addresses in brackets; and the form of Go's MySQL driver:
//! `[user[:password]@][tcp[(host[:port])]]/database[?name=value&…]`, whose scheme is `mysql`.

mod address;
pub mod duration;
mod error;
mod parse;
mod secret;

pub use address::Address;
pub use error::Error;
pub use secret::Secret;

use std::fmt;

/// A parsed DSN. Its `Debug` shows the scheme and the addresses, and neither user nor password.
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
    /// Which kind of backend, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Who to log in as, percent-decoded.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, percent-decoded. May be present and empty.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// The nodes, in the order they were written; none for DSNs like `memory://`.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What follows the authority, percent-decoded and without the leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of a parameter, percent-decoded. The last one counts when there are several.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Checks that there are no parameters but these: a misspelt one must not be ignored.
    ///
    /// # Errors
    /// [`Error::UnknownParam`] with the first other name.
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

/// Not everything that is secret is in the password: people write it as the user, or as a
/// parameter.
impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dsn")
            .field("scheme", &self.scheme)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

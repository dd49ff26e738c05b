//! What can be wrong with a DSN.

use thiserror::Error;

/// Why a text is not a DSN. No message repeats a part that could be a password, or a piece of one
/// that was not escaped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to parse.
    #[error("the DSN is empty; write it as `scheme://host:port`")]
    Empty,
    /// More than [`crate::Dsn::MAX_BYTES`].
    #[error("the DSN is {0} bytes long; it may have {max} at most", max = crate::Dsn::MAX_BYTES)]
    TooLong(usize),
    /// A line break or the like.
    #[error("the DSN holds a control character")]
    Control,
    /// Neither a URL nor Go's MySQL form.
    #[error(
        "the DSN is neither a URL such as `redis://localhost:6379` nor of the form \
         `user:password@tcp(host:port)/database`"
    )]
    Form,
    /// A scheme is letters, digits, `+`, `-` and `.`, and begins with a letter.
    #[error("the DSN's scheme, the part before `://`, is not a word")]
    Scheme,
    /// No host name or address. Not repeated: behind an `@` that was not escaped it is the rest of
    /// the password.
    #[error(
        "the DSN's host is not a name, an IPv4 address or an IPv6 address in brackets; if it is part \
         of the user or password, write the characters `@ : / ? # %` there as `%40` and so on"
    )]
    Host,
    /// The same of one of several hosts, counted from 1.
    #[error(
        "number {0} of the DSN's hosts is not a name, an IPv4 address or an IPv6 address in brackets"
    )]
    HostNumber(usize),
    /// Colons and no brackets.
    #[error("the DSN's host looks like an IPv6 address; write it in brackets: `[::1]:6379`")]
    BareIpv6,
    /// Not 1 to 65535. Not repeated: where the host was forgotten it is the password.
    #[error("the DSN's port is not a number from 1 to 65535")]
    Port,
    /// More than [`crate::Dsn::MAX_ADDRESSES`].
    #[error("the DSN lists {0} hosts; it may list {max} at most", max = crate::Dsn::MAX_ADDRESSES)]
    TooManyHosts(usize),
    /// A `%` that is not followed by two hexadecimal digits, or that spells no UTF-8.
    #[error(
        "the DSN's {0} is not percent-encoded UTF-8; write the characters `@ : / ? # %` in it as `%40` and so on"
    )]
    Encoding(&'static str),
    /// A network other than TCP, in Go's form. Not repeated, as the host is not.
    #[error(
        "the DSN names a network other than `tcp`, which is the only one that is supported: write \
         `user:password@tcp(host:port)/database`"
    )]
    Network,
    /// A parameter the engine does not know.
    #[error("the DSN has a parameter `{name}` that this engine does not know{}", these(.known))]
    UnknownParam {
        /// The parameter found.
        name: String,
        /// Those that the engine knows.
        known: Vec<String>,
    },
}

fn these(names: &[String]) -> String {
    match names {
        [] => "; it takes none".to_owned(),
        names => format!("; it takes {}", names.join(", ")),
    }
}

//! The errors of invalid DSNs.

use thiserror::Error;

/// Why a text is not a valid DSN. No message repeats a part that could be a password, or a piece of
/// one that was not escaped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is empty.
    #[error("the DSN is empty; write it as `scheme://host:port`")]
    Empty,
    /// The text is longer than [`crate::Dsn::MAX_BYTES`].
    #[error("the DSN is {0} bytes long; it may have {max} at most", max = crate::Dsn::MAX_BYTES)]
    TooLong(usize),
    /// The text contains a control character, such as a line break.
    #[error("the DSN contains a control character")]
    Control,
    /// The text has none of the forms.
    #[error(
        "the DSN is neither a URL such as `redis://localhost:6379` nor of the form \
         `user:password@tcp(host:port)/database` or `host=… user=… password=… dbname=…`"
    )]
    Form,
    /// The text begins with a keyword of libpq, but does not consist of such keywords and their values.
    #[error(
        "the DSN has a part that is no known keyword with a value, as in `host=… user=… password=… \
         dbname=…`; write values with spaces as `'…'`, and `'` and `\\` in values as `\\'` and `\\\\`"
    )]
    Keywords,
    /// The scheme is invalid. It consists of letters, digits, `+`, `-` and `.`, and begins with a letter.
    #[error("the DSN's scheme, the part before `://`, is invalid")]
    Scheme,
    /// The host is neither a name nor an address. It is not repeated: after an `@` that was not escaped,
    /// it is the rest of the password.
    #[error(
        "the DSN's host is not a name, an IPv4 address or an IPv6 address in brackets; if it is part \
         of the user or password, write the characters `@ : / ? # %` there as `%40` and so on"
    )]
    Host,
    /// The same for one of several hosts, counted from 1.
    #[error(
        "number {0} of the DSN's hosts is not a name, an IPv4 address or an IPv6 address in brackets"
    )]
    HostNumber(usize),
    /// The host has several colons but no brackets.
    #[error("the DSN's host looks like an IPv6 address; write it in brackets: `[::1]:6379`")]
    BareIpv6,
    /// The port is not 1 to 65535. It is not repeated: if the host was omitted, it is the password.
    #[error("the DSN's port is not a number from 1 to 65535")]
    Port,
    /// The keyword form has several ports, but not one for each host.
    #[error("the DSN must have one port for all hosts, or one for each host")]
    PortCount,
    /// The keyword form has a port but no host.
    #[error("the DSN has a port but no host; write `host=… port=…`")]
    PortWithoutHost,
    /// The host is the path of a Unix socket. It is not repeated, for the same reason as other hosts.
    #[error(
        "the DSN's host is the path of a Unix socket, but only TCP is supported; write the server's \
         name or address"
    )]
    Socket,
    /// There are more hosts than [`crate::Dsn::MAX_ADDRESSES`].
    #[error("the DSN lists {0} hosts; it may list {max} at most", max = crate::Dsn::MAX_ADDRESSES)]
    TooManyHosts(usize),
    /// A `%` is not followed by two hexadecimal digits, or the decoded bytes are not UTF-8.
    #[error(
        "the DSN's {0} is not percent-encoded UTF-8; write the characters `@ : / ? # %` in it as `%40` and so on"
    )]
    Encoding(&'static str),
    /// The network in Go's form is not TCP. It is not repeated, for the same reason as the host.
    #[error(
        "the DSN has a network other than `tcp`, the only one that is supported: write \
         `user:password@tcp(host:port)/database`"
    )]
    Network,
    /// The engine does not know this parameter.
    #[error("the DSN has a parameter `{name}` that this engine does not know{}", these(.known))]
    UnknownParam {
        /// The unknown parameter.
        name: String,
        /// The parameters that the engine knows.
        known: Vec<String>,
    },
}

fn these(names: &[String]) -> String {
    match names {
        [] => "; it has no parameters".to_owned(),
        names => format!("; it accepts {}", names.join(", ")),
    }
}

//! Errors of sockets, in the same words on every host.

use std::io;

/// `EIO` of WASI. The standard library gives this error, which has no kind, for a connection that broke.
const EIO: i32 = 29;

/// Describes an error of a socket.
pub fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".into(),
        io::ErrorKind::UnexpectedEof => "the server closed the connection".into(),
        io::ErrorKind::PermissionDenied => {
            "the host does not permit this component to connect there".into()
        }
        _ if is_broken(error) => "the connection broke".into(),
        // Not the text of the error, which differs between hosts.
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => error.kind().to_string(),
        _ => error.to_string(),
    }
}

/// Whether a connection ended without an orderly close: what a server does that has not read all it was sent.
pub fn is_broken(error: &io::Error) -> bool {
    let is_eio = cfg!(target_os = "wasi") && error.raw_os_error() == Some(EIO);
    is_eio
        || matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_same_words_on_every_host() {
        for (kind, words) in [
            (io::ErrorKind::WouldBlock, "no answer in time"),
            (
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            ),
            (io::ErrorKind::ConnectionReset, "the connection broke"),
            (io::ErrorKind::BrokenPipe, "the connection broke"),
            (io::ErrorKind::ConnectionRefused, "connection refused"),
        ] {
            assert_eq!(explain(&kind.into()), words);
        }
        assert_eq!(
            explain(&io::Error::other("something else")),
            "something else"
        );
    }
}

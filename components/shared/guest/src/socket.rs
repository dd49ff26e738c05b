//! Connections that broke, on every host.

use std::io;

/// What is said of a connection that broke.
pub const BROKEN: &str = "the connection broke";

/// `EIO` of WASI. The standard library gives this error, which has no kind, for a connection that broke.
const EIO: i32 = 29;

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

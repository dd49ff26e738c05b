//! Why a server, a proxy or a program of the testbed did not do what a test asked of it.

use std::fmt;
use std::io;
use std::ops::Range;
use std::process::ExitStatus;
use std::time::Duration;

/// The result of a function of this crate.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why a function of this crate failed. A violated promise is no such error: the checkers panic.
///
/// `Debug` shows the same text as `Display`, with its line breaks, because that is what `expect` and the test
/// harness print.
#[derive(thiserror::Error)]
pub enum Error {
    /// This machine does not have a program or a library. The text says how to install it.
    #[error("{0}")]
    Missing(String),
    /// An operation of the system failed: starting a program, or access to a file or a socket.
    #[error("{doing}: {why}")]
    Io {
        /// What was being done, with the path or the address.
        doing: String,
        /// The error of the system.
        why: io::Error,
    },
    /// A program failed or ended too early.
    #[error("{program} ended with {status}; the end of its output:\n{output}")]
    Ended {
        /// Its name or its command line.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log, or of what it printed.
        output: String,
    },
    /// A condition did not hold in time.
    #[error("{what}: not within {limit:?}; the last attempt: {why}")]
    Timeout {
        /// The condition.
        what: String,
        /// The time that it was given.
        limit: Duration,
        /// Why it did not hold at the end.
        why: String,
    },
    /// A server refused a request, or did not answer it.
    #[error("{server} refused {request}: {why}")]
    Refused {
        /// The server.
        server: String,
        /// The request.
        request: String,
        /// Its answer, or why there is none.
        why: String,
    },
    /// An answer or an output has a form that no caller expects.
    #[error("{what}: {found}")]
    Unexpected {
        /// What was read.
        what: String,
        /// What is wrong with it.
        found: String,
    },
    /// No TCP port in this range is free.
    #[error("no free port in {0:?}")]
    NoPort(Range<u16>),
    /// The host could not be created, or refused to open a sequence.
    #[error("the host: {0}")]
    Host(int_host::Error),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<int_host::Error> for Error {
    fn from(error: int_host::Error) -> Self {
        Self::Host(error)
    }
}

impl Error {
    /// An error of the system, for `map_err`.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |why| Self::Io { doing, why }
    }

    /// A refused request, for `map_err`.
    pub fn refused<E: fmt::Display>(
        server: impl Into<String>,
        request: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let (server, request) = (server.into(), request.into());
        move |why| Self::Refused {
            server,
            request,
            why: why.to_string(),
        }
    }

    /// Something of an unexpected form.
    pub fn unexpected(what: impl Into<String>, found: impl fmt::Display) -> Self {
        Self::Unexpected {
            what: what.into(),
            found: found.to_string(),
        }
    }
}

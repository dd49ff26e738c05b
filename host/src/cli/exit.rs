//! Failures of commands, and their exit codes.

use crate::Error;
use std::io;
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An error of the engine, its component or the host.
    #[error("{}", one_line(.0))]
    Host(#[from] Error),
    /// A failed write to standard output.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// Whether the reader closed the output, which is no error.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code of the process; `--help` lists them.
    pub fn exit_code(&self) -> ExitCode {
        let code = match self {
            Self::Host(Error::Invalid(_)) => 2,
            Self::Host(Error::TooSmall(_)) => 3,
            Self::Host(Error::Exhausted(_)) => 4,
            Self::Host(Error::Denied(_)) => 5,
            Self::Host(Error::Unavailable(_) | Error::Busy) => 6,
            Self::Host(Error::Broken(_)) => 7,
            Self::Host(Error::Misconfigured(_)) => 8,
            Self::Host(Error::Other(_)) | Self::Output(_) => 1,
        };
        ExitCode::from(code)
    }
}

/// An error's text, safe for a terminal. It may contain text from a server, so control characters are
/// replaced.
pub(super) fn one_line(error: &Error) -> String {
    error
        .to_string()
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(error: Error) -> String {
        format!("{:?}", Failure::from(error).exit_code())
    }

    #[test]
    fn every_kind_of_error_has_its_code() {
        let text = || "x".to_owned();
        let expect = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(Error::Other(text())), expect(1));
        assert_eq!(code(Error::Invalid(text())), expect(2));
        assert_eq!(code(Error::TooSmall(7)), expect(3));
        assert_eq!(code(Error::Exhausted(text())), expect(4));
        assert_eq!(code(Error::Denied(text())), expect(5));
        assert_eq!(code(Error::Unavailable(text())), expect(6));
        assert_eq!(code(Error::Busy), expect(6));
        assert_eq!(code(Error::Broken(text())), expect(7));
        assert_eq!(code(Error::Misconfigured(text())), expect(8));
    }

    #[test]
    fn a_closed_pipe_is_no_error_of_ours() {
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_closed_pipe());
        assert!(!Failure::from(io::Error::from(io::ErrorKind::StorageFull)).is_closed_pipe());
        assert!(!Failure::from(Error::Busy).is_closed_pipe());
    }

    #[test]
    fn errors_are_one_line() {
        let failure = Failure::from(Error::Other("a\nb\x1b[31mc\n".into()));
        assert_eq!(failure.to_string(), "a b [31mc");
    }
}

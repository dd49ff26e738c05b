//! How a test ends that could not go on.

use crate::error::Error;
use crate::scratch;
use std::fmt;
use std::panic::Location;

/// The result of a test, or of a function that is part of tests: its `?` takes the errors of this crate and of
/// the host.
pub type TestResult<T = ()> = Result<T, Failure>;

/// An error that ends a test, and the place of the `?` that did not handle it.
///
/// Like a panic, it keeps the folders of the test, so that the logs can be read.
pub struct Failure {
    error: Error,
    place: &'static Location<'static>,
}

impl From<Error> for Failure {
    #[track_caller]
    fn from(error: Error) -> Self {
        scratch::keep_all();
        Self {
            error,
            place: Location::caller(),
        }
    }
}

impl From<int_host::Error> for Failure {
    #[track_caller]
    fn from(error: int_host::Error) -> Self {
        Error::from(error).into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.error)
    }
}

/// The same text as `Display`, because the test harness prints this.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_where_the_test_gave_up_and_why() {
        let missing = || Err::<(), _>(Error::Missing("no such server".to_owned()));
        let test = || -> TestResult {
            missing()?;
            Ok(())
        };
        let line = line!() - 3;
        let failure = test().expect_err("it fails");
        let shown = format!("{failure:?}");
        let place = format!("{}:{line}:", file!());
        assert!(shown.starts_with(&place), "{shown} is not at {place}");
        assert!(shown.ends_with("no such server"), "{shown}");
    }
}

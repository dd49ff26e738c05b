//! The log of commands, for `--log-requests`.

use super::Session;
use super::errors::shown;
use crate::serve::connection::micros_since;
use std::time::Instant;

/// A command that was answered. Arguments that are no key are not logged: they may be passwords.
#[derive(Default)]
pub(super) struct Answered<'a> {
    pub(super) name: &'a [u8],
    pub(super) key: Option<&'a [u8]>,
    /// How many integers it asked for, if it mints.
    pub(super) count: Option<u32>,
    /// The last integer that it got.
    pub(super) integer: Option<i64>,
    /// The error that it got, without the dash.
    pub(super) error: Option<&'a str>,
}

impl Session<'_> {
    /// The current time, if commands are logged.
    pub(super) fn begin(&self) -> Option<Instant> {
        self.report.logs_requests().then(Instant::now)
    }

    /// Logs a mint: its last integer, or its error.
    pub(super) fn log_mint(
        &self,
        key: &[u8],
        count: u32,
        integer: Result<i64, &str>,
        begun: Instant,
    ) {
        let answered = Answered {
            name: b"incr",
            key: Some(key),
            count: Some(count),
            integer: integer.ok(),
            error: integer.err(),
        };
        self.log_command(&answered, begun);
    }

    /// Logs a command that began at this time.
    pub(super) fn log_command(&self, answered: &Answered<'_>, begun: Instant) {
        tracing::info!(
            target: "int_host::requests",
            connection = self.id,
            command = shown(answered.name),
            key = answered.key.map(shown),
            count = answered.count,
            integer = answered.integer,
            error = answered.error.and_then(|error| error.split(' ').next()),
            micros = micros_since(begun),
        );
    }
}

/// The error in a reply, if it is one.
pub(super) fn error(reply: &[u8]) -> Option<&str> {
    let text = reply.strip_prefix(b"-")?;
    std::str::from_utf8(text).ok()
}

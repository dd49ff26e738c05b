//! The retries of an engine that keeps one connection to one of several servers.
//!
//! An engine classifies each failure as a [`Fault`]; [`Failover`] decides whether there is another attempt,
//! and how long to wait before it.

use crate::Error;
use crate::deadline::Deadline;
use crate::retry::{Retry, chance};
use crate::socket::{BROKEN, is_broken};
use std::time::Duration;
use std::{fmt, io};

/// The longest pause before an attempt is repeated after a conflict.
const LONGEST_YIELD: Duration = Duration::from_millis(32);

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A retry is useless.
    Final(Error),
    /// The connection was lost or its state is unknown; the same server may be retried.
    Lost(String),
    /// This server cannot serve at present; another one may, or the same one later.
    Elsewhere(String),
    /// The deadline passed before there was an answer.
    Slow(String),
    /// A concurrent change or a lock was in the way: nothing was done, and a retry is likely to succeed.
    Conflict(String),
    /// The server has an older copy of the sequence than this process has seen.
    Behind(String),
    /// Several servers claim to be the primary, or none shows that it is.
    Contested(String),
}

impl Fault {
    /// The fault for an error of a socket. `what` is the beginning of a sentence.
    pub fn network(error: &io::Error, what: &str) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Final(Error::Denied(format!(
                "{what}: the host does not permit this component to connect there; list the server \
                 in the DSN, or allow its address on the host"
            ))),
            _ if is_broken(error) => Self::Lost(format!("{what}: {BROKEN}")),
            // Not the error's own text, which may contain bytes of the server.
            kind => Self::Lost(format!("{what}: {kind}")),
        }
    }

    /// The fault while connecting: a server that cannot be reached is not retried without a pause.
    #[must_use]
    pub fn while_dialling(self) -> Self {
        match self {
            Self::Lost(why) | Self::Conflict(why) => Self::Elsewhere(why),
            fault => fault,
        }
    }

    /// Whether the next attempt should prefer another server.
    pub fn prefers_another(&self) -> bool {
        matches!(self, Self::Elsewhere(_) | Self::Behind(_) | Self::Slow(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Final(Error::TooSmall(_)) => "the sequence is past that value",
            Self::Final(
                Error::Invalid(why)
                | Error::Exhausted(why)
                | Error::Denied(why)
                | Error::Unavailable(why)
                | Error::Other(why),
            )
            | Self::Lost(why)
            | Self::Elsewhere(why)
            | Self::Slow(why)
            | Self::Conflict(why)
            | Self::Behind(why)
            | Self::Contested(why) => why,
        })
    }
}

/// The connection of a failed attempt.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Whether it was there before the attempt. Its failure may be outdated.
    pub kept: bool,
    /// Whether the next attempt uses it again.
    pub usable: bool,
}

/// One operation that is attempted until it succeeds, fails for good, or reaches its deadline.
pub struct Failover {
    retry: Retry,
    several: bool,
    conflicts: u32,
    contested: bool,
}

impl Failover {
    /// An operation that begins now. `what` names the backend in error messages; `several` is whether there
    /// is more than one server.
    pub fn within(timeout: Duration, what: &'static str, several: bool) -> Self {
        Self {
            retry: Retry::within(timeout, what),
            several,
            conflicts: 0,
            contested: false,
        }
    }

    /// The point in time by which the operation must be done.
    pub fn deadline(&self) -> Deadline {
        self.retry.deadline()
    }

    /// Returns when the operation is to be attempted again, after a pause if one is due. Blocks the
    /// instance.
    ///
    /// # Errors
    /// The error of the operation, if the fault is final or the deadline has passed.
    pub fn failed(&mut self, fault: Fault, used: Used) -> Result<(), Error> {
        let pause = self.record(fault, used.kept)?;
        if pause && used.usable {
            std::thread::sleep(yielding(self.conflicts).min(self.retry.left()));
            self.retry.check()
        } else if pause {
            self.retry.pause()
        } else {
            self.retry.check()
        }
    }

    /// Records why an attempt failed; whether a pause is due.
    fn record(&mut self, fault: Fault, kept: bool) -> Result<bool, Error> {
        Ok(match fault {
            Fault::Final(error) => return Err(error),
            // A second conflict shows contention, so back off instead of retrying at once.
            Fault::Conflict(why) => {
                self.retry.failed(why);
                self.conflicts = self.conflicts.saturating_add(1);
                !kept || self.conflicts > 1
            }
            // The server may have been restarted or replaced since: reconnect without a pause.
            Fault::Lost(why) | Fault::Elsewhere(why) => {
                self.retry.failed(why);
                !kept
            }
            // Another server may have the newer copy once it is back.
            Fault::Behind(why) if self.several => {
                self.retry.failed(why);
                true
            }
            Fault::Behind(why) => return Err(Error::Other(why)),
            // They may be changing roles at present, and were not queried at the same instant.
            Fault::Contested(why) if !self.contested => {
                self.retry.failed(why);
                self.contested = true;
                // Also keeps clients that retry again and again from overloading the servers.
                self.retry.slow_down();
                true
            }
            Fault::Contested(why) => return Err(Error::Denied(why)),
            // An earlier reason says more.
            Fault::Slow(why) => {
                self.retry.failed_first(why);
                !kept
            }
        })
    }
}

/// How long to wait after this many conflicts: a random time, so that clients in conflict do not all
/// retry at the same moment.
fn yielding(conflicts: u32) -> Duration {
    let most = Duration::from_millis(1)
        .saturating_mul(1 << conflicts.min(10))
        .min(LONGEST_YIELD);
    most.mul_f64(chance())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(60);

    fn says(text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn only_new_connections_wait() {
        for fault in [Fault::Lost, Fault::Elsewhere, Fault::Slow] {
            let mut failover = Failover::within(TIME, "the database", false);
            assert_eq!(failover.record(fault(says("gone")), true), Ok(false));
            assert_eq!(failover.record(fault(says("gone")), false), Ok(true));
        }
    }

    #[test]
    fn a_second_conflict_waits() {
        let mut failover = Failover::within(TIME, "the database", false);
        assert_eq!(
            failover.record(Fault::Conflict(says("locked")), true),
            Ok(false)
        );
        assert_eq!(
            failover.record(Fault::Conflict(says("locked")), true),
            Ok(true)
        );
    }

    #[test]
    fn an_older_copy_is_an_error_only_without_another_server() {
        let behind = Fault::Behind(says("older"));
        let mut alone = Failover::within(TIME, "the database", false);
        assert_eq!(
            alone.record(behind.clone(), false),
            Err(Error::Other(says("older")))
        );
        let mut several = Failover::within(TIME, "the database", true);
        assert_eq!(several.record(behind, true), Ok(true));
    }

    #[test]
    fn two_primaries_are_denied_when_seen_twice() {
        let mut failover = Failover::within(TIME, "the database", true);
        let contested = || Fault::Contested(says("two primaries"));
        assert_eq!(failover.record(contested(), false), Ok(true));
        assert_eq!(
            failover.record(contested(), false),
            Err(Error::Denied(says("two primaries")))
        );
    }

    #[test]
    fn final_faults_and_deadlines_end_it() {
        let used = Used {
            kept: true,
            usable: false,
        };
        let mut failover = Failover::within(TIME, "the database", true);
        let refused = Error::Denied(says("no"));
        assert_eq!(
            failover.failed(Fault::Final(refused.clone()), used),
            Err(refused)
        );
        let mut late = Failover::within(Duration::ZERO, "the database", true);
        let Err(Error::Unavailable(why)) = late.failed(Fault::Lost(says("gone")), used) else {
            panic!("it goes on after its deadline");
        };
        assert!(why.ends_with(": gone"), "{why}");
    }

    #[test]
    fn errors_of_the_network() {
        let lost = Fault::network(&io::ErrorKind::ConnectionReset.into(), "lost h");
        assert_eq!(lost, Fault::Lost(says("lost h: the connection broke")));
        assert_eq!(
            lost.while_dialling(),
            Fault::Elsewhere(says("lost h: the connection broke"))
        );
        let strange = Fault::network(&io::Error::other("bytes of the server"), "lost h");
        assert_eq!(strange, Fault::Lost(says("lost h: other error")));
        let denied = Fault::network(&io::ErrorKind::PermissionDenied.into(), "cannot connect");
        assert!(matches!(denied, Fault::Final(Error::Denied(_))));
    }
}

//! How many files, of which each connection is one, this process may have open.

/// Raises the limit as far as the process may. None when there is none, or it cannot be known.
#[cfg(unix)]
pub(super) fn raise_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it is");
            before
        }
    }
}

/// Raises the limit as far as the process may. None when there is none, or it cannot be known.
#[cfg(not(unix))]
pub(super) fn raise_limit() -> Option<u64> {
    None
}

/// How many connections there can be beside those of so many instances and sequences to their
/// backends, which clients must not keep them from making. At least half of all, and 1: not every
/// sequence has a connection of its own.
pub(super) fn connections_within(limit: u64, instances: u32, sequences: usize) -> u32 {
    let backends = u64::from(instances).saturating_add(sequences as u64);
    let others = backends.saturating_mul(EACH).saturating_add(OTHERS);
    u32::try_from((limit - others.min(limit / 2)).max(1)).unwrap_or(u32::MAX)
}

/// Standard streams, listeners, the embedded store, name resolution, event loops.
const OTHERS: u64 = 64;

/// One connection that is used, and one in its place.
const EACH: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_left_for_others() {
        assert_eq!(connections_within(1024, 8, 0), 944);
        assert_eq!(connections_within(1024, 8, 100), 744);
        assert_eq!(connections_within(10, 8, 1), 5);
        assert_eq!(connections_within(u64::MAX, u32::MAX, 1), u32::MAX);
        assert_eq!(connections_within(1024, u32::MAX, usize::MAX), 512);
    }
}

//! The limit of open files of this process, which includes its connections.

/// Raises the limit to the maximum that this process may set, and returns it; None if there is no limit or
/// it is unknown.
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

/// Raises the limit to the maximum that this process may set, and returns it; None if there is no limit or
/// it is unknown.
#[cfg(not(unix))]
pub(super) fn raise_limit() -> Option<u64> {
    None
}

/// How many client connections fit into the limit beside the backend connections of that many instances
/// and sequences, for which files are reserved. At least half of the limit, and at least 1, since not
/// every sequence has its own connection.
pub(super) fn connections_within(limit: u64, instances: u32, sequences: usize) -> u32 {
    let backends = u64::from(instances).saturating_add(sequences as u64);
    let others = backends.saturating_mul(EACH).saturating_add(OTHERS);
    u32::try_from((limit - others.min(limit / 2)).max(1)).unwrap_or(u32::MAX)
}

/// Files for standard streams, listeners, the embedded store, name resolution and event loops.
const OTHERS: u64 = 64;

/// Files per backend connection: one in use, and one to replace it.
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

//! The limit on this process's open files, which include connections.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard limit.
///
/// # Panics
/// When the hard limit is below `needed`; the message says how to raise it.
pub fn allow(needed: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    // None means no limit.
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most >= needed,
        "this test needs {needed} open files but the limit is {most}; raise the hard limit, for example with \
         `ulimit -Hn {needed}` as root, LimitNOFILE= of the service, or --ulimit nofile={needed} of the container"
    );
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)
        .unwrap_or_else(|e| panic!("cannot raise the limit on open files to {most}: {e}"));
}

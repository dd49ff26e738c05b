//! How many files, of which each connection is one, this process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit as far as this process may, and sees whether that is enough.
///
/// # Panics
/// When it is not, with what to do about it.
pub fn allow(needed: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    // None is no limit.
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most >= needed,
        "this test needs {needed} open files and may have {most}; raise the hard limit, for example with \
         `ulimit -Hn {needed}` as root, LimitNOFILE= of the service, or --ulimit nofile={needed} of the container"
    );
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)
        .unwrap_or_else(|e| panic!("the limit of open files cannot be raised to {most}: {e}"));
}

//! The limit on this process's open files, which include connections.

use crate::error::{Error, Result};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard limit.
///
/// # Errors
/// When the hard limit is below `needed`; the message says how to raise it.
pub fn allow(needed: u64) -> Result {
    let mut limit = getrlimit(Resource::Nofile);
    // None means no limit.
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most < needed {
        return Err(Error::Missing(format!(
            "this test needs {needed} open files but the limit is {most}; raise the hard limit, for example with \
             `ulimit -Hn {needed}` as root, LimitNOFILE= of the service, or --ulimit nofile={needed} of the \
             container"
        )));
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)
        .map_err(std::io::Error::from)
        .map_err(Error::io(format!(
            "raising the limit on open files to {most}"
        )))
}

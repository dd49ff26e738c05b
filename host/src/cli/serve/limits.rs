//! How many instances, connections and threads a server may have.

use super::Serve;
use crate::cli::flags::Flags;
use crate::cli::open_files;
use crate::endpoint::EndpointOptions;
use crate::serve::Limits;
use crate::{Options, Sequence, runtime};
use intd::Pattern;
use std::time::Duration;

/// Additional instances beside those in use, to replace failed ones.
const SPARE_INSTANCES: u32 = 8;

impl Serve {
    /// The threads of the runtime.
    pub(super) fn threads(&self) -> runtime::Options {
        let default = runtime::Options::default();
        runtime::Options {
            threads: self.threads.map_or(default.threads, usize::from),
            busy_poll: Duration::from_micros(self.busy_poll.into()),
        }
    }

    /// The options of the host.
    pub(super) fn options(&self, flags: &Flags) -> Options {
        let options = flags.options();
        let endpoints = EndpointOptions::INSTANCES.max(self.max_instances.unwrap_or(0));
        let by_pattern = if self.has_patterns() {
            Sequence::INSTANCES
        } else {
            0
        };
        let instances = match flags.component {
            // For each instance a retired one may still be finishing.
            Some(_) => endpoints.saturating_mul(2),
            None => Sequence::INSTANCES + by_pattern,
        };
        let instances = u32::try_from(instances).unwrap_or(u32::MAX);
        Options {
            queue: usize::try_from(self.queue).unwrap_or(usize::MAX),
            calls: self.calls.map(usize::from),
            instances: instances.saturating_add(SPARE_INSTANCES),
            ..options
        }
    }

    fn has_patterns(&self) -> bool {
        self.keys.iter().any(|key| Pattern::new(key).is_some())
    }

    /// The limits of each listener. `files` is the limit of open files, if known.
    pub(super) fn limits(&self, files: Option<u64>, instances: u32) -> Limits {
        let most = files.map_or(u32::MAX, |files| {
            let by_pattern = if self.has_patterns() {
                usize::try_from(self.max_keys).unwrap_or(usize::MAX)
            } else {
                0
            };
            let sequences = self.keys.len().saturating_add(by_pattern);
            open_files::connections_within(files, instances, sequences)
        });
        if most < self.max_connections {
            tracing::info!(
                "at most {most} connections at a time, since this process may have {} files open",
                files.unwrap_or_default()
            );
        }
        // Each address has as many connections.
        let servers = u32::try_from(1 + self.listen.len()).unwrap_or(u32::MAX);
        Limits {
            connections: self.max_connections.min(most / servers),
            log_requests: self.log_requests,
            ..Limits::default()
        }
    }
}

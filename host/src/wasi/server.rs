//! Which server an engine uses: the one that it wrote to last in a successful call. A change of it is a failover.

use crate::metrics::EngineMetrics;
use engine_dsn::{Address, Dsn};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A server that a component may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// Over a socket of its own.
    Tcp(SocketAddr),
    /// Over the host's HTTP client.
    Http(Address),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Http(address) => address.fmt(f),
        }
    }
}

/// The server that one instance wrote to last. Clones share it.
///
/// An engine with several servers may query all of them before it chooses one. Then it mints, so that it has written
/// to the chosen one last.
#[derive(Clone, Default)]
pub(crate) struct LastWritten(Arc<Mutex<Option<Server>>>);

impl LastWritten {
    pub(crate) fn set(&self, server: Server) {
        *lock(&self.0) = Some(server);
    }

    /// The server, if the instance wrote to any since this was called before.
    pub(crate) fn take(&self) -> Option<Server> {
        lock(&self.0).take()
    }
}

/// The server that one sequence uses. Each sequence has its own: nodes of one backend may have different keys.
#[derive(Default)]
pub(crate) struct Current(Mutex<Option<Server>>);

/// Counts and logs the failovers of one engine.
pub(crate) struct Failovers {
    engine: String,
    metrics: EngineMetrics,
}

impl Failovers {
    /// None if the backend consists of several servers that are used side by side: which of them was written to last
    /// says nothing.
    pub(crate) fn of(dsn: &str, engine: &str, metrics: &EngineMetrics) -> Option<Self> {
        let parsed: Option<Dsn> = dsn.parse().ok();
        let scheme = parsed.as_ref().map_or("", Dsn::scheme);
        (!matches!(scheme, "redis+cluster" | "rediss+cluster" | "quorum")).then(|| Self {
            engine: engine.to_owned(),
            metrics: metrics.clone(),
        })
    }

    /// Records that a call of a sequence succeeded on this server. Counts a failover if it is another one than before.
    pub(crate) fn note(&self, current: &Current, server: Server) {
        let mut current = lock(&current.0);
        if current.as_ref() == Some(&server) {
            return;
        }
        if let Some(before) = current.replace(server.clone()) {
            drop(current);
            self.metrics.failovers.inc();
            tracing::warn!(engine = self.engine, from = %before, to = %server, "a failover: the engine uses another server");
        }
    }
}

/// Ignores poisoning: the data is consistent at every point that could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn server(port: u16) -> Server {
        Server::Tcp(([127, 0, 0, 1], port).into())
    }

    #[test]
    fn only_a_change_of_the_server_is_a_failover() {
        let metrics = Metrics::new().engine("redis");
        let counted = Failovers::of("redis://a,b", "redis", &metrics).expect("one at a time");
        let current = Current::default();
        for (used, failovers) in [(1, 0), (1, 0), (2, 1), (2, 1), (1, 2)] {
            counted.note(&current, server(used));
            assert_eq!(metrics.failovers.get(), failovers, "{used}");
        }
    }

    #[test]
    fn servers_that_are_used_side_by_side_do_not_count() {
        let metrics = Metrics::new().engine("e");
        for (dsn, one) in [
            ("redis+cluster://a", false),
            ("rediss+cluster://a", false),
            ("quorum://a,b,c", false),
            ("redis+sentinel://a,b/name", true),
            ("host=a,b dbname=d", true),
            ("u:p@/d", true),
            ("", true),
        ] {
            assert_eq!(Failovers::of(dsn, "e", &metrics).is_some(), one, "{dsn}");
        }
    }

    #[test]
    fn each_write_counts_once() {
        let written = LastWritten::default();
        assert_eq!(written.take(), None);
        written.set(server(1));
        written.clone().set(server(2));
        assert_eq!(written.take(), Some(server(2)));
        assert_eq!(written.take(), None);
    }
}

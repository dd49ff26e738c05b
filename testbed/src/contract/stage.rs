//! The engine, backend and host that a promise is tested with.

use crate::backend::{self, Backend, Reach, mint};
use crate::history::History;
use crate::runtime;
use int_host::{About, Builtin, Config, Error, Host, Sequence, Source};
use std::sync::Arc;
use std::time::Duration;

/// The time limit of one promise, far above its usual duration, so that a call that never returns fails its
/// test instead of hanging it.
const LIMIT: Duration = Duration::from_secs(180);

/// An engine with its backend. Each promise uses keys that start with its own name.
pub struct Stage {
    /// The engine.
    pub source: Source,
    /// The engine's documented properties.
    pub about: About,
    /// The engine's server.
    pub backend: Arc<dyn Backend>,
    /// A host that tests share.
    pub host: Host,
}

impl Stage {
    /// Creates a stage for a built-in engine.
    ///
    /// # Errors
    /// As [`Stage::with`].
    pub fn new(engine: Builtin, backend: Arc<dyn Backend>) -> Result<Self, Error> {
        Self::with(engine.into(), engine.about(), backend)
    }

    /// Creates a stage for any engine.
    ///
    /// # Errors
    /// Those of [`Host::new`].
    pub fn with(source: Source, about: About, backend: Arc<dyn Backend>) -> Result<Self, Error> {
        let host = backend::host_for(&*backend)?;
        Ok(Self {
            source,
            about,
            backend,
            host,
        })
    }

    /// Runs the test of a promise.
    ///
    /// # Panics
    /// When it takes longer than three minutes.
    pub fn run<T>(&self, promise: impl Future<Output = T>) -> T {
        runtime::run(async {
            tokio::time::timeout(LIMIT, promise)
                .await
                .unwrap_or_else(|_| panic!("not done within {LIMIT:?}"))
        })
    }

    /// Opens a sequence with the engine's default lattice.
    ///
    /// # Panics
    /// When the engine refuses.
    pub async fn open(&self, key: &str) -> Sequence {
        self.try_open(&self.backend.dsn(), key)
            .await
            .unwrap_or_else(|e| panic!("open {key:?}: {e}"))
    }

    /// Opens a sequence with any DSN.
    ///
    /// # Errors
    /// Those of [`Host::open`].
    ///
    /// # Panics
    /// When the backend cannot prepare the storage of the sequence.
    pub async fn try_open(&self, dsn: &str, key: &str) -> Result<Sequence, Error> {
        self.prepare(key);
        let opened = backend::open(&self.host, &self.source, dsn, key).await?;
        self.backend.hold(opened)
    }

    /// Opens a sequence on a lattice.
    ///
    /// # Errors
    /// Those of [`Host::open`].
    ///
    /// # Panics
    /// When the backend cannot prepare the storage of the sequence.
    pub async fn on_lattice(
        &self,
        key: &str,
        increment: i64,
        offset: i64,
    ) -> Result<Sequence, Error> {
        self.prepare(key);
        let dsn = self.backend.dsn_for(increment, offset);
        let config = Config {
            dsn: dsn.unwrap_or_else(|e| panic!("a server for {increment}, {offset}: {e}")),
            key: key.to_owned(),
            increment: Some(increment),
            offset: Some(offset),
        };
        let opened = self.host.open(self.source.clone(), config).await?;
        self.backend.hold(opened)
    }

    /// Opens the same sequence `number` times, with as little shared state as the backend allows: separate
    /// hosts share nothing, like separate processes.
    ///
    /// # Panics
    /// When the engine refuses.
    pub async fn handles(&self, key: &str, number: usize) -> Vec<Sequence> {
        let mut handles = Vec::new();
        match self.backend.reach() {
            Reach::Sequence => handles.resize(number, self.open(key).await),
            Reach::Process => {
                for _ in 0..number {
                    handles.push(self.open(key).await);
                }
            }
            Reach::Everybody => {
                self.prepare(key);
                for index in 0..number {
                    // Every other handle gets its own host.
                    let host = match index % 2 {
                        0 => backend::host_for(&*self.backend)
                            .unwrap_or_else(|e| panic!("a host: {e}")),
                        _ => self.host.clone(),
                    };
                    let opened = backend::open(&host, &self.source, &self.backend.dsn(), key).await;
                    let opened = opened.and_then(|opened| self.backend.hold(opened));
                    handles.push(opened.unwrap_or_else(|e| panic!("open {key:?}: {e}")));
                }
            }
        }
        handles
    }

    /// Opens the same sequence `number` times, as [`Stage::handles`] does. Among the calls on these handles the
    /// order (C3) is promised: with leases, all of them are one holder.
    ///
    /// # Panics
    /// When the engine refuses.
    pub async fn ordered_handles(&self, key: &str, number: usize) -> Vec<Sequence> {
        if self.backend.leased() {
            vec![self.open(key).await; number]
        } else {
            self.handles(key, number).await
        }
    }

    /// Checks C1, and C3 as far as it is promised: with leases, only among the calls of each process.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn assert_clean(&self, history: &History) {
        if self.backend.leased() {
            history.assert_clean_by_process()
        } else {
            history.assert_clean()
        }
    }

    fn prepare(&self, key: &str) {
        let prepared = self.backend.prepare(key);
        prepared.unwrap_or_else(|e| panic!("the storage of {key:?}: {e}"));
    }
}

/// Mints concurrently from several tasks per handle, with varying counts, and returns all calls.
///
/// # Panics
/// When a call fails.
pub(super) async fn mint_at_once(handles: &[Sequence], tasks: u32, calls: u32) -> History {
    let mut minters = tokio::task::JoinSet::new();
    for (process, handle) in (0..).zip(handles) {
        for task in 0..tasks {
            let handle = handle.clone();
            minters.spawn(async move {
                let mut records = Vec::new();
                for call in 0..calls {
                    let count = [1, 1, 7, 100, 1_000][((task + call) % 5) as usize];
                    let minted = mint(&handle, process, count).await;
                    records.push(minted.unwrap_or_else(|e| panic!("next({count}): {e}")));
                }
                records
            });
        }
    }
    minters.join_all().await.into_iter().flatten().collect()
}

/// The name of an error's variant.
pub fn kind(error: &Error) -> &'static str {
    match error {
        Error::Invalid(_) => "invalid",
        Error::TooSmall(_) => "too-small",
        Error::Exhausted(_) => "exhausted",
        Error::Denied(_) => "denied",
        Error::Unavailable(_) => "unavailable",
        Error::Other(_) => "other",
        Error::Busy => "busy",
        Error::Broken(_) => "broken",
        Error::Misconfigured(_) => "misconfigured",
    }
}

/// Checks the error of a call: the name of its variant, and texts that its message contains.
///
/// # Panics
/// When the call succeeded, or failed with another error.
#[track_caller]
pub fn assert_fails<T: std::fmt::Debug>(result: Result<T, Error>, expected: &str, says: &[&str]) {
    let error = result.expect_err(expected);
    assert_eq!(kind(&error), expected, "{error}");
    for text in says {
        assert!(error.to_string().contains(text), "no {text:?} in: {error}");
    }
}

/// Checks that a call failed with the `expected` variant, and returns the error.
///
/// # Panics
/// When it succeeded, or failed with another error.
pub(super) fn refused<T: std::fmt::Debug>(
    expected: &str,
    result: Result<T, Error>,
    call: &str,
) -> Error {
    match result {
        Err(error) if kind(&error) == expected => {
            let text = error.to_string();
            assert!(text.len() > 10, "{call}: `{text}` tells a person nothing");
            error
        }
        other => panic!("{call}: expected {expected}, got {other:?}"),
    }
}

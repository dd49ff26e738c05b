//! A machine with a node: its disk, its backend, and the process that runs on it or does not.

use crate::clock::Clock;
use crate::random::Random;
use crate::world::{clocked, host, seeded, simulated};
use artisanal_core::Secret;
use artisanal_quorum::{Describe, Member, NodeState, RESERVED};
use bytes::Bytes;
use http::{Request, Response};
use int_host::node::{Marks, Node, Peers, Routes};
use int_host::{Builtin, Error};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The numbers that a node keeps in its backend, apart from what it knows of others.
const OWN: [&str; 5] = ["session", "identity", "incarnation", "epoch", "promised"];

/// The sequence that is minted from.
pub(crate) const KEY: &str = "k";

/// What a backend held at some time.
pub(crate) type Copy = Vec<(String, i64)>;

/// A machine.
pub(crate) struct Machine {
    address: String,
    pub(crate) clock: Clock,
    /// What mistakes have to remember.
    pub(crate) notes: Mutex<Notes>,
    inner: Mutex<Inner>,
}

struct Inner {
    directory: Arc<TempDir>,
    backend: Option<Marks>,
    /// The seed of the backend's instance, from which its generation follows.
    seed: u64,
    /// How many processes have run the node.
    process: u32,
    running: Option<Running>,
    /// Whether the node has lost data and has not joined again.
    forgot: bool,
    /// When it lost data, by its own clock.
    lost: Duration,
}

/// What mistakes remember of a machine.
#[derive(Default)]
pub(crate) struct Notes {
    /// The mark before a change of the members began, for each number of a change.
    pub(crate) marks: BTreeMap<u64, Option<i64>>,
    /// Who first read marks for a change.
    pub(crate) readers: BTreeMap<u64, String>,
}

struct Running {
    node: Arc<Node>,
    routes: Arc<Routes>,
    tasks: JoinSet<()>,
}

impl Machine {
    /// A machine with nothing on it.
    pub(crate) async fn new(address: String, seed: u64) -> Result<Arc<Self>, Error> {
        let machine = Arc::new(Self {
            address,
            clock: Clock::default(),
            notes: Mutex::default(),
            inner: Mutex::new(Inner {
                directory: Arc::new(directory()),
                backend: None,
                seed,
                process: 0,
                running: None,
                forgot: false,
                lost: Duration::ZERO,
            }),
        });
        machine.replace_backend(Copy::new(), seed).await?;
        Ok(machine)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node, if its process runs.
    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        Some(Arc::clone(&self.inner().running.as_ref()?.node))
    }

    pub(crate) fn runs(&self, process: &str) -> bool {
        let inner = self.inner();
        inner.running.is_some() && process == inner.process.to_string()
    }

    /// Whether the node has lost data and has not joined again.
    pub(crate) fn forgot(&self) -> bool {
        let mut inner = self.inner();
        if let Some(running) = &inner.running
            && running.node.status().state == NodeState::Serving
        {
            inner.forgot = false;
        }
        inner.forgot
    }

    pub(crate) fn forget(&self) {
        let now = self.clock.now();
        let mut inner = self.inner();
        inner.forgot = true;
        inner.lost = now;
    }

    /// How long ago the node lost data, by its own clock.
    pub(crate) fn since_loss(&self) -> Duration {
        self.clock.now().saturating_sub(self.inner().lost)
    }

    /// Leaves nothing of the node, which was none of the group.
    pub(crate) async fn become_new(&self, seed: u64) -> Result<(), Error> {
        self.empty_directory();
        self.replace_backend(Copy::new(), seed).await?;
        self.inner().forgot = false;
        Ok(())
    }

    fn backend(&self) -> Marks {
        self.inner().backend.clone().expect("a backend")
    }

    /// Starts the node's process. Returns what the node can do.
    pub(crate) async fn start(&self) -> Result<NodeState, Error> {
        let (directory, process) = {
            let mut inner = self.inner();
            inner.process += 1;
            (Arc::clone(&inner.directory), inner.process)
        };
        let token = Secret::new(format!("{}.{process}", self.address));
        let peers = Peers::new(Some(token)).within(simulated());
        let node = Node::on(self.backend(), directory.path(), peers).await?;
        let node = Arc::new(node);
        let state = node.status().state;
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&node).keep_up());
        self.inner().running = Some(Running {
            routes: Arc::new(Routes::new(Arc::clone(&node))),
            node,
            tasks,
        });
        Ok(state)
    }

    /// Kills the node's process.
    pub(crate) fn kill(&self) {
        self.forgot();
        // Its tasks are aborted.
        self.inner().running = None;
    }

    /// The answer of the node; None if its process does not run, or ends meanwhile, or the sender hangs up.
    pub(crate) async fn answer(
        &self,
        request: Request<Bytes>,
        hang_up: impl Future<Output = ()>,
    ) -> Option<Response<Bytes>> {
        let (sender, answer) = oneshot::channel();
        let task = {
            let mut inner = self.inner();
            let running = inner.running.as_mut()?;
            while running.tasks.try_join_next().is_some() {}
            let routes = Arc::clone(&running.routes);
            running.tasks.spawn(async move {
                // Whoever asked may be gone.
                let _ = sender.send(routes.answer(request).await);
            })
        };
        tokio::select! {
            biased;
            answer = answer => answer.ok(),
            () = hang_up => {
                task.abort();
                None
            }
        }
    }

    /// Reads all that the backend holds.
    pub(crate) async fn copy(&self, members: &[Member]) -> Result<Copy, Error> {
        let backend = self.backend();
        let known = members
            .iter()
            .map(|member| format!("known/{}", member.node));
        let own = OWN.map(str::to_owned).into_iter().chain(known);
        let keys = own.map(|name| format!("{RESERVED}{name}"));
        let mut copy = Copy::new();
        for key in keys.chain([KEY.to_owned()]) {
            if let Some(mark) = backend.sequence(&key).await?.last().await? {
                copy.push((key, mark));
            }
        }
        Ok(copy)
    }

    /// Replaces the backend by one that holds this. With the seed of the one before it has the same generation.
    pub(crate) async fn replace_backend(&self, copy: Copy, seed: u64) -> Result<(), Error> {
        let backend = Marks::new(&host(), &Builtin::Memory.into(), String::new())?;
        clocked(&self.clock, seeded(seed, backend.sequence(KEY))).await?;
        for (key, mark) in copy {
            backend.sequence(&key).await?.set_last(mark).await?;
        }
        let mut inner = self.inner();
        inner.backend = Some(backend);
        inner.seed = seed;
        Ok(())
    }

    /// The seed of the backend.
    pub(crate) fn seed(&self) -> u64 {
        self.inner().seed
    }

    /// Empties the data directory.
    pub(crate) fn empty_directory(&self) {
        self.inner().directory = Arc::new(directory());
    }

    /// Lets the node join its group again, as an operator does.
    pub(crate) async fn join(&self, described: &Describe, operator: &Peers) -> Result<(), Error> {
        operator.join(&self.address, described).await?;
        Ok(())
    }
}

/// A directory in memory, where that is possible: what is written to it is synced.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a directory")
}

/// The seed of a backend that has another generation.
pub(crate) fn other_seed(random: &mut Random) -> u64 {
    random.below(u64::MAX)
}

//! Gossip: each member tells some others, several times a second, what it knows of all. A member that nobody heard of for
//! much longer than usual counts as away (phi accrual).

use super::gate::{self, Gate, Key};
use super::settled::{self, Heard, Phase};
use super::view::{Health, Member, View};
use super::{MAX_MEMBERS, Options, placement::Placement, text};
use crate::partition::Share;
use crate::publisher::now;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, NodeState, ProtocolVersion,
    spawn_chitchat,
};
use http::Uri;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// The names of what members publish.
const ADDRESS: &str = "http";
const HELD: &str = "held";
const LEAVING: &str = "leaving";

/// How long members that went are listed.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// How long the library tries to reach a member that went. After half of that time nobody is told of the member any more, so
/// names that somebody made up go away by themselves.
const SOUGHT: Duration = Duration::from_secs(600);

/// How many rounds a member that stops waits for others to learn it.
const LAST_ROUNDS: u32 = 2;

/// How long to wait before gossip that failed begins again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the last message of a member said.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    address: Uri,
    gossip: SocketAddr,
    held: Arc<Share>,
}

/// The task that keeps a view up to date.
pub(super) struct Gossip {
    options: Options,
    counts: Arc<gate::Counts>,
    held: watch::Receiver<Arc<Share>>,
    view: watch::Sender<Arc<View>>,
    members: settled::Members,
    said: BTreeMap<String, Said>,
    /// How each member is, and since when, in microseconds since 1970.
    health: BTreeMap<String, (Health, i64)>,
    shares: BTreeMap<String, Arc<Share>>,
}

/// Why a session of gossip ended.
enum End {
    /// The member leaves, and says so here when it is done.
    Leave(Option<oneshot::Sender<()>>),
    Failed(String),
}

impl Gossip {
    pub(super) fn new(
        options: Options,
        counts: Arc<gate::Counts>,
        held: watch::Receiver<Arc<Share>>,
        view: watch::Sender<Arc<View>>,
    ) -> Self {
        Self {
            members: settled::Members::new(options.times),
            options,
            counts,
            held,
            view,
            said: BTreeMap::new(),
            health: BTreeMap::new(),
            shares: BTreeMap::new(),
        }
    }

    /// Opens the socket and begins to gossip.
    pub(super) async fn open(&self) -> anyhow::Result<ChitchatHandle> {
        let Options { interval, .. } = self.options;
        let generation = u64::try_from(now()).unwrap_or_default();
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new(
                self.options.name.as_str(),
                generation,
                self.options.advertised,
            ),
            cluster_id: self.options.cluster.clone(),
            gossip_interval: interval,
            listen_addr: self.options.listen,
            seed_nodes: self.options.join.clone(),
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: 8.0,
                sampling_window_size: 100,
                max_interval: 10 * interval,
                initial_interval: 2 * interval,
                dead_node_grace_period: SOUGHT,
            },
            marked_for_deletion_grace_period: SOUGHT,
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V1,
        };
        let values = vec![
            (ADDRESS.to_owned(), self.options.address.to_string()),
            (HELD.to_owned(), text::write(&self.held.borrow())),
        ];
        let gate = Gate {
            key: self.options.secret.as_ref().map(Key::of),
            counts: Arc::clone(&self.counts),
        };
        spawn_chitchat(config, values, &gate).await
    }

    /// Gossips until the member leaves. Begins anew if gossip fails.
    pub(super) async fn run(
        mut self,
        first: ChitchatHandle,
        mut leave: oneshot::Receiver<oneshot::Sender<()>>,
    ) {
        let mut session = Some(first);
        loop {
            let end = match session.take() {
                Some(handle) => self.session(handle, &mut leave).await,
                None => match self.open().await {
                    Ok(handle) => {
                        session = Some(handle);
                        continue;
                    }
                    Err(error) => End::Failed(error.to_string()),
                },
            };
            match end {
                End::Leave(done) => {
                    if let Some(done) = done {
                        let _ = done.send(());
                    }
                    return;
                }
                End::Failed(reason) => {
                    tracing::error!(reason, "gossip with other members failed; it begins again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn session(
        &mut self,
        handle: ChitchatHandle,
        leave: &mut oneshot::Receiver<oneshot::Sender<()>>,
    ) -> End {
        let ended = handle.termination_watcher();
        tokio::pin!(ended);
        let mut alive = handle
            .with_chitchat(|chitchat| chitchat.live_nodes_watcher())
            .await;
        let mut told = None;
        let mut held_open = true;
        loop {
            let held = Arc::clone(&self.held.borrow_and_update());
            if told.as_ref() != Some(&held) {
                let digits = text::write(&held);
                let set = |chitchat: &mut chitchat::Chitchat| {
                    chitchat.self_node_state().set(HELD, &digits);
                };
                handle.with_chitchat(set).await;
                told = Some(held);
            }
            let nodes = alive.borrow_and_update().clone();
            self.update(&nodes);
            let next = self.members.next();
            let next = next.unwrap_or_else(|| Instant::now() + REMEMBERED);
            tokio::select! {
                changed = alive.changed() => if changed.is_err() {
                    return End::Failed("it stopped".into());
                },
                changed = self.held.changed(), if held_open => held_open = changed.is_ok(),
                () = tokio::time::sleep_until(next.into()) => {}
                ended = &mut ended => {
                    let reason = ended.err().map(|error| error.to_string());
                    return End::Failed(reason.unwrap_or_else(|| "it stopped".into()));
                }
                done = &mut *leave => {
                    // Without a receiver nobody has this member any more: it goes as if it were killed.
                    if done.is_ok() {
                        self.say_goodbye(handle).await;
                    }
                    return End::Leave(done.ok());
                }
            }
            // Many changes at a time are one.
            tokio::time::sleep(self.options.interval / 4).await;
        }
    }

    /// Tells the others that this member stops.
    async fn say_goodbye(&mut self, handle: ChitchatHandle) {
        let set = |chitchat: &mut chitchat::Chitchat| {
            chitchat.self_node_state().set(LEAVING, "true");
        };
        handle.with_chitchat(set).await;
        for _ in 0..LAST_ROUNDS {
            for (name, said) in &self.said {
                if *name != self.options.name {
                    let _ = handle.gossip(said.gossip);
                }
            }
            tokio::time::sleep(self.options.interval / 2).await;
        }
        let _ = handle.shutdown().await;
    }

    /// Makes the view of who is heard of.
    fn update(&mut self, nodes: &BTreeMap<ChitchatId, NodeState>) {
        let heard = self.listen(nodes);
        let moment = Instant::now();
        self.members.update(moment, &heard);
        if let Some(before) = moment.checked_sub(REMEMBERED) {
            self.members.forget(before);
        }
        let at = now();
        let mut health = BTreeMap::new();
        for (name, phase) in self.members.phases() {
            let is = match phase {
                Phase::Joining(_) | Phase::Settled => Health::Alive,
                Phase::Missing(_) => Health::Suspected,
                Phase::Dead(_) => Health::Dead,
                Phase::Left(_) => Health::Left,
            };
            let before = self.health.get(name).filter(|(was, _)| *was == is);
            if before.is_none() && name != self.options.name {
                tracing::info!(member = name, "a member is {}", is.as_str());
            }
            // One that is given up is away since it was suspected.
            let since = match (is, self.health.get(name)) {
                (Health::Dead, Some((Health::Suspected, since))) => *since,
                _ => before.map_or(at, |(_, since)| *since),
            };
            health.insert(name.to_owned(), (is, since));
        }
        self.said.retain(|name, _| health.contains_key(name));
        self.health = health;

        let old = Arc::clone(&self.view.borrow());
        let mut placement = Arc::clone(&old.placement);
        if !self.members.settled().eq(placement.names()) {
            placement = Arc::new(Placement::new(self.members.settled()));
            let shares = placement.names().iter();
            let shares = shares.map(|name| (name.clone(), Arc::new(placement.share(name))));
            self.shares = shares.collect();
        }
        let members = self.said.iter().map(|(name, said)| {
            let (health, since) = self.health[name];
            Member {
                name: name.clone(),
                address: Some(said.address.clone()),
                gossip: Some(said.gossip),
                health,
                since,
                owned: self.shares.get(name).cloned().unwrap_or_default(),
                held: Arc::clone(&said.held),
            }
        });
        let view = View {
            own: self.options.name.clone(),
            members: members.collect(),
            placement,
        };
        if view != *old {
            self.view.send_replace(Arc::new(view));
        }
    }

    /// Who is heard of. What a member said is checked: it may come from anybody.
    fn listen(&mut self, nodes: &BTreeMap<ChitchatId, NodeState>) -> BTreeMap<String, Heard> {
        let mut heard = BTreeMap::new();
        // A name that was started again is there twice for a while; the later one is the last.
        for (id, state) in nodes {
            let name = &*id.node_id;
            let own = name == self.options.name;
            if own && id.gossip_advertise_addr != self.options.advertised {
                tracing::warn!(address = %id.gossip_advertise_addr, "another member has the name of this one");
                continue;
            }
            let address = state.get(ADDRESS).and_then(text::address);
            let held = state.get(HELD).and_then(text::read);
            let (Some(address), Some(held), true) = (address, held, text::is_name(name)) else {
                tracing::debug!(?id, "a member says what is not understood");
                continue;
            };
            let held = match self.said.get(name) {
                Some(said) if *said.held == held => Arc::clone(&said.held),
                _ => Arc::new(held),
            };
            if heard.len() >= MAX_MEMBERS - 1 && !own && !heard.contains_key(name) {
                tracing::warn!("there are more than {MAX_MEMBERS} members; some are ignored");
                continue;
            }
            let said = Said {
                address,
                gossip: id.gossip_advertise_addr,
                held,
            };
            self.said.insert(name.to_owned(), said);
            let leaving = state.get(LEAVING) == Some("true");
            let is = if leaving {
                Heard::Leaving
            } else {
                Heard::Alive
            };
            heard.insert(name.to_owned(), is);
        }
        heard
    }
}

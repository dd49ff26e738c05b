//! What happens to the machines and to the network during a run.

use crate::history::History;
use crate::machine::{Copy, KEY, Machine, other_seed};
use crate::mistake::Mistake;
use crate::network::{Network, Weather};
use crate::random::Random;
use artisanal_quorum::{Describe, Member, NodeState, RESERVED, majority};
use int_host::Error;
use int_host::node::Peers;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The group of the nodes.
pub(crate) const GROUP: u64 = 41;

/// How a node loses data while its process does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The backend and the data directory are empty.
    All,
    /// The backend is empty.
    Backend,
    /// The data directory is empty.
    Directory,
    /// The backend is a copy from an earlier process of the node, and does not tell so.
    Older,
    /// The backend has lost its last writes, and tells so.
    Restarted,
}

/// A run's machines and network.
pub(crate) struct Chaos {
    pub(crate) network: Arc<Network>,
    pub(crate) history: Arc<History>,
    pub(crate) machines: Vec<Arc<Machine>>,
    pub(crate) members: Vec<Member>,
    pub(crate) clients: u32,
    pub(crate) operator: Peers,
    pub(crate) mistake: Option<Mistake>,
    pub(crate) random: Random,
    /// Copies of the backends, each from an earlier process of its node.
    pub(crate) copies: Vec<Option<Copy>>,
}

impl Chaos {
    /// Lets so many things happen.
    pub(crate) async fn run(&mut self, events: u32) -> Result<(), Error> {
        for _ in 0..events {
            sleep(self.random.within(300)).await;
            match self.random.below(10) {
                0 => self.change_weather(),
                1 => self.partition(),
                2 | 3 => self.slow_down(),
                4 => {
                    let index = self.any();
                    self.restart(index).await?;
                }
                5..=7 => self.lose().await?,
                _ => self.join().await,
            }
        }
        Ok(())
    }

    /// Ends all faults, and lets every node take part. An error says which one does not.
    pub(crate) async fn heal(&mut self) -> Result<(), Error> {
        self.history.tell("everything heals");
        self.network.set_weather(Weather::default());
        self.network.cut(BTreeSet::new());
        self.network.slow_down(BTreeMap::new());
        for machine in &self.machines {
            if machine.node().is_none() {
                machine.start().await?;
            }
        }
        for _ in 0..20 {
            self.join().await;
            let statuses = self.machines.iter().filter_map(|m| m.node());
            if statuses
                .map(|n| n.status())
                .all(|s| s.state == NodeState::Serving)
            {
                return Ok(());
            }
            sleep(Duration::from_secs(1)).await;
        }
        let statuses = self.machines.iter().filter_map(|m| m.node());
        let states: Vec<_> = statuses.map(|node| node.status().reason).collect();
        Err(Error::Unavailable(format!(
            "nodes take no part: {states:?}"
        )))
    }

    fn any(&mut self) -> usize {
        let most = u64::try_from(self.machines.len()).unwrap_or(1);
        usize::try_from(self.random.below(most)).unwrap_or(0)
    }

    fn change_weather(&mut self) {
        let random = &mut self.random;
        let weather = Weather {
            lost: random.of(&[0, 0, 20, 100, 300]),
            twice: random.of(&[0, 50, 200]),
            late: random.of(&[0, 50, 300]),
            latest: random.of(&[20, 200, 3000]),
        };
        self.history.tell(format_args!("{weather:?}"));
        self.network.set_weather(weather);
    }

    /// Cuts some directions between nodes and between clients and nodes, or mends them all.
    fn partition(&mut self) {
        let mut cuts = BTreeSet::new();
        let index = self.any();
        let one = self.machines[index].address().to_owned();
        let nodes = self.machines.iter().map(|m| m.address().to_owned());
        let clients = (0..self.clients).map(|number| format!("c{number}"));
        // Often only the clients miss a node: then the other nodes are the majority, and it lags behind.
        let rate = self.random.of(&[0, 500, 1000, 1000]);
        let nodes = nodes.filter(|_| self.random.is(300)).collect::<Vec<_>>();
        for other in nodes.into_iter().chain(clients).filter(|o| *o != one) {
            if self.random.is(rate) {
                cuts.insert((other.clone(), one.clone()));
            }
            if self.random.is(rate) {
                cuts.insert((one.clone(), other));
            }
        }
        self.history.tell(format_args!("cut: {cuts:?}"));
        self.network.cut(cuts);
    }

    /// Slows down some directions between clients and nodes. So claims that were accepted by some nodes take long to
    /// reach the others.
    fn slow_down(&mut self) {
        let mut slow = BTreeMap::new();
        let rate = self.random.of(&[300, 500, 700]);
        for number in 0..self.clients {
            let client = format!("c{number}");
            for machine in &self.machines {
                let node = machine.address().to_owned();
                for way in [(client.clone(), node.clone()), (node, client.clone())] {
                    if self.random.is(rate) {
                        let ms = self.random.of(&[20, 100, 400, 1200]);
                        slow.insert(way, Duration::from_millis(ms));
                    }
                }
            }
        }
        self.history.tell(format_args!("slow: {slow:?}"));
        self.network.slow_down(slow);
    }

    /// Lets one client reach this node soon and all others late, and the other clients one half of the others too late.
    /// Returns the name of the one.
    fn strand(&mut self, index: usize) -> String {
        // The node has to be able to join again soon.
        self.network.set_weather(Weather::default());
        self.network.cut(BTreeSet::new());
        let node = self.machines[index].address().to_owned();
        let mut others: Vec<String> = self
            .machines
            .iter()
            .map(|m| m.address().to_owned())
            .collect();
        others.retain(|other| *other != node);
        if self.random.is(500) {
            others.reverse();
        }
        let far = others.len() / 2;
        let first = self.random.below(self.clients.into());
        let mut slow = BTreeMap::new();
        for number in 0..self.clients {
            for (at, other) in others.iter().enumerate() {
                let ms = match (u64::from(number) == first, at < far) {
                    (true, _) => self.random.of(&[4, 300, 600, 1200]),
                    (false, true) => 3000,
                    (false, false) => 0,
                };
                slow.insert(
                    (format!("c{number}"), other.clone()),
                    Duration::from_millis(ms),
                );
            }
        }
        let back = Duration::from_millis(self.random.of(&[0, 200]));
        slow.insert((node, format!("c{first}")), back);
        self.history.tell(format_args!("slow: {slow:?}"));
        self.network.slow_down(slow);
        format!("c{first}")
    }

    /// Kills a node's process, and starts it again after some time.
    async fn restart(&mut self, index: usize) -> Result<(), Error> {
        let pause = self.random.of(&[1, 50, 400]);
        self.kill(index, pause).await;
        self.start(index).await
    }

    async fn kill(&mut self, index: usize, pause: u64) {
        let machine = &self.machines[index];
        self.history
            .tell(format_args!("{} is killed", machine.address()));
        machine.kill();
        // Whatever its process had begun to do in its backend ends.
        sleep(Duration::from_millis(1) + self.random.within(pause)).await;
    }

    async fn start(&mut self, index: usize) -> Result<(), Error> {
        let machine = &self.machines[index];
        // The first copy is from the first process: it has the fewest starts.
        if self.copies[index].is_none() || self.random.is(300) {
            self.copies[index] = Some(machine.copy(&self.members).await?);
        }
        let forgot = machine.forgot();
        let state = machine.start().await?;
        let address = machine.address();
        self.history
            .tell(format_args!("{address} starts: {state:?}"));
        if forgot && state == NodeState::Serving {
            self.history
                .fault(format_args!("{address} has lost data and serves"));
        }
        Ok(())
    }

    /// Lets a node lose data, unless too many have already.
    async fn lose(&mut self) -> Result<(), Error> {
        let forgetful = self.machines.iter().filter(|m| m.forgot()).count();
        if forgetful + 1 >= majority(self.machines.len()) {
            return Ok(());
        }
        let index = self.any();
        if self.machines[index].forgot() {
            return Ok(());
        }
        let loss = self.random.of(&[
            Loss::All,
            Loss::Backend,
            Loss::Directory,
            Loss::Older,
            Loss::Restarted,
        ]);
        let loss = match self.mistake {
            Some(Mistake::ServesEmpty) => Loss::Backend,
            Some(Mistake::ForgetsUnnoticed) => Loss::Older,
            _ => loss,
        };
        // Claims that this node has accepted and others have not, so far.
        let stranded = self.random.is(700);
        if stranded {
            let client = self.strand(index);
            let node = self.machines[index].address();
            let accepted = self.network.accepted(&client, node);
            // It makes no difference if there is none.
            let _ = timeout(Duration::from_millis(600), accepted).await;
        }
        let pause = self.random.of(if stranded { &[1] } else { &[1, 50, 400] });
        self.kill(index, pause).await;
        let machine = Arc::clone(&self.machines[index]);
        let address = machine.address();
        self.history
            .tell(format_args!("{address} loses data: {loss:?}"));
        let seed = machine.seed();
        let older = self.copies[index].clone();
        match loss {
            Loss::All => {
                machine.empty_directory();
                machine
                    .replace_backend(Copy::new(), other_seed(&mut self.random))
                    .await?;
            }
            Loss::Backend => {
                let kept = match self.mistake {
                    Some(Mistake::ServesEmpty) => self.own(index).await?,
                    _ => Copy::new(),
                };
                machine.replace_backend(kept, seed).await?;
            }
            Loss::Directory => machine.empty_directory(),
            Loss::Older => {
                let Some(mut copy) = older else {
                    return self.start(index).await;
                };
                if self.mistake == Some(Mistake::ForgetsUnnoticed) {
                    copy.retain(|(key, _)| key == KEY);
                    copy.extend(self.own(index).await?);
                }
                machine.replace_backend(copy, seed).await?;
            }
            Loss::Restarted => {
                let copy = older.unwrap_or_default();
                machine
                    .replace_backend(copy, other_seed(&mut self.random))
                    .await?;
            }
        }
        if !matches!(
            self.mistake,
            Some(Mistake::ServesEmpty | Mistake::ForgetsUnnoticed)
        ) {
            machine.forget();
        }
        self.start(index).await?;
        // Processes that end before they could join again.
        while self.random.is(300) {
            self.restart(index).await?;
        }
        if self.random.is(800) {
            self.join().await;
        }
        if stranded {
            sleep(self.random.within(800)).await;
        }
        if self.random.is(500) {
            self.partition();
        }
        Ok(())
    }

    /// What a node's backend holds for the node itself.
    async fn own(&self, index: usize) -> Result<Copy, Error> {
        let mut copy = self.machines[index].copy(&self.members).await?;
        copy.retain(|(key, _)| key.starts_with(RESERVED));
        Ok(copy)
    }

    /// Lets the nodes that lost data join again, as far as that is possible at present.
    async fn join(&self) {
        for (machine, member) in self.machines.iter().zip(&self.members) {
            let Some(node) = machine.node() else { continue };
            if !matches!(node.status().state, NodeState::Lost | NodeState::New) {
                continue;
            }
            let described = Describe {
                node: member.node,
                group: GROUP,
                epoch: 1,
                members: self.members.clone(),
            };
            let address = machine.address();
            self.history.tell(format_args!("{address} is to join"));
            let joined = machine.join(&described, &self.operator);
            let said = match timeout(Duration::from_secs(3), joined).await {
                Ok(Ok(())) => "it has joined".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            self.history.tell(format_args!("{address}: {said}"));
        }
    }
}

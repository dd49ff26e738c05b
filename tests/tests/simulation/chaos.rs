//! What happens to the machines and to the network during a run.

use crate::client::Lists;
use crate::clock::Clock;
use crate::history::History;
use crate::machine::{Copy, Machine, other_seed};
use crate::members::{LATE, Members};
use crate::mistake::Mistake;
use crate::network::{Network, Weather};
use crate::random::Random;
use artisanal_core::Secret;
use artisanal_quorum::{Describe, List, NodeState};
use int_host::Error;
use int_host::node::Peers;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The group of the nodes.
pub(crate) const GROUP: u64 = 41;

/// With [`Mistake::TrustsClocks`], how long a node waits until nobody waits for what it has forgotten.
const OUTDATED: Duration = Duration::from_millis(1500);

/// A run's machines and network.
pub(crate) struct Chaos {
    pub(crate) network: Arc<Network>,
    pub(crate) history: Arc<History>,
    /// All machines: those of members, of former ones, and of those to come.
    pub(crate) machines: Vec<Site>,
    pub(crate) members: Members,
    /// The clocks of the clients.
    clocks: Vec<Clock>,
    operator: Peers,
    pub(crate) mistake: Option<Mistake>,
    pub(crate) random: Random,
    /// How many in a thousand events are changes of the members.
    changes: u64,
}

/// A machine, with what its backend held at some times.
pub(crate) struct Site {
    pub(crate) machine: Arc<Machine>,
    /// A copy from an earlier process of the node.
    pub(crate) older: Option<Copy>,
    /// A copy from some time ago.
    pub(crate) recent: Option<Copy>,
}

impl From<Arc<Machine>> for Site {
    fn from(machine: Arc<Machine>) -> Self {
        Self {
            machine,
            older: None,
            recent: None,
        }
    }
}

impl Chaos {
    pub(crate) fn new(network: Arc<Network>, mistake: Option<Mistake>, seed: u64) -> Self {
        let mut random = Random::new(seed, 3);
        let changes = match mistake {
            Some(mistake) if mistake.is_of_changes() => 400,
            _ => random.of(&[0, 0, 100, 300]),
        };
        Self {
            history: Arc::clone(&network.history),
            network,
            machines: Vec::new(),
            members: Members::default(),
            clocks: Vec::new(),
            operator: operator("operator"),
            mistake,
            random,
            changes,
        }
    }

    /// Takes the machines of a group, the lists of members that its clients have, and the clients' clocks.
    pub(crate) fn take(
        &mut self,
        machines: Vec<Arc<Machine>>,
        list: List,
        lists: Arc<Lists>,
        clocks: Vec<Clock>,
    ) {
        self.machines = machines.into_iter().map(Site::from).collect();
        self.members = Members::new(list, lists);
        self.clocks = clocks;
    }

    /// Lets so many things happen.
    pub(crate) async fn run(&mut self, events: u32) -> Result<(), Error> {
        for _ in 0..events {
            sleep(self.random.within(300)).await;
            self.look();
            self.keep_copy().await?;
            if self.random.is(self.changes) {
                self.replace().await?;
                continue;
            }
            match self.random.below(11) {
                0 => self.change_weather(),
                1 => self.partition(),
                2 | 3 => self.slow_down(),
                4 => {
                    let index = self.any();
                    self.restart(index).await?;
                }
                5..=7 => self.lose().await?,
                8 => self.jump(),
                _ => self.join().await?,
            }
        }
        Ok(())
    }

    /// Ends all faults, and lets every member take part. An error says which one does not.
    pub(crate) async fn heal(&mut self) -> Result<(), Error> {
        self.history.tell("everything heals");
        self.network.set_weather(Weather::default());
        self.network.cut(BTreeSet::new());
        self.network.slow_down(BTreeMap::new());
        for site in &self.machines {
            if site.machine.node().is_none() {
                site.machine.start().await?;
            }
        }
        self.end_commands().await;
        // What is on its way arrives.
        sleep(LATE).await;
        for _ in 0..20 {
            self.look();
            self.finish_change().await;
            self.join().await?;
            self.look();
            let nodes = self.members_up();
            if nodes.len() == self.members.list().members.len()
                && nodes.iter().all(|s| s.state == NodeState::Serving)
                && !self.members.is_changing()
            {
                return Ok(());
            }
            sleep(Duration::from_secs(1)).await;
        }
        let states: Vec<_> = self.members_up().into_iter().map(|s| s.reason).collect();
        Err(Error::Unavailable(format!(
            "members take no part, or a change does not end: {states:?}"
        )))
    }

    /// How many times a member was replaced.
    pub(crate) fn replaced(&self) -> u64 {
        self.members.replaced()
    }

    fn any(&mut self) -> usize {
        let most = u64::try_from(self.machines.len()).unwrap_or(1);
        usize::try_from(self.random.below(most)).unwrap_or(0)
    }

    pub(crate) fn any_machine(&mut self) -> (usize, Arc<Machine>) {
        let index = self.any();
        (index, Arc::clone(&self.machines[index].machine))
    }

    fn change_weather(&mut self) {
        let random = &mut self.random;
        let weather = Weather {
            lost: random.of(&[0, 0, 20, 100, 300]),
            twice: random.of(&[0, 50, 200]),
            late: random.of(&[0, 50, 300]),
            latest: random.of(&[20, 200, 3000]),
            slow_backend: random.of(&[0, 100, 500]),
        };
        self.history.tell(format_args!("{weather:?}"));
        self.network.set_weather(weather);
    }

    /// The names of all clients.
    pub(crate) fn clients(&self) -> Vec<String> {
        (0..self.clocks.len())
            .map(|number| format!("c{number}"))
            .collect()
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = String> {
        self.machines
            .iter()
            .map(|site| site.machine.address().to_owned())
    }

    /// Cuts some directions between nodes and between clients or operators and nodes, or mends them all.
    pub(crate) fn partition(&mut self) {
        let mut cuts = BTreeSet::new();
        let one = self.any_machine().1.address().to_owned();
        // Often only the clients miss a node: then the other nodes are the majority, and it lags behind.
        let rate = self.random.of(&[0, 500, 1000, 1000]);
        let nodes: Vec<_> = self.addresses().collect();
        let nodes: Vec<_> = nodes.into_iter().filter(|_| self.random.is(300)).collect();
        let others = nodes.into_iter().chain(self.clients());
        for other in others.chain(["operator".to_owned()]).filter(|o| *o != one) {
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

    /// Slows down some directions between clients or operators and nodes. So claims that were accepted by some nodes take
    /// long to reach the others.
    fn slow_down(&mut self) {
        let mut slow = BTreeMap::new();
        let rate = self.random.of(&[300, 500, 700]);
        let nodes: Vec<_> = self.addresses().collect();
        for other in self.clients().into_iter().chain(["operator".to_owned()]) {
            for node in &nodes {
                for way in [(other.clone(), node.clone()), (node.clone(), other.clone())] {
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

    /// Lets clocks jump, forward or back. A call may take as much longer as its clock jumps back.
    fn jump(&mut self) {
        let machines = self.machines.iter().map(|site| &site.machine.clock);
        for clock in self.clocks.iter().chain(machines) {
            if self.random.is(500) {
                let ms = self.random.of(&[-4000, -1000, -20, 20, 1000, 20_000]);
                clock.jump(ms);
                self.history.tell(format_args!("a clock jumps by {ms} ms"));
            }
        }
    }

    /// Kills a node's process, and starts it again after some time.
    pub(crate) async fn restart(&mut self, index: usize) -> Result<(), Error> {
        let pause = self.random.of(&[1, 50, 400]);
        self.kill(index, pause).await;
        self.start(index).await
    }

    pub(crate) async fn kill(&mut self, index: usize, pause: u64) {
        let machine = &self.machines[index].machine;
        self.history
            .tell(format_args!("{} is killed", machine.address()));
        machine.kill();
        // Whatever its process had begun to do in its backend ends.
        sleep(Duration::from_millis(1) + self.random.within(pause)).await;
    }

    pub(crate) async fn start(&mut self, index: usize) -> Result<(), Error> {
        let machine = Arc::clone(&self.machines[index].machine);
        // The first copy is from the first process: it has the fewest starts.
        if self.machines[index].older.is_none() || self.random.is(300) {
            self.machines[index].older = Some(self.copy(&machine).await?);
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

    /// Reads all that a machine's backend holds.
    pub(crate) async fn copy(&self, machine: &Machine) -> Result<Copy, Error> {
        machine.copy(self.members.everybody()).await
    }

    /// Copies what one of the backends holds at present.
    async fn keep_copy(&mut self) -> Result<(), Error> {
        let (index, machine) = self.any_machine();
        self.machines[index].recent = match machine.node() {
            Some(_) => Some(self.copy(&machine).await?),
            None => None,
        };
        Ok(())
    }

    /// Lets the members that lost data join again, as far as that is possible at present.
    pub(crate) async fn join(&mut self) -> Result<(), Error> {
        for index in 0..self.machines.len() {
            let machine = Arc::clone(&self.machines[index].machine);
            let Some(node) = machine.node() else { continue };
            if !matches!(node.status().state, NodeState::Lost | NodeState::New) {
                continue;
            }
            let (_, other) = self.any_machine();
            let Some(described) = describe(&machine, &other) else {
                continue;
            };
            if self.mistake == Some(Mistake::TrustsClocks) {
                while machine.since_loss() < OUTDATED {
                    sleep(Duration::from_millis(20)).await;
                }
            }
            let address = machine.address();
            self.history.tell(format_args!("{address} is to join"));
            let joined = machine.join(&described, &self.operator);
            let said = match timeout(Duration::from_secs(3), joined).await {
                Ok(Ok(())) => "it has joined".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            self.history.tell(format_args!("{address}: {said}"));
            if said.contains("give node") {
                // A copy from when another node was on this machine. The operator does what the error says.
                self.kill(index, 1).await;
                let seed = other_seed(&mut self.random);
                machine.replace_backend(Copy::new(), seed).await?;
                self.start(index).await?;
            }
        }
        Ok(())
    }
}

/// What another node says that this machine's node is, if it knows a member there.
fn describe(machine: &Machine, other: &Machine) -> Option<Describe> {
    let status = other.node()?.status();
    let address = format!("{}:80", machine.address());
    let member = status.members.iter().find(|m| m.address == address)?;
    (status.group == GROUP).then(|| Describe {
        node: member.node,
        group: GROUP,
        epoch: status.epoch,
        members: status.members.clone(),
    })
}

/// A client for nodes that has this name.
pub(crate) fn operator(name: &str) -> Peers {
    Peers::new(Some(Secret::new(name.into()))).within(crate::world::simulated())
}

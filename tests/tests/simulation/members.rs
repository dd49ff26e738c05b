//! Changes of the member list, as operators make them.

use crate::chaos::{Chaos, GROUP, operator};
use crate::client::Lists;
use crate::machine::{Machine, other_seed};
use artisanal_quorum::{List, Member, NodeState, Status};
use int_host::Error;
use int_host::node::replace;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// The maximum number of machines.
const MACHINES: usize = 9;

/// How long messages of a command that has ended may still be on their way.
pub(crate) const LATE: Duration = Duration::from_secs(10);

/// The members of a group, as somebody sees them who knows all nodes.
#[derive(Default)]
pub(crate) struct Members {
    /// The newest list that was in force anywhere.
    list: List,
    /// The newest list of which a process that runs knows that it is in force. It is older if the only node that
    /// heard of the end of a change has lost its data.
    known: List,
    /// Changes after that one which have begun.
    open: Vec<List>,
    /// Commands that may still have an effect.
    commands: Vec<Command>,
    running: JoinSet<()>,
    given: u64,
    replaced: Arc<AtomicU64>,
    /// All that were ever to be members.
    everybody: Vec<Member>,
    /// What clients know.
    lists: Arc<Lists>,
}

/// A command that replaces one member by another.
#[derive(Clone)]
struct Command {
    old: String,
    new: Member,
    until: Instant,
}

impl Members {
    pub(crate) fn new(list: List, lists: Arc<Lists>) -> Self {
        Self {
            everybody: list.members.clone(),
            known: list.clone(),
            list,
            lists,
            ..Self::default()
        }
    }

    /// The list in force.
    pub(crate) fn list(&self) -> &List {
        &self.list
    }

    /// All that were ever to be members.
    pub(crate) fn everybody(&self) -> &[Member] {
        &self.everybody
    }

    /// How many commands have succeeded.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Whether a change has begun and not ended.
    pub(crate) fn is_changing(&self) -> bool {
        !self.open.is_empty()
    }

    /// The members that are in force, and those that may come into force next.
    pub(crate) fn lists(&self) -> Vec<Vec<Member>> {
        let mut lists = vec![self.list.members.clone()];
        lists.extend(self.open.iter().map(|open| open.members.clone()));
        let commands = self.commands.iter();
        lists.extend(commands.filter_map(|c| self.list.with(&c.old, c.new.clone())));
        lists
    }

    /// The member that leaves with the newest change that has begun, and the one that comes.
    fn begun(&self) -> Option<(String, String)> {
        let open = self.open.iter().max_by_key(|open| open.epoch)?;
        let other = |of: &List, without: &List| {
            let mut members = of.members.iter();
            let found = members.find(|m| !without.contains(m.node))?;
            Some(found.address.clone())
        };
        match (other(&self.known, open), other(open, &self.known)) {
            (Some(old), Some(new)) => Some((old, new)),
            // The same members again.
            _ => {
                let addresses = self.known.members.iter().map(|m| m.address.clone());
                let mut addresses = addresses.take(2);
                Some((addresses.next()?, addresses.next()?))
            }
        }
    }

    fn see(&mut self, statuses: &[Status]) {
        if let Some(newest) = statuses.iter().max_by_key(|status| status.epoch) {
            self.known = List {
                epoch: newest.epoch,
                members: newest.members.clone(),
            };
        }
        if self.known.epoch > self.list.epoch {
            self.list = self.known.clone();
        }
        let open = statuses.iter().filter_map(|status| status.open.clone());
        let newer = open.filter(|open| open.epoch > self.known.epoch);
        self.open = newer.collect();
        self.commands
            .retain(|command| Instant::now() < command.until);
    }
}

impl Chaos {
    fn statuses(&self) -> impl Iterator<Item = (&Machine, Status)> {
        self.machines.iter().filter_map(|site| {
            let node = site.machine.node()?;
            Some((&*site.machine, node.status()))
        })
    }

    /// Finds out which lists the nodes have.
    pub(crate) fn look(&mut self) {
        let of_group = self.statuses().map(|(_, status)| status);
        let statuses: Vec<_> = of_group.filter(|status| status.group == GROUP).collect();
        self.members.see(&statuses);
    }

    /// What the members say whose processes run.
    pub(crate) fn members_up(&self) -> Vec<Status> {
        let list = self.members.list();
        let is_member = |machine: &Machine| {
            let address = format!("{}:80", machine.address());
            list.members.iter().any(|member| member.address == address)
        };
        let statuses = self.statuses();
        let members = statuses.filter(|(machine, _)| is_member(machine));
        members.map(|(_, status)| status).collect()
    }

    /// Begins to replace a member, or takes up a replacement that was interrupted. The command ends when it is done, or
    /// after some time, wherever it is then.
    pub(crate) async fn replace(&mut self) -> Result<(), Error> {
        let members = self.members.list().members.clone();
        let (old, new) = match self.members.begun() {
            Some(pair) if self.random.is(800) => pair,
            _ => match self.interrupted() {
                Some(pair) => pair,
                None => {
                    let old = self.random.of(&members.iter().collect::<Vec<_>>());
                    let Some(new) = self.newcomer().await? else {
                        return Ok(());
                    };
                    (old.address.clone(), new)
                }
            },
        };
        let via = self.random.of(&members.iter().collect::<Vec<_>>());
        if self.random.is(300) {
            self.hide_from_operators(&old);
        }
        let limit = self.random.of(&[10, 20, 40, 200, 1000, 20_000]);
        let limit = Duration::from_millis(1) + self.random.within(limit);
        self.command(old, new, via.address.clone(), limit);
        Ok(())
    }

    /// Lets no operator reach one of the members that stay.
    fn hide_from_operators(&mut self, old: &str) {
        let members = self.members.list().members.iter();
        let staying: Vec<_> = members.filter(|member| member.address != old).collect();
        let hidden = self.random.of(&staying).address.clone();
        let hidden = hidden.strip_suffix(":80").unwrap_or_default().to_owned();
        self.history
            .tell(format_args!("cut: no operator reaches {hidden}"));
        let way = ("operator".to_owned(), hidden);
        self.network.cut([way].into());
    }

    /// A command that was given before, for a member that is still there.
    fn interrupted(&mut self) -> Option<(String, String)> {
        let list = self.members.list();
        let is_there = |address: &str| list.members.iter().any(|m| m.address == address);
        let mut commands = self.members.commands.iter();
        let command = commands.find(|c| is_there(&c.old) && !is_there(&c.new.address))?;
        let pair = (command.old.clone(), command.new.address.clone());
        self.random.is(500).then_some(pair)
    }

    /// The address of a node that belongs to no group.
    async fn newcomer(&mut self) -> Result<Option<String>, Error> {
        let lists = self.members.lists().concat();
        let is_listed = |machine: &Machine| {
            let address = format!("{}:80", machine.address());
            lists.iter().any(|member| member.address == address)
        };
        let mut sites = self.machines.iter();
        let former = sites.position(|site| !is_listed(&site.machine));
        let seed = other_seed(&mut self.random);
        let index = match former {
            // A machine whose data was emptied after its node had been replaced.
            Some(index) if self.machines.len() >= MACHINES || self.random.is(500) => {
                self.kill(index, 1).await;
                self.machines[index].machine.become_new(seed).await?;
                (self.machines[index].older, self.machines[index].recent) = (None, None);
                index
            }
            _ if self.machines.len() >= MACHINES => return Ok(None),
            _ => {
                let machine = Machine::new(format!("n{}", self.machines.len()), seed).await?;
                self.network.connect(&machine);
                self.machines.push(machine.into());
                self.machines.len() - 1
            }
        };
        self.start(index).await?;
        let address = self.machines[index].machine.address();
        Ok(Some(format!("{address}:80")))
    }

    fn command(&mut self, old: String, new: String, via: String, limit: Duration) {
        let members = &mut self.members;
        members.given += 1;
        let name = format!("operator.{}", members.given);
        self.history.tell(format_args!(
            "{name} replaces {old} by {new} via {via}, within {limit:?}"
        ));
        let machine = self.machines.iter().map(|site| &site.machine);
        let mut machine = machine.filter(|machine| format!("{}:80", machine.address()) == new);
        if let Some(node) = machine.next().and_then(|machine| machine.node()) {
            let member = Member {
                node: node.status().node,
                address: new.clone(),
            };
            members.everybody.push(member.clone());
            members.commands.push(Command {
                old: old.clone(),
                new: member,
                until: Instant::now() + limit + LATE,
            });
        }
        let (history, lists) = (Arc::clone(&self.history), Arc::clone(&members.lists));
        let replaced = Arc::clone(&members.replaced);
        members.running.spawn(async move {
            let peers = operator(&name);
            let said = match timeout(limit, replace(&peers, &old, &new, &via)).await {
                Ok(Ok(done)) => {
                    replaced.fetch_add(1, Ordering::Relaxed);
                    lists.add(&done.list);
                    format!("the members are {}", done.list.addresses())
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "interrupted".to_owned(),
            };
            history.tell(format_args!("{name}: {said}"));
        });
    }

    /// Waits until all commands have ended.
    pub(crate) async fn end_commands(&mut self) {
        while self.members.running.join_next().await.is_some() {}
    }

    /// Finishes a change that has begun, and tells clients which members there are.
    pub(crate) async fn finish_change(&mut self) {
        if let Some((old, new)) = self.members.begun() {
            let up = self.members_up();
            let serving = up.iter().find(|s| s.state == NodeState::Serving);
            let via = serving.and_then(|status| {
                let mut members = status.members.iter();
                members.find(|member| member.node == status.node)
            });
            if let Some(via) = via {
                self.command(old, new, via.address.clone(), Duration::from_secs(60));
                self.end_commands().await;
            }
        }
        self.look();
        self.members.lists.add(self.members.list());
    }
}

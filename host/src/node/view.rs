//! What the nodes say of their member lists, and what that means for a replacement.

use super::peers::{PeerError, Peers};
use crate::Error;
use artisanal_quorum::{List, Member, NodeState, Status};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};

/// What nodes say of themselves.
pub(super) struct View {
    pub(super) group: u64,
    /// The newest list that is in force anywhere.
    pub(super) base: List,
    /// The newest change that has begun after that and not ended.
    pub(super) open: Option<List>,
    /// By address.
    statuses: BTreeMap<String, Result<Status, PeerError>>,
}

/// What has to be done for a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The list in force is as it should be.
    Done,
    /// These have to become the members.
    Change(Vec<Member>),
}

/// The lists of a change.
pub(super) struct Lists<'a> {
    pub(super) base: &'a List,
    pub(super) next: &'a List,
}

impl Lists<'_> {
    /// The members of each.
    pub(super) fn both(&self) -> [&[Member]; 2] {
        [&self.base.members, &self.next.members]
    }

    /// Every node in either list.
    pub(super) fn all(&self) -> Vec<Member> {
        let mut seen = BTreeSet::new();
        let all = self.base.members.iter().chain(&self.next.members);
        all.filter(|member| seen.insert(member.node))
            .cloned()
            .collect()
    }
}

/// How often further members are looked for: each time a newer list may be found.
const ROUNDS: usize = 5;

impl View {
    /// Asks a member, then all nodes that it and they know of, and this one more.
    pub(super) async fn of(peers: &Peers, via: &str, new: &str) -> Result<Self, Error> {
        let first = peers.status(via).await?;
        if first.group == 0 {
            return Err(Error::Invalid(format!("{via} belongs to no group")));
        }
        let mut view = Self::new(first.group);
        view.add(via, first);
        let mut asked = BTreeSet::from([via.to_owned()]);
        for _ in 0..ROUNDS {
            let lists = std::iter::once(&view.base).chain(&view.open);
            let members = lists.flat_map(|list| list.members.iter().map(|m| m.address.clone()));
            let all = members.chain([new.to_owned()]);
            let further: BTreeSet<String> =
                all.filter(|address| !asked.contains(address)).collect();
            if further.is_empty() {
                break;
            }
            let found = join_all(further.iter().map(|address| peers.status(address))).await;
            for (address, status) in further.iter().zip(found) {
                match status {
                    Ok(status) => view.add(address, status),
                    Err(error) if error.is_denied() => {
                        return Err(error.into());
                    }
                    Err(error) => {
                        view.statuses.insert(address.clone(), Err(error));
                    }
                }
            }
            asked.extend(further);
        }
        match view.base.check() {
            Ok(()) => Ok(view),
            Err(why) => Err(Error::Other(format!("{via} describes no group: {why}"))),
        }
    }

    fn new(group: u64) -> Self {
        Self {
            group,
            base: List::default(),
            open: None,
            statuses: BTreeMap::new(),
        }
    }

    /// Adds what a node says. Only nodes of the group know its lists.
    fn add(&mut self, address: &str, status: Status) {
        let list = List {
            epoch: status.epoch,
            members: status.members.clone(),
        };
        let is_member = status.group == self.group;
        if is_member && list.epoch > self.base.epoch && list.check().is_ok() {
            self.base = list;
        }
        let newest = self.open.as_ref().map_or(0, |open| open.epoch);
        if let Some(open) = &status.open
            && is_member
            && open.epoch > newest
            && open.check().is_ok()
        {
            self.open = Some(open.clone());
        }
        let base = self.base.epoch;
        self.open.take_if(|open| open.epoch <= base);
        self.statuses.insert(address.to_owned(), Ok(status));
    }

    /// What has to be done so that the node at `new` has the place of the one at `old`.
    pub(super) fn plan(&self, old: &str, new: &str) -> Result<Plan, Error> {
        let at = |address: &str| self.base.members.iter().any(|m| m.address == address);
        let target = match (at(old), at(new)) {
            // A repetition under a greater number has not ended.
            _ if self.is_repeated() => return Ok(Plan::Change(self.base.members.clone())),
            (false, true) if self.open.is_none() => return Ok(Plan::Done),
            (false, true) => self.base.members.clone(),
            (true, false) => {
                let member = self.newcomer(new)?;
                self.base.with(old, member).unwrap_or_default()
            }
            (true, true) => {
                return Err(Error::Invalid(format!(
                    "{new} is a member of the group already"
                )));
            }
            (false, false) => {
                return Err(Error::Invalid(format!(
                    "the group has no member at {old}; its members are {}",
                    self.base.addresses()
                )));
            }
        };
        match &self.open {
            Some(open) if open.members != target => Err(self.other_change(open)),
            _ => Ok(Plan::Change(target)),
        }
    }

    /// Whether the change that has begun has the members that are in force already.
    fn is_repeated(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.members == self.base.members)
    }

    /// The node that takes the place. If a change that makes it a member has begun, that one says who it is.
    fn newcomer(&self, address: &str) -> Result<Member, Error> {
        let mut planned = self.open.iter().flat_map(|open| &open.members);
        if let Some(member) = planned.find(|member| member.address == address) {
            return Ok(member.clone());
        }
        if let Some(open) = &self.open {
            return Err(self.other_change(open));
        }
        match self.statuses.get(address) {
            Some(Ok(status)) if status.state == NodeState::New => Ok(Member {
                node: status.node,
                address: address.to_owned(),
            }),
            // It was reached by a change of which the others have not heard: the same node again.
            Some(Ok(status))
                if status.group == self.group
                    && status.epoch <= self.base.epoch
                    && !self.base.contains(status.node)
                    && status
                        .open
                        .as_ref()
                        .is_some_and(|o| o.contains(status.node)) =>
            {
                Ok(Member {
                    node: status.node,
                    address: address.to_owned(),
                })
            }
            Some(Ok(status)) => Err(Error::Denied(format!(
                "{address} belongs to group {} already; a new member needs an empty data directory and an empty \
                 backend",
                status.group
            ))),
            Some(Err(error)) => Err(error.clone().into()),
            None => Err(Error::Unavailable(format!("{address} was not asked"))),
        }
    }

    /// The error for another change that has begun.
    pub(super) fn other_change(&self, open: &List) -> Error {
        let address = |of: &List, without: &List| {
            let other = |m: &&Member| !without.members.iter().any(|w| w.address == m.address);
            let found = of.members.iter().find(other);
            found.map_or_else(String::new, |member| member.address.clone())
        };
        let old = address(&self.base, open);
        let new = address(open, &self.base);
        Error::Denied(format!(
            "another change of the members has begun; finish it first with `int-host node replace {old} {new}`"
        ))
    }

    /// The addresses of the members of this list that are behind it, or were not reached.
    pub(super) fn behind(&self, list: &List) -> Vec<Member> {
        let reached = |member: &&Member| {
            let status = self.statuses.get(&member.address);
            let status = status.and_then(|status| status.as_ref().ok());
            !status.is_some_and(|s| s.node == member.node && s.epoch >= list.epoch)
        };
        list.members.iter().filter(reached).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64) -> Member {
        Member {
            node,
            address: format!("n{node}:1"),
        }
    }

    fn list(epoch: u64, nodes: &[u64]) -> List {
        List {
            epoch,
            members: nodes.iter().copied().map(member).collect(),
        }
    }

    fn status(node: u64, list: List, open: Option<List>) -> Status {
        Status {
            state: NodeState::Serving,
            reason: None,
            node,
            group: 7,
            epoch: list.epoch,
            members: list.members,
            open,
            incarnation: 1,
            known: BTreeMap::new(),
        }
    }

    fn new_node(node: u64) -> Status {
        Status {
            state: NodeState::New,
            group: 0,
            ..status(node, list(1, &[]), None)
        }
    }

    fn view(statuses: impl IntoIterator<Item = Status>) -> View {
        let mut view = View::new(7);
        for status in statuses {
            view.add(&format!("n{}:1", status.node), status);
        }
        view
    }

    fn first(node: u64) -> Status {
        status(node, list(1, &[1, 2, 3]), None)
    }

    #[test]
    fn a_new_node_takes_the_place_of_a_member() {
        let view = view([first(1), first(2), new_node(4)]);
        let target = list(2, &[1, 2, 4]).members;
        assert_eq!(view.plan("n3:1", "n4:1"), Ok(Plan::Change(target)));
        let no_member = view.plan("n9:1", "n4:1").expect_err("no member");
        assert!(no_member.to_string().contains("n1:1,n2:1,n3:1"));
        assert!(view.plan("n3:1", "n2:1").is_err(), "a member already");
        assert!(view.plan("n3:1", "n5:1").is_err(), "not reached");
    }

    #[test]
    fn a_node_of_another_group_cannot_become_a_member() {
        let other = Status {
            group: 8,
            ..status(4, list(9, &[4]), Some(list(10, &[5])))
        };
        let view = view([first(1), other]);
        assert_eq!(view.base, list(1, &[1, 2, 3]), "its lists do not count");
        assert_eq!(view.open, None);
        let error = view.plan("n3:1", "n4:1").expect_err("it is another's");
        assert!(matches!(error, Error::Denied(text) if text.contains("group 8")));
    }

    #[test]
    fn a_change_that_has_begun_goes_first() {
        let next = list(2, &[1, 2, 4]);
        let open = status(2, list(1, &[1, 2, 3]), Some(next.clone()));
        let seen = view([first(1), open.clone()]);
        // The new node need not be there for that.
        assert_eq!(
            seen.plan("n3:1", "n4:1"),
            Ok(Plan::Change(next.members.clone()))
        );
        let other = view([first(1), open.clone(), new_node(5)]).plan("n3:1", "n5:1");
        let other = other.expect_err("another change").to_string();
        assert!(other.contains("replace n3:1 n4:1"), "{other}");
        // It has ended elsewhere.
        let done = view([status(1, next.clone(), None), open]);
        assert_eq!(done.plan("n3:1", "n4:1"), Ok(Plan::Done));
        assert_eq!(done.behind(&next), [member(2), member(4)]);
    }

    #[test]
    fn a_repetition_is_ended_first() {
        let next = list(2, &[1, 2, 4]);
        let repeated = status(2, list(1, &[1, 2, 3]), Some(list(3, &[1, 2, 4])));
        let view = view([status(1, next.clone(), None), repeated, new_node(5)]);
        for (old, new) in [("n3:1", "n4:1"), ("n4:1", "n5:1")] {
            let plan = view.plan(old, new);
            assert_eq!(plan, Ok(Plan::Change(next.members.clone())));
        }
    }

    #[test]
    fn lists_that_cannot_be_are_ignored() {
        let bad = status(2, list(9, &[1, 1, 2]), Some(list(9, &[1, 2])));
        let view = view([first(1), bad]);
        assert_eq!((view.base, view.open), (list(1, &[1, 2, 3]), None));
    }
}

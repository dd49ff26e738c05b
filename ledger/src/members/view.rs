//! What a member knows of all members.

use super::placement::Placement;
use crate::partition::Share;
use http::Uri;
use std::net::SocketAddr;
use std::sync::Arc;

/// A member, as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The address of its HTTP interface. None only for a ledger without gossip that does not know its own.
    pub address: Option<Uri>,
    /// Its address for gossip; None for a ledger without gossip.
    pub gossip: Option<SocketAddr>,
    /// How it is.
    pub health: Health,
    /// Since when it is so, in microseconds since 1970.
    pub since: i64,
    /// The partitions that it should hold.
    pub owned: Arc<Share>,
    /// The partitions that it says it holds.
    pub held: Arc<Share>,
}

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is heard of.
    Alive,
    /// It is not heard of, and keeps its share for a while.
    Suspected,
    /// It is not heard of, and has no share any more.
    Dead,
    /// It said that it stops.
    Left,
}

impl Health {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspected => "suspected",
            Self::Dead => "dead",
            Self::Left => "left",
        }
    }
}

/// The members at one moment, as one of them knows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The name of the one who knows.
    pub own: String,
    /// All members, in ascending order of their names.
    pub members: Vec<Member>,
    /// Who owns what.
    pub placement: Arc<Placement>,
}

impl View {
    /// The view of a ledger without gossip: it holds everything.
    pub(super) fn alone(name: &str, address: Option<Uri>, since: i64) -> Self {
        let all = Arc::new(Share::all());
        let me = Member {
            name: name.to_owned(),
            address,
            gossip: None,
            health: Health::Alive,
            since,
            owned: Arc::clone(&all),
            held: all,
        };
        Self {
            own: name.to_owned(),
            members: vec![me],
            placement: Arc::new(Placement::new([name])),
        }
    }

    /// The member with this name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        let place = self
            .members
            .binary_search_by(|member| member.name.as_str().cmp(name));
        place.ok().and_then(|place| self.members.get(place))
    }

    /// Its own entry.
    pub fn me(&self) -> Option<&Member> {
        self.member(&self.own)
    }

    /// How many members are alive.
    pub fn alive(&self) -> usize {
        let alive = |member: &&Member| member.health == Health::Alive;
        self.members.iter().filter(alive).count()
    }

    /// Whom to ask about a partition, in this order: the owners that hold it, others that hold it, such as those that
    /// owned it a moment ago. Without oneself, and without members that are not heard of.
    pub fn holders(&self, partition: u16) -> Vec<&Member> {
        let holds = |member: &&Member| {
            member.health == Health::Alive
                && member.name != self.own
                && member.held.contains(partition)
        };
        let owners: Vec<_> = self.placement.owners(partition).collect();
        let first = owners.iter().filter_map(|owner| self.member(owner));
        let others = self
            .members
            .iter()
            .filter(|member| !owners.contains(&member.name.as_str()));
        first.chain(others).filter(holds).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_that_hold_a_partition_are_asked_first() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let placement = Arc::new(Placement::new(names));
        let owners: Vec<_> = placement.owners(7).map(str::to_owned).collect();
        let other = |nth| {
            let mut others = names
                .iter()
                .filter(|name| !owners.contains(&(**name).to_owned()));
            (*others.nth(nth).unwrap()).to_owned()
        };
        let member = |name: &str| Member {
            name: name.into(),
            address: None,
            gossip: None,
            health: Health::Alive,
            since: 0,
            owned: Arc::default(),
            held: Arc::new(Share::from_iter([7])),
        };
        let mut view = View {
            own: other(0),
            members: names.map(member).into(),
            placement: Arc::clone(&placement),
        };
        let asked = |view: &View| -> Vec<_> {
            let holders = view.holders(7).into_iter();
            holders.map(|member| member.name.clone()).collect()
        };
        let all = [&owners[..], &[other(1), other(2)]].concat();
        assert_eq!(asked(&view), all);
        // One that is away, and one that has not caught up.
        let change = |view: &mut View, name: &str, change: &dyn Fn(&mut Member)| {
            let member = view.members.iter_mut().find(|member| member.name == name);
            change(member.unwrap());
        };
        change(&mut view, &owners[0], &|member| {
            member.health = Health::Suspected
        });
        change(&mut view, &owners[2], &|member| {
            member.held = Arc::default()
        });
        assert_eq!(asked(&view), [owners[1].clone(), other(1), other(2)]);
        assert_eq!(
            (view.alive(), view.me().unwrap().name.clone()),
            (5, other(0))
        );
    }
}

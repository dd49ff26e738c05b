//! Which members own which partitions.
//!
//! It is rendezvous hashing with bounded loads: each partition prefers the members in an order of its own, and takes the first
//! ones that have room. It depends on the names of the members alone, so that members with the same view have the same placement.

use crate::partition::{PARTITIONS, Share};

/// How many members own a partition, if there are as many.
pub const OWNERS: usize = 3;

/// The owners of each partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// In ascending order.
    names: Vec<String>,
    /// Of each partition, the places of its owners in `names`, the first choice first.
    owners: Vec<Vec<u16>>,
}

impl Placement {
    /// The placement for these members, in any order. Names that appear again count once.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(usize::from(u16::MAX));
        if names.is_empty() {
            return Self::default();
        }
        let seeds: Vec<u64> = names.iter().map(|name| seed(name)).collect();
        let each = OWNERS.min(names.len());
        let most = capacity(names.len());
        let mut loads = vec![0; names.len()];
        let owners = (0..PARTITIONS).map(|partition| {
            let mut order: Vec<_> = (0_u16..)
                .zip(&seeds)
                .map(|(member, seed)| (mix(seed ^ mix(u64::from(partition))), member))
                .collect();
            // Members with equal numbers stay in the order of their names.
            order.sort_by_key(|(score, member)| (std::cmp::Reverse(*score), *member));
            let order = order.into_iter().map(|(_, member)| member);
            let (room, full): (Vec<_>, Vec<_>) =
                order.partition(|member| loads[usize::from(*member)] < most);
            // Three owners count for more than an equal load; with up to nine members it could come to that.
            let owners: Vec<u16> = room.into_iter().chain(full).take(each).collect();
            for owner in &owners {
                loads[usize::from(*owner)] += 1;
            }
            owners
        });
        let owners = owners.collect();
        Self { names, owners }
    }

    /// The members, in ascending order of their names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The owners of a partition, the first choice first.
    pub fn owners(&self, partition: u16) -> impl Iterator<Item = &str> {
        let owners = self.owners.get(usize::from(partition));
        let owners = owners.into_iter().flatten();
        owners.filter_map(|owner| self.names.get(usize::from(*owner)).map(String::as_str))
    }

    /// The partitions that a member owns.
    pub fn share(&self, name: &str) -> Share {
        let all = 0..PARTITIONS;
        all.filter(|partition| self.owners(*partition).any(|owner| owner == name))
            .collect()
    }
}

/// How many partitions a member owns at most: five quarters of the average.
pub fn capacity(members: usize) -> usize {
    let all = usize::from(PARTITIONS) * OWNERS.min(members);
    (5 * all)
        .div_ceil(4 * members.max(1))
        .min(usize::from(PARTITIONS))
}

/// A number for a name.
fn seed(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_be_bytes(first)
}

/// The finalizer of SplitMix64: each bit of the result depends on all bits of the number.
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    type Pairs = BTreeSet<(u16, String)>;

    fn pairs(placement: &Placement) -> Pairs {
        let all = 0..PARTITIONS;
        all.flat_map(|partition| {
            placement
                .owners(partition)
                .map(move |owner| (partition, owner.to_owned()))
        })
        .collect()
    }

    fn names() -> impl Strategy<Value = Vec<String>> {
        prop::collection::btree_set("[a-z0-9.-]{1,12}", 1..64)
            .prop_map(|names| names.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn each_partition_has_distinct_owners_within_their_capacity(names in names()) {
            let placement = Placement::new(names.clone());
            let each = OWNERS.min(names.len());
            // A set: owners that are equal would be missing.
            prop_assert_eq!(pairs(&placement).len(), each * usize::from(PARTITIONS));
            let mut sum = 0;
            for name in &names {
                let owned = placement.share(name).len();
                prop_assert!(owned <= capacity(names.len()), "{} of {}", owned, capacity(names.len()));
                sum += owned;
            }
            prop_assert_eq!(sum, each * usize::from(PARTITIONS));
        }

        #[test]
        fn the_order_of_the_members_does_not_matter(
            (names, shuffled) in names().prop_flat_map(|names| (Just(names.clone()), Just(names).prop_shuffle()))
        ) {
            prop_assert_eq!(Placement::new(names), Placement::new(shuffled));
        }

        #[test]
        fn little_moves_when_a_member_joins_or_leaves(names in names()) {
            let smaller = Placement::new(names.clone());
            let larger = Placement::new(names.iter().cloned().chain(["THE NEW ONE".to_owned()]));
            let (smaller, larger) = (pairs(&smaller), pairs(&larger));
            let share = larger.iter().filter(|(_, name)| name == "THE NEW ONE").count();
            // Those that the new member takes, and those that others give each other, because they have room or have none
            // any more. With up to 16 members there are none of these, with 64 one for ten. A join is a leave backwards.
            let come = larger.difference(&smaller).count();
            let go = smaller.difference(&larger).count();
            prop_assert!(2 * come <= 3 * share && 2 * go <= 3 * share, "{} {} of {}", come, go, share);
        }
    }

    #[test]
    fn few_members_own_everything() {
        assert_eq!(pairs(&Placement::new::<&str>([])).len(), 0);
        for names in [&["a"][..], &["a", "b"], &["a", "b", "c", "a"]] {
            let placement = Placement::new(names.iter().copied());
            assert!(names.iter().all(|name| placement.share(name).is_all()));
            assert!(placement.share("z").is_empty());
        }
    }

    #[test]
    fn the_placement_never_changes() {
        let placement = Placement::new(["a", "b", "c", "d", "e"]);
        let owners = |partition| placement.owners(partition).collect::<String>();
        assert_eq!([owners(0), owners(1), owners(1050)], ["bad", "cbd", "aeb"]);
        assert_eq!(placement.owners(PARTITIONS).count(), 0);
    }
}

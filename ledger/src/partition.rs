//! Partitions: a fixed number of parts of all keys, so that members can share them.

use std::collections::BTreeSet;

/// How many partitions there are. It is a prime, and part of the names of the messages of a stream, so it never changes.
pub const PARTITIONS: u16 = 1051;

/// The partition of a key: the first eight bytes of its BLAKE3 hash, most significant byte first, modulo [`PARTITIONS`].
pub fn of(key: &str) -> u16 {
    let hash = blake3::hash(key.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    // Below 1051, so it fits.
    (u64::from_be_bytes(first) % u64::from(PARTITIONS)) as u16
}

/// Some of the partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share(BTreeSet<u16>);

impl Share {
    /// All partitions.
    pub fn all() -> Self {
        Self((0..PARTITIONS).collect())
    }

    /// Whether it has the partition.
    pub fn contains(&self, partition: u16) -> bool {
        self.0.contains(&partition)
    }

    /// Whether it has all partitions.
    pub fn is_all(&self) -> bool {
        self.0.len() == usize::from(PARTITIONS)
    }

    /// The partitions in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().copied()
    }

    /// How many partitions it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<u16> for Share {
    /// The partitions among these numbers; greater numbers are left out.
    fn from_iter<I: IntoIterator<Item = u16>>(numbers: I) -> Self {
        let numbers = numbers.into_iter();
        Self(numbers.filter(|number| *number < PARTITIONS).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_key_never_changes() {
        assert_eq!([of(""), of("orders"), of("a/b")], [820, 144, 96]);
    }

    #[test]
    fn keys_are_spread() {
        let mut counts = vec![0; usize::from(PARTITIONS)];
        for key in 0..100_000 {
            counts[usize::from(of(&format!("key-{key}")))] += 1;
        }
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(least > Some(&50) && most < Some(&150), "{least:?} {most:?}");
    }

    #[test]
    fn a_share_has_no_other_numbers() {
        let share: Share = [3, 1, 3, PARTITIONS, u16::MAX].into_iter().collect();
        assert_eq!(share.iter().collect::<Vec<_>>(), [1, 3]);
        assert!(!share.is_all() && Share::all().is_all());
    }
}

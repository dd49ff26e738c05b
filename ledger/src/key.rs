//! The keys of the database. A key of the ledger has no control characters, so a zero byte ends it, and numbers
//! follow with their most significant byte first: the order of the bytes is that of keys, then numbers.

/// The prefix of everything that belongs to a key.
pub(crate) fn prefix(key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 1 + 24);
    bytes.extend_from_slice(key.as_bytes());
    bytes.push(0);
    bytes
}

/// A key followed by numbers.
pub(crate) fn with(key: &str, numbers: &[u64]) -> Vec<u8> {
    let mut bytes = prefix(key);
    for number in numbers {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes
}

/// The bytes of a value that consists of numbers.
pub(crate) fn numbers<const N: usize>(numbers: [u64; N]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

/// The number at this place, counted in numbers from the end: 0 is the last one. 0 if the bytes are too short, which
/// no entry of the database is.
pub(crate) fn from_end(bytes: &[u8], place: usize) -> u64 {
    let end = bytes.len().saturating_sub(8 * place);
    bytes
        .get(end.saturating_sub(8)..end)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_be_bytes)
}

/// An integer as a number whose order is the same. All integers in the database are positive.
pub(crate) fn unsigned(integer: i64) -> u64 {
    u64::try_from(integer).unwrap_or(0)
}

/// The integer again.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A key that is the beginning of another one comes before it with all of its numbers.
        #[test]
        fn the_order_is_that_of_keys_and_then_numbers(
            a in "[ -~é]{1,20}",
            b in "[ -~é]{1,20}",
            m in any::<u64>(),
            n in any::<u64>(),
        ) {
            prop_assert_eq!(with(&a, &[m]).cmp(&with(&b, &[n])), (a.as_bytes(), m).cmp(&(b.as_bytes(), n)));
            prop_assert_eq!(with(&b, &[n]).starts_with(&prefix(&a)), a == b);
        }

        #[test]
        fn numbers_are_read_again(key in "[a-z]{1,20}", a in any::<u64>(), b in any::<u64>(), integer in 0..=i64::MAX) {
            let bytes = with(&key, &[a, b]);
            prop_assert_eq!((from_end(&bytes, 1), from_end(&bytes, 0)), (a, b));
            let bytes = numbers([a, b]);
            prop_assert_eq!((from_end(&bytes, 1), from_end(&bytes, 0)), (a, b));
            prop_assert_eq!(signed(unsigned(integer)), integer);
        }
    }

    #[test]
    fn short_values_are_no_panic() {
        for length in 0..8 {
            assert_eq!(from_end(&vec![1; length], 0), 0);
        }
        assert_eq!(from_end(&[1; 8], 1), 0);
    }
}

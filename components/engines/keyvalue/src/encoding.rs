//! How stores encode the integers that `increment` writes.
//!
//! `wasi:keyvalue` does not specify that, so stores differ, and the values that `get` and `cas` return
//! must be decoded in the encoding of the store's own `increment`:
//!
//! | store | bytes |
//! | --- | --- |
//! | Spin's default (SQLite), int-host's own | 8 bytes, two's complement, little-endian |
//! | Spin's Redis, Spin's DynamoDB | decimal text, as Redis's `INCRBY` writes it |
//!
//! Spin's Azure Cosmos DB store keeps counters and plain values in different formats and refuses to
//! `get` a counter, so this engine cannot use it.

/// An encoding of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// 8 bytes, least significant first.
    LittleEndian,
    /// `0`, or an optional `-` and digits that do not begin with 0.
    Decimal,
}

impl Encoding {
    /// The encodings that the bytes may have: none, one, or, for eight digits, both.
    pub(crate) fn candidates(bytes: &[u8]) -> impl Iterator<Item = Self> {
        [Self::LittleEndian, Self::Decimal]
            .into_iter()
            .filter(|encoding| encoding.decode(bytes).is_some())
    }

    /// The integer; None if the bytes are not in this encoding.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<i64> {
        match self {
            Self::LittleEndian => Some(i64::from_le_bytes(bytes.try_into().ok()?)),
            Self::Decimal => {
                // `increment` does not write other notations of the same number, and Redis refuses to
                // increment them.
                let text = std::str::from_utf8(bytes).ok()?;
                let number: i64 = text.parse().ok()?;
                (number.to_string() == text).then_some(number)
            }
        }
    }

    /// Encodes an integer.
    pub(crate) fn encode(self, number: i64) -> Vec<u8> {
        match self {
            Self::LittleEndian => number.to_le_bytes().to_vec(),
            Self::Decimal => number.to_string().into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Encoding::{Decimal, LittleEndian};
    use proptest::prelude::*;

    fn candidates(bytes: &[u8]) -> Vec<Encoding> {
        Encoding::candidates(bytes).collect()
    }

    #[test]
    fn bytes_tell_their_encoding_except_eight_digits() {
        assert_eq!(candidates(&[2, 0, 0, 0, 0, 0, 0, 0]), [LittleEndian]);
        assert_eq!(candidates(b"0"), [Decimal]);
        assert_eq!(candidates(b"9223372036854775807"), [Decimal]);
        assert_eq!(candidates(b"12345678"), [LittleEndian, Decimal]);
        assert_eq!(candidates(b"-1234567"), [LittleEndian, Decimal]);
        assert_eq!(candidates(b"01234567"), [LittleEndian]);
    }

    #[test]
    fn other_values_are_not_integers() {
        for bad in [
            &b""[..],
            b"abc",
            b"007",
            b"+5",
            b"-0",
            b" 5",
            b"5\n",
            b"1e3",
            b"9223372036854775808",
            &[0; 9],
            &[0xff; 7],
        ] {
            assert_eq!(candidates(bad), [], "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn integers_survive(number: i64) {
            for encoding in [LittleEndian, Decimal] {
                prop_assert_eq!(encoding.decode(&encoding.encode(number)), Some(number));
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            prop_assert!(candidates(&bytes).len() <= 2);
        }
    }
}

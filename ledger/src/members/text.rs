//! What members tell each other, as text, and what may come from a stranger.

use crate::partition::{PARTITIONS, Share};
use http::Uri;

/// The length of partitions as text: a hexadecimal digit for four of them.
const DIGITS: usize = PARTITIONS.div_ceil(4) as usize;

/// The maximum length of an address, in bytes.
const MAX_URL: usize = 256;

/// The maximum length of a name, in bytes.
const MAX_NAME: usize = 64;

/// Whether a member may have this name.
pub fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(fits)
}

/// The address of a member, `http://HOST:PORT`; None for what is none.
pub fn address(text: &str) -> Option<Uri> {
    let uri: Uri = text
        .parse()
        .ok()
        .filter(|_| text.len() <= MAX_URL && text.is_ascii())?;
    let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
    let authority = uri.authority()?;
    let whole = plain && uri.query().is_none() && !authority.as_str().contains('@');
    let port = authority.port_u16().is_some_and(|port| port > 0);
    (whole && port && !authority.host().is_empty()).then_some(uri)
}

/// Writes partitions.
pub(super) fn write(share: &Share) -> String {
    let mut digits = vec![0_u8; DIGITS];
    for partition in share.iter() {
        digits[usize::from(partition / 4)] |= 1 << (partition % 4);
    }
    let digits = digits
        .into_iter()
        .map(|digit| char::from_digit(u32::from(digit), 16));
    digits.map(Option::unwrap_or_default).collect()
}

/// Reads partitions; None for what is none.
pub(super) fn read(text: &str) -> Option<Share> {
    if text.len() != DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let digits = (0_u16..).zip(text.chars().filter_map(|digit| digit.to_digit(16)));
    let partitions = digits.flat_map(|(place, digit)| {
        let bits = (0..4_u16).filter(move |bit| digit >> bit & 1 == 1);
        bits.map(move |bit| 4 * place + bit)
    });
    Some(partitions.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn partitions_are_read_as_they_were_written(numbers in prop::collection::vec(0..PARTITIONS, 0..1100)) {
            let share: Share = numbers.into_iter().collect();
            prop_assert_eq!(read(&write(&share)), Some(share));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,300}") {
            let _ = (read(&text), address(&text), is_name(&text));
        }
    }

    #[test]
    fn text_has_a_fixed_length() {
        assert_eq!(write(&Share::default()), "0".repeat(263));
        assert_eq!(read(&write(&Share::all())), Some(Share::all()));
        // The last digit stands for partitions that do not exist, too.
        assert_eq!(read(&"f".repeat(263)), Some(Share::all()));
        for wrong in [
            "",
            "0",
            &"0".repeat(262),
            &"0".repeat(264),
            &"g".repeat(263),
        ] {
            assert_eq!(read(wrong), None);
        }
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for (text, fits) in [
            ("http://localhost:6660", true),
            ("http://10.0.0.1:6660/", true),
            ("http://[::1]:6660", true),
            ("https://localhost:6660", false),
            ("http://localhost", false),
            ("http://localhost:0", false),
            ("http://localhost:6660/v1", false),
            ("http://localhost:6660/?x", false),
            ("http://user@localhost:6660", false),
            ("localhost:6660", false),
            ("", false),
        ] {
            assert_eq!(address(text).is_some(), fits, "{text}");
        }
        assert!(address(&format!("http://{}:1", "a".repeat(250))).is_none());
    }

    #[test]
    fn names_are_short() {
        assert!(is_name("ledger-1.example_2") && is_name(&"a".repeat(64)));
        assert!(!is_name("") && !is_name("a b") && !is_name(&"a".repeat(65)));
    }
}

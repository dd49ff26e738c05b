//! Patterns of keys.

use artisanal_core::limits;

/// The beginning of the keys that a node of a quorum keeps for itself in its backend. No pattern matches them,
/// since whoever mints from them can harm the node.
const OF_NODES: &str = "~node/";

/// A text that stands for keys: each `*` in it means any number of any characters, also none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern that a text is; None if it has no `*`, so that it is a key.
    pub fn new(text: &str) -> Option<Self> {
        text.contains('*').then(|| Self(text.to_owned()))
    }

    /// The text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern stands for this key. False for keys that are too long or not printable, and for
    /// those of the nodes of a quorum.
    pub fn matches(&self, key: &str) -> bool {
        limits::check_key(key).is_ok() && !key.starts_with(OF_NODES) && self.fits(key)
    }

    fn fits(&self, key: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else {
            return self.0 == key;
        };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let between = key
            .strip_prefix(start)
            .and_then(|key| key.strip_suffix(end));
        let Some(mut between) = between else {
            return false;
        };
        // The first place of each part leaves the most room for those that follow.
        middle
            .split('*')
            .all(|part| match between.split_once(part) {
                Some((_, after)) => {
                    between = after;
                    true
                }
                None => false,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, key: &str) -> bool {
        Pattern::new(pattern).expect(pattern).matches(key)
    }

    #[test]
    fn a_star_is_any_text() {
        for (pattern, key) in [
            ("*", "integers"),
            ("**", "a"),
            ("orders-*", "orders-"),
            ("orders-*", "orders-2026-11-26"),
            ("orders-*", "orders-a/b,c é*"),
            ("*-orders", "acme-orders"),
            ("a*c", "ac"),
            ("a*c", "abcbc"),
            ("a*b*c", "a-b-b-c"),
            ("a*b*c", "abc"),
            ("*aa*a", "aaa"),
            ("é*", "éé"),
            ("a*", "a*"),
        ] {
            assert!(matches(pattern, key), "{pattern} {key}");
        }
        for (pattern, key) in [
            ("orders-*", "orders"),
            ("orders-*", "Orders-1"),
            ("orders-*", "my-orders-1"),
            ("*-orders", "acme-orders-1"),
            ("aa*aa", "aaa"),
            ("a*b*b*c", "a-b-c"),
            ("*aa*a", "aa"),
            ("é*", "e"),
        ] {
            assert!(!matches(pattern, key), "{pattern} {key}");
        }
        assert_eq!(Pattern::new("orders"), None);
        assert_eq!(Pattern::new(""), None);
    }

    #[test]
    fn what_cannot_be_a_key_matches_nothing() {
        for key in ["", "a\nb", &"x".repeat(129), "~node/starts", "~node/"] {
            assert!(!matches("*", key), "{key:?}");
        }
        assert!(!matches("~node/*", "~node/starts"));
        assert!(matches("*", &"x".repeat(128)));
        assert!(matches("*", "~node"));
    }

    /// The definition, in as many steps as it likes.
    fn plainly(pattern: &[char], key: &[char]) -> bool {
        match pattern.split_first() {
            None => key.is_empty(),
            Some(('*', rest)) => (0..=key.len()).any(|skipped| plainly(rest, &key[skipped..])),
            Some((c, rest)) => key.first() == Some(c) && plainly(rest, &key[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(pattern in "[ab*]{0,5}[*][ab*]{0,5}", key in "[ab]{1,9}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &key), plainly(&chars(&pattern), &chars(&key)));
        }
    }
}

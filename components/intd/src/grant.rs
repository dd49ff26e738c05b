//! Named tokens, and what their holders may do.

use crate::Pattern;
use crate::rate::{Limit, Meter, Rates};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The named tokens of a server, which may change while it serves.
pub trait Tokens: Send + Sync {
    /// What the holder of this token may do; None if there is no such token.
    fn find(&self, presented: &[u8]) -> Option<Arc<Grant>>;

    /// What the holder of the same token may do now, after [`Grant::is_replaced`]; None if the token was removed.
    fn renew(&self, grant: &Grant) -> Option<Arc<Grant>>;

    /// Is told of each request that is refused because of a limit.
    fn limited(&self, grant: &Grant, limit: Limit);
}

/// Something that a token may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To mint.
    Mint,
    /// To read the last integer and the list of sequences.
    Read,
    /// To raise a sequence.
    Raise,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mint, Self::Read, Self::Raise];

    /// The name, in files and errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Read => "read",
            Self::Raise => "raise",
        }
    }

    /// The right with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == name)
    }
}

/// What an entry of a file says of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Terms {
    /// The name, for people.
    pub name: String,
    /// What identifies the token, such as its hash.
    pub id: [u8; 32],
    /// The keys of the sequences that the token is for.
    pub keys: Vec<String>,
    /// Patterns of further keys.
    pub patterns: Vec<Pattern>,
    /// What the token allows.
    pub rights: Vec<Right>,
    /// How much of it.
    pub rates: Rates,
}

/// The token of somebody, with what was asked for by its holder.
pub struct Grant {
    terms: Terms,
    meter: Meter,
    replaced: AtomicBool,
}

/// Why the holder of a token does not get what they asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The token does not allow this.
    #[error("this token does not allow to {}", .0.as_str())]
    Right(Right),
    /// The token is for other sequences.
    #[error("this token is not for this sequence")]
    Key,
    /// There were too many requests, or requests for too many integers.
    #[error(
        "this token has used up its {} per second; nothing was minted; try again in {seconds} s", limit.as_str()
    )]
    Limit {
        /// Which limit is reached.
        limit: Limit,
        /// After how many seconds the same request can be served.
        seconds: u32,
    },
}

impl Grant {
    /// The token of a new entry.
    pub fn new(terms: Terms) -> Self {
        Self {
            meter: Meter::new(terms.rates),
            terms,
            replaced: AtomicBool::new(false),
        }
    }

    /// The entry.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The name of the token.
    pub fn name(&self) -> &str {
        &self.terms.name
    }

    /// Whether the entry was changed or removed, so that [`Tokens::renew`] has to be asked.
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// Marks the entry as changed or removed.
    pub fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
    }

    /// Whether the token is for the sequence with this key.
    pub fn covers(&self, key: &str) -> bool {
        self.terms.keys.iter().any(|own| own == key)
            || self.terms.patterns.iter().any(|own| own.matches(key))
    }

    /// Whether the token is for every key that a pattern stands for.
    ///
    /// A `*` of the other pattern can only be within a `*` of the token's.
    pub(crate) fn covers_all(&self, pattern: &Pattern) -> bool {
        self.terms
            .patterns
            .iter()
            .any(|own| own.matches(pattern.as_str()))
    }

    /// Checks a request for this many integers, and counts it.
    ///
    /// # Errors
    /// [`Refused`], and then nothing is counted.
    pub fn ask(&self, right: Right, key: Option<&str>, integers: u32) -> Result<(), Refused> {
        if !self.terms.rights.contains(&right) {
            return Err(Refused::Right(right));
        }
        if key.is_some_and(|key| !self.covers(key)) {
            return Err(Refused::Key);
        }
        self.meter.spend(integers).map_err(|(limit, wait)| {
            let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Refused::Limit {
                limit,
                seconds: u32::try_from(whole.max(1)).unwrap_or(u32::MAX),
            }
        })
    }
}

/// As [`Grant::ask`]; tells `tokens` of a limit that is reached.
///
/// # Errors
/// As [`Grant::ask`].
pub fn ask(
    tokens: &dyn Tokens,
    grant: &Grant,
    right: Right,
    key: Option<&str>,
    integers: u32,
) -> Result<(), Refused> {
    let asked = grant.ask(right, key, integers);
    if let Err(Refused::Limit { limit, .. }) = asked {
        tokens.limited(grant, limit);
    }
    asked
}

/// Shows nothing but the name.
impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grant").field(&self.terms.name).finish()
    }
}

/// Shows nothing but the name.
impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Terms").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn grant(requests: u32) -> Grant {
        Grant::new(Terms {
            name: "billing".into(),
            id: [7; 32],
            keys: vec!["plain".into()],
            patterns: vec![Pattern::new("orders-*").expect("a pattern")],
            rights: vec![Right::Mint, Right::Read],
            rates: Rates {
                requests: NonZeroU32::new(requests),
                integers: None,
            },
        })
    }

    #[test]
    fn a_token_is_for_its_keys_and_rights() {
        let grant = grant(0);
        for key in ["plain", "orders-", "orders-1"] {
            assert_eq!(grant.ask(Right::Mint, Some(key), 1), Ok(()));
            assert_eq!(
                grant.ask(Right::Raise, Some(key), 0),
                Err(Refused::Right(Right::Raise))
            );
        }
        for key in ["plain2", "orders", "", "integers"] {
            assert_eq!(grant.ask(Right::Read, Some(key), 0), Err(Refused::Key));
        }
        let covers = |text| grant.covers_all(&Pattern::new(text).expect("a pattern"));
        assert!(covers("orders-*") && covers("orders-eu-*") && covers("orders-*-*"));
        assert!(!covers("*") && !covers("order*") && !covers("plain*"));
    }

    #[test]
    fn whole_seconds_are_told() {
        let grant = grant(1);
        assert_eq!(
            grant.ask(Right::Raise, None, 0),
            Err(Refused::Right(Right::Raise))
        );
        assert_eq!(
            grant.ask(Right::Mint, Some("x"), 1),
            Err(Refused::Key),
            "not counted"
        );
        assert_eq!(grant.ask(Right::Mint, Some("plain"), 1), Ok(()));
        let limit = Limit::Requests;
        let refused = grant.ask(Right::Mint, Some("plain"), 1);
        assert_eq!(refused, Err(Refused::Limit { limit, seconds: 1 }));
    }

    #[test]
    fn nothing_but_the_name_is_printed() {
        let grant = grant(1);
        assert_eq!(
            format!("{grant:?} {:?}", grant.terms()),
            "Grant(\"billing\") Terms(\"billing\")"
        );
    }
}

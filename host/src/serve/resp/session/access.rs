//! What a client of the Redis protocol may do.

use crate::Sequence;
use intd::{App, Grant, Refused, Right, Token, Tokens};
use std::sync::Arc;

/// The rights of one connection.
pub(super) enum Access<'a> {
    /// Everybody may mint.
    Open,
    /// Whoever knows the token may mint.
    Token { token: &'a Token, given: bool },
    /// Whoever knows one of several tokens may do what it allows.
    Named {
        tokens: &'a dyn Tokens,
        grant: Option<Arc<Grant>>,
    },
}

impl<'a> Access<'a> {
    pub(super) fn new(app: &'a App<Sequence>) -> Self {
        match (app.tokens(), app.mint_token()) {
            (Some(tokens), _) => Self::Named {
                tokens,
                grant: None,
            },
            (None, Some(token)) => Self::Token {
                token,
                given: false,
            },
            (None, None) => Self::Open,
        }
    }

    /// Whether the client gave a token, if it needs one, which was not removed since.
    pub(super) fn is_granted(&mut self) -> bool {
        match self {
            Self::Open => true,
            Self::Token { given, .. } => *given,
            Self::Named { tokens, grant } => {
                if let Some(old) = grant.as_ref().filter(|grant| grant.is_replaced()) {
                    let renewed = tokens.renew(old);
                    *grant = renewed;
                }
                grant.is_some()
            }
        }
    }

    /// Whether one request that was allowed means that the same one is allowed again: there is no limit, nor anything that
    /// may change.
    pub(super) fn is_unlimited(&self) -> bool {
        matches!(self, Self::Open | Self::Token { .. })
    }

    /// The name of the token that the client gave, if it has one.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Named { grant, .. } => grant.as_ref().map(|grant| grant.name()),
            _ => None,
        }
    }

    /// Checks the token of a client. A user name other than `default` has to be that of a named token.
    pub(super) fn login(&mut self, user: &[u8], presented: &[u8]) -> Result<(), String> {
        let known = match self {
            Self::Open => {
                return Err(
                    "ERR AUTH <password> called without any password configured for the default user. \
                     Are you sure your configuration is correct?"
                        .to_owned(),
                );
            }
            Self::Token { token, given } => {
                let known = token.matches(presented);
                *given |= known;
                known
            }
            Self::Named { tokens, grant } => {
                let found = tokens.find(presented).filter(|found| {
                    matches!(user, b"" | b"default") || user == found.name().as_bytes()
                });
                let known = found.is_some();
                if known {
                    *grant = found;
                }
                known
            }
        };
        if known {
            Ok(())
        } else {
            Err("WRONGPASS invalid username-password pair or user is disabled.".to_owned())
        }
    }

    /// Checks a request of a client that gave its token, and counts it.
    pub(super) fn ask(&self, right: Right, key: &[u8], integers: u32) -> Result<(), String> {
        let Self::Named {
            tokens,
            grant: Some(grant),
        } = self
        else {
            return Ok(());
        };
        // What is no text is no key, which its sequence will say.
        let Ok(key) = std::str::from_utf8(key) else {
            return Ok(());
        };
        intd::ask(*tokens, grant, right, Some(key), integers).map_err(|refused| {
            let code = match refused {
                Refused::Right(_) | Refused::Key => "NOPERM",
                Refused::Limit { .. } => "TRYAGAIN",
            };
            format!("{code} {refused}")
        })
    }
}

//! Sequences for servers of other protocols than HTTP, and the errors that their clients see.

use super::App;
use crate::problem::Problem;
use crate::{Cause, RequestId, Token, Tokens};
use artisanal_core::{Error, Sequence, Span};

/// An error as a client sees it. It names no server, user or database.
#[derive(Debug)]
pub struct Told {
    /// Identifies the error for programs.
    pub code: &'static str,
    /// The message for a person.
    pub detail: String,
    /// What the log has and the client does not see.
    pub cause: Option<Cause>,
}

impl From<Problem> for Told {
    fn from(problem: Problem) -> Self {
        problem.tell(RequestId::random())
    }
}

impl From<Error> for Told {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

impl<S: Sequence> App<S> {
    /// Mints `count` integers from the sequence with this key.
    ///
    /// # Errors
    /// The code `no-sequence` if there is none; otherwise as the HTTP endpoint.
    pub async fn next(&self, key: &str, count: u32) -> Result<Span, Told> {
        let held = self.find(key)?.hold(true)?;
        let span = held.sequence().await?.next(count).await?;
        held.keep();
        Ok(span)
    }

    /// The greatest integer taken so far from the sequence with this key; None before the first one.
    ///
    /// # Errors
    /// As [`App::next`].
    pub async fn last(&self, key: &str) -> Result<Option<i64>, Told> {
        let held = self.find(key)?.hold(false)?;
        Ok(held.sequence().await?.last().await?)
    }

    /// The named tokens, if there are any.
    pub fn tokens(&self) -> Option<&dyn Tokens> {
        self.tokens.as_deref()
    }

    /// The token that minting needs, if it needs one.
    pub fn mint_token(&self) -> Option<&Token> {
        self.settings.mint_token.as_ref()
    }
}

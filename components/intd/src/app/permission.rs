//! What has to be had before a mint: the right to it, and the memory for its answer.

use super::App;
use super::keys::Place;
use crate::authorization::{self, authorize};
use crate::budget::Reservation;
use crate::content::{LINE_BYTES, PIECE_BYTES};
use crate::grant::ask;
use crate::problem::Problem;
use crate::{Grant, Right};
use artisanal_core::Sequence;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;

impl<S: Sequence> App<S> {
    /// Reserves memory for the text of this many integers, as much as is in memory at one time.
    pub(super) fn reserve(&self, count: u32) -> Result<Option<Reservation>, Problem> {
        if count <= 1 {
            // A client can have one such answer pending, which is smaller than its connection.
            return Ok(None);
        }
        let bytes = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .saturating_mul(LINE_BYTES)
            .min(PIECE_BYTES);
        self.reserve_bytes(bytes).map(Some)
    }

    pub(super) fn reserve_bytes(&self, bytes: usize) -> Result<Reservation, Problem> {
        self.memory.reserve(bytes).ok_or_else(|| {
            Problem::busy(
                "too many clients are still reading long answers; nothing was minted; try again in a \
                 moment",
            )
        })
    }

    /// Asks the named tokens, if there are any. None without them, and then the tokens of the settings decide.
    pub(super) fn ask(
        &self,
        headers: &HeaderMap,
        right: Right,
        key: Option<&str>,
        integers: u32,
    ) -> Result<Option<Arc<Grant>>, Problem> {
        let Some(tokens) = &self.tokens else {
            return Ok(None);
        };
        let grant = authorization::find(headers, |presented| tokens.find(presented))?;
        ask(&**tokens, &grant, right, key, integers)?;
        Ok(Some(grant))
    }

    pub(super) fn allowed_to_mint(
        &self,
        headers: &HeaderMap,
        key: &str,
        integers: u32,
    ) -> Result<Option<Arc<Grant>>, Problem> {
        let grant = self.ask(headers, Right::Mint, Some(key), integers)?;
        self.or_mint_token(grant, headers)
    }

    /// As [`App::allowed_to_mint`], for a sequence that may not exist. Returns where it is as well.
    pub(super) fn may_mint<'a>(
        &'a self,
        headers: &HeaderMap,
        key: &'a str,
        integers: u32,
    ) -> Result<(Option<Arc<Grant>>, Place<'a, S>), Problem> {
        let grant = self.ask(headers, Right::Mint, Some(key), integers)?;
        let place = self.find(key)?;
        Ok((self.or_mint_token(grant, headers)?, place))
    }

    /// Without named tokens, checks the mint token of the settings, if there is one.
    pub(super) fn or_mint_token(
        &self,
        grant: Option<Arc<Grant>>,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Grant>>, Problem> {
        if let (None, Some(token)) = (&grant, &self.settings.mint_token) {
            authorize(headers, token)?;
        }
        Ok(grant)
    }

    pub(super) fn allowed_to_raise(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match &self.settings.admin_token {
            None => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "setting the last integer is disabled: the server has no admin token configured",
            )),
            Some(token) => authorize(headers, token),
        }
    }
}

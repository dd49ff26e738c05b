//! A node's answers to clients, which claim intervals.

use super::member::Node;
use super::state::{State, under_way};
use crate::{Error, Sequence};
use artisanal_core::limits::check_key;
use artisanal_quorum::{Advance, Answer, Claim, NodeState, RESERVED};
use std::sync::atomic::Ordering;

/// What a client asks of one sequence.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// To take an interval.
    Claim(&'a Claim),
    /// To take the next integers above the mark.
    Advance(&'a Advance),
    /// To read the mark.
    Mark {
        /// The number of the member list that the client uses.
        epoch: u64,
    },
}

impl Asked<'_> {
    /// The number of the member list that the client uses.
    fn epoch(self) -> u64 {
        match self {
            Self::Claim(Claim { epoch, .. }) | Self::Advance(Advance { epoch, .. }) => *epoch,
            Self::Mark { epoch } => epoch,
        }
    }

    /// Whether integers are to be taken.
    fn takes(self) -> bool {
        !matches!(self, Self::Mark { .. })
    }
}

impl Node {
    /// Takes an interval, or reads the mark.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with the reason when the node does not take part at present, or its backend denies access;
    /// otherwise as [`Sequence::claim`], apart from `TooSmall`, which is an answer.
    pub async fn claim(&self, key: &str, asked: Asked<'_>) -> Result<Answer, Error> {
        let mut answered = self.try_claim(key, asked).await.map_err(without_backend);
        if asked.takes() {
            if let Ok(answer) = &mut answered {
                self.contention.note(key, answer);
            }
            let takes_part = self.state().now == NodeState::Serving;
            self.claims.count(&answered, takes_part);
        }
        answered
    }

    async fn try_claim(&self, key: &str, asked: Asked<'_>) -> Result<Answer, Error> {
        client_key(key)?;
        let before = self.serving()?;
        if asked.epoch() != before.epoch() {
            return self.refuse(&before, asked.epoch());
        }
        // A member that leaves with the change that has begun cannot be counted for the next list.
        if let Some(open) = before
            .open
            .as_ref()
            .filter(|open| !open.contains(before.described.node))
        {
            return Err(Error::Unavailable(under_way(open)));
        }
        if asked.takes() {
            self.keys.add([key])?;
        }
        let answered = self.ask_backend(key, asked, &before).await;
        if let Err(Error::Other(_)) = &answered {
            // The backend may lack the sequence because it has lost all marks.
            self.check_session(&before).await?;
        }
        answered
    }

    async fn ask_backend(
        &self,
        key: &str,
        asked: Asked<'_>,
        before: &State,
    ) -> Result<Answer, Error> {
        let sequence = self.marks.sequence(key).await?;
        let (accepted, mark) = match asked {
            Asked::Mark { .. } => (false, sequence.last().await?),
            Asked::Advance(Advance { count, .. }) => {
                (true, Some(sequence.next(*count).await?.last()))
            }
            Asked::Claim(claim) => return self.take(claim, &sequence, before).await,
        };
        let now = self.still(before).await?;
        Ok(answer(&now, accepted, mark))
    }

    /// Takes an interval of a sequence.
    async fn take(
        &self,
        Claim { first, last, .. }: &Claim,
        sequence: &Sequence,
        before: &State,
    ) -> Result<Answer, Error> {
        let verified = self.marks.are_lossy();
        let claimed = sequence.claim_verified(*first, *last, verified).await;
        let (accepted, mark) = match claimed.result {
            Ok(()) => (true, *last),
            Err(Error::TooSmall(mark)) => (false, mark),
            Err(error) => return Err(error),
        };
        let now = self.still_after(before, claimed.generation?).await?;
        Ok(answer(&now, accepted, Some(mark)))
    }

    /// The answer to a request for another member list than this node's.
    fn refuse(&self, state: &State, epoch: u64) -> Result<Answer, Error> {
        if let Some(open) = state.open.as_ref().filter(|open| epoch < open.epoch) {
            return Err(Error::Unavailable(under_way(open)));
        }
        let mut addresses = Vec::new();
        if epoch < state.epoch() {
            addresses.extend(state.members().iter().map(|m| m.address.clone()))
        } else {
            self.behind.store(true, Ordering::Relaxed)
        }
        Ok(Answer {
            addresses,
            ..answer(state, false, None)
        })
    }
}

/// The error of a member whose backend denies access: it cannot vote, and the others go on without it. `Denied` would tell
/// them that they may not ask this node.
pub(super) fn without_backend(error: Error) -> Error {
    match error {
        Error::Denied(reason) => Error::Unavailable(reason),
        error => error,
    }
}

fn answer(state: &State, accepted: bool, mark: Option<i64>) -> Answer {
    Answer {
        node: state.described.node,
        group: state.described.group,
        epoch: state.epoch(),
        members: state.members().iter().map(|m| m.node).collect(),
        addresses: Vec::new(),
        accepted,
        contended: false,
        mark,
        incarnation: state.incarnation,
        known: state.known.clone(),
    }
}

/// A key that clients may use.
pub(super) fn client_key(key: &str) -> Result<(), Error> {
    check_key(key)?;
    if key.starts_with(RESERVED) {
        return Err(Error::Invalid(format!(
            "keys that begin with `{RESERVED}` are reserved"
        )));
    }
    Ok(())
}

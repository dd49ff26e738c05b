//! Which sequences several clients claim at the same time.

use artisanal_quorum::Answer;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The sequences of which a claim was refused after the last one that was accepted. All of them are in the list of keys, which
/// limits how many there are.
#[derive(Default)]
pub(super) struct Contention(Mutex<HashSet<String>>);

impl Contention {
    /// Notes the answer to a claim. A client whose claim is accepted hears that others were refused: it cannot see that
    /// itself, and if it was always faster than they are, they would never get through.
    pub(super) fn note(&self, key: &str, answer: &mut Answer) {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.accepted {
            answer.contended = refused.remove(key);
        } else if answer.mark.is_some() && !refused.contains(key) {
            refused.insert(key.to_owned());
        }
    }
}

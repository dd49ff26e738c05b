//! When the calls of engines began that returned the latest integers, for traces: one call serves many requests.

use artisanal_core::Span;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// How many calls are kept. A request looks for its call as soon as that has returned.
const KEPT: usize = 1024;

/// The latest calls that minted. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallLog(Arc<Mutex<VecDeque<Call>>>);

/// A call of an engine that minted.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) engine: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) span: Span,
    pub(crate) begun: SystemTime,
    pub(crate) ended: SystemTime,
}

impl CallLog {
    /// Notes a call that has just returned.
    pub(crate) fn note(&self, engine: &Arc<str>, key: &Arc<str>, span: Span, begun: SystemTime) {
        let call = Call {
            engine: Arc::clone(engine),
            key: Arc::clone(key),
            span,
            begun,
            ended: SystemTime::now(),
        };
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() >= KEPT {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    /// The call that returned this integer of a sequence; None if it is forgotten, or none was made for it, as with a
    /// lease.
    #[cfg(feature = "serve")]
    pub(crate) fn find(&self, key: &str, integer: i64) -> Option<Call> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = calls.iter().rev().find(|call| {
            *call.key == *key && (call.span.first()..=call.span.last()).contains(&integer)
        });
        found.cloned()
    }
}

/// Notes the calls of one sequence, if that is asked for.
pub(crate) struct CallNotes(Option<Notes>);

struct Notes {
    log: CallLog,
    engine: Arc<str>,
    key: Arc<str>,
}

impl CallNotes {
    pub(crate) fn new(log: Option<CallLog>, engine: &str, key: &str) -> Self {
        Self(log.map(|log| Notes {
            log,
            engine: engine.into(),
            key: key.into(),
        }))
    }

    /// When a call begins, if it is to be noted.
    pub(crate) fn begin(&self) -> Option<SystemTime> {
        self.0.as_ref().map(|_| SystemTime::now())
    }

    /// Notes a call that has just returned.
    pub(crate) fn note(&self, span: Span, begun: Option<SystemTime>) {
        if let (Some(Notes { log, engine, key }), Some(begun)) = (&self.0, begun) {
            log.note(engine, key, span, begun);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_by_its_integers_until_it_is_forgotten() {
        let log = CallLog::default();
        let (engine, a, b) = ("memory".into(), "a".into(), "b".into());
        let note = |key: &Arc<str>, first: i64, count: u32| {
            let span = Span::checked(first, 2, count).expect("a span");
            log.note(&engine, key, span, SystemTime::UNIX_EPOCH);
        };
        note(&a, 2, 3);
        note(&a, 8, 1);
        note(&b, 2, 50);
        let first = |key: &str, integer| log.find(key, integer).map(|call| call.span.first());
        assert_eq!(first("a", 6), Some(2));
        assert_eq!(first("a", 8), Some(8));
        assert_eq!(first("a", 10), None);
        assert_eq!(first("b", 10), Some(2));
        assert_eq!(first("c", 2), None);
        for next in 0..KEPT {
            note(&b, 1000 + 2 * i64::try_from(next).expect("small"), 1);
        }
        assert_eq!(first("a", 6), None);
        assert_eq!(first("b", 1000), Some(1000));
    }
}

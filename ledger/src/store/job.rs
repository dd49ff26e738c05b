//! What the writer of a store does for others, and the answers to it.

use super::{Added, Applied, Forget, Message, Progress};
use crate::Error;
use crate::event::Event;
use crate::frame::Batch;
use tokio::sync::oneshot;

/// A job for the writer.
pub(super) enum Job {
    /// Stores the events of a batch.
    Batch(Batch, Answer<Added>),
    /// Appends an event, if its key is at the event with this number.
    Append(Box<Event>, Option<u64>, Answer<Event>),
    /// Keeps the state of a key: where, and what.
    Snapshot(Vec<u8>, Vec<u8>),
    /// Removes the first events of a key.
    Forget(Forget, Answer<()>),
    /// Applies messages of a stream.
    Apply(Vec<Message>, Option<Progress>, Answer<Vec<Applied>>),
}

/// Where whoever asked waits.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// An answer that is given when the group is durable.
pub(super) enum Prepared {
    Forget(Answer<()>),
    Batch(Added, Answer<Added>),
    Append(Event, Answer<Event>),
    Apply(Vec<Applied>, Answer<Vec<Applied>>),
}

impl Job {
    /// How many events it adds to a group.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Batch(batch, _) => batch.count().unwrap_or(0),
            Self::Apply(messages, ..) => messages.iter().map(Message::count).sum(),
            _ => 1,
        }
    }

    /// Answers it with this error.
    pub(super) fn refuse(self, error: &Error) {
        match self {
            Self::Batch(_, answer) => drop(answer.send(Err(error.clone()))),
            Self::Append(_, _, answer) => drop(answer.send(Err(error.clone()))),
            Self::Forget(_, answer) => drop(answer.send(Err(error.clone()))),
            Self::Apply(_, _, answer) => drop(answer.send(Err(error.clone()))),
            Self::Snapshot(..) => {}
        }
    }
}

impl Prepared {
    /// Gives the answer once it is known whether the group is durable.
    pub(super) fn answer(self, done: &Result<(), Error>) {
        match self {
            Self::Forget(answer) => drop(answer.send(done.clone())),
            Self::Batch(added, answer) => drop(answer.send(done.clone().map(|()| added))),
            Self::Append(event, answer) => drop(answer.send(done.clone().map(|()| event))),
            Self::Apply(applied, answer) => drop(answer.send(done.clone().map(|()| applied))),
        }
    }
}

//! Where events are stored: in a folder of this machine, or in a stream that several ledgers share.

use crate::Error;
use crate::event::Event;
use crate::store::Store;
use crate::stream::Stream;

/// Where events are stored. Clones are the same.
#[derive(Clone)]
pub enum Log {
    /// In a folder of this machine.
    Embedded(Store),
    /// In a stream, of which this ledger has a read model.
    Stream(Stream),
}

impl From<Store> for Log {
    fn from(store: Store) -> Self {
        Self::Embedded(store)
    }
}

impl Log {
    /// The events that can be read here.
    pub fn store(&self) -> &Store {
        match self {
            Self::Embedded(store) => store,
            Self::Stream(stream) => stream.store(),
        }
    }

    /// The stream, if there is one.
    pub fn stream(&self) -> Option<&Stream> {
        match self {
            Self::Embedded(_) => None,
            Self::Stream(stream) => Some(stream),
        }
    }

    /// Whether the events of a key can be read here.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if not, or not yet.
    pub(crate) fn check_key(&self, key: &str) -> Result<(), Error> {
        match self {
            Self::Stream(stream) if !stream.holds(key) => Err(Error::Unavailable(
                "this ledger does not have the key's events, or has not caught up with the stream since it started".into(),
            )),
            _ => Ok(()),
        }
    }

    /// Appends one event and returns it with its number, once it is durable.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the key is not at event `expected`, [`Error::Invalid`] if it can never be stored,
    /// [`Error::Unavailable`] if it may be stored or not.
    pub(crate) async fn append(&self, event: Event, expected: Option<u64>) -> Result<Event, Error> {
        match self {
            Self::Embedded(store) => store.append(event, expected).await,
            Self::Stream(stream) => stream.append(event, expected).await,
        }
    }
}

//! Sequences in an engine, each shared by any number of tasks.

mod calls;
#[cfg(feature = "serve")]
mod on_demand;

use crate::call_log::CallNotes;
use crate::component::Source;
use crate::instance::{EngineInstance, Opening, Provider};
use crate::lease::Holder;
use crate::{Error, Host};
use artisanal_core::{Coalescer, Lattice, Span};
use std::fmt;
use std::sync::Arc;
use tokio::runtime::Handle;

pub(crate) use calls::{Claimed, EngineCalls};
use calls::{Inner, Instances};
#[cfg(feature = "serve")]
pub(crate) use on_demand::Sequences;

/// How to reach one sequence. Only `dsn` has no default that suits every engine.
///
/// The `Debug` output omits the DSN, which may contain a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// The address of the backend; empty for the engine's default.
    pub dsn: String,
    /// The name of the sequence: 1 to 128 bytes.
    pub key: String,
    /// The distance between integers; None for 2.
    pub increment: Option<i64>,
    /// The offset: the residue of every integer modulo the increment; None for the engine's default.
    pub offset: Option<i64>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("key", &self.key)
            .field("increment", &self.increment)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dsn: String::new(),
            key: "integers".into(),
            increment: None,
            offset: None,
        }
    }
}

/// A sequence that any number of tasks may share; clones are the same sequence.
///
/// Calls are coalesced: calls of [`Sequence::next`] that arrive while one is in flight are answered by one
/// round trip to the backend, in order of arrival. The same holds for [`Sequence::last`] and for
/// [`Sequence::set_last`], each with its own queue ([`Options::queue`](crate::Options::queue)).
///
/// A call to the backend runs to its end even if all its callers are gone, because an instance that is
/// dropped during a call has to be recreated. Until then the call counts as in flight.
///
/// [`Sequence::lease`] returns the same sequence with leases, which mints without a round trip and gives up the
/// order between holders.
#[derive(Clone)]
pub struct Sequence {
    pub(crate) coalescer: Coalescer<EngineCalls>,
    /// None for a sequence without leases.
    pub(crate) holder: Option<Holder>,
}

impl Host {
    /// Opens a sequence, in its own instances.
    ///
    /// # Errors
    /// The engine's error about the configuration, [`Error::Misconfigured`] when the component is not an
    /// engine or the host cannot provide what it imports, [`Error::Broken`] when it traps.
    pub async fn open(&self, source: impl Into<Source>, config: Config) -> Result<Sequence, Error> {
        let key = config.key.clone();
        let mut opened = self.open_keys(source, config, [key]).await?;
        opened
            .pop()
            .ok_or_else(|| Error::Other("no sequence was opened".into()))
    }

    /// Opens a sequence for each key, with the rest of `config` in common. If there are many keys, they share
    /// [`Sequence::INSTANCES`] instances, each of which makes one call at a time. If there are few, each
    /// sequence has several instances, and so several calls in flight
    /// ([`Options::calls`](crate::Options::calls)); all but the first instance are created on demand.
    ///
    /// # Errors
    /// As [`Host::open`], for the first key that cannot be opened.
    pub async fn open_keys(
        &self,
        source: impl Into<Source>,
        config: Config,
        keys: impl IntoIterator<Item = String>,
    ) -> Result<Vec<Sequence>, Error> {
        let source = source.into();
        let provider = Arc::new(Provider::new(self, &source, &config.dsn)?);
        let keys: Vec<_> = keys.into_iter().collect();
        let most = Sequence::INSTANCES.min(self.options().instances as usize);
        let calls = self.options().calls.unwrap_or_else(|| source.calls());
        let calls = calls.min(most / keys.len().max(1)).max(1);
        let instances: Vec<_> = (0..Sequence::INSTANCES.min(keys.len() * calls))
            .map(|_| Arc::new(EngineInstance::new(Arc::clone(&provider))))
            .collect();
        // Round robin, so that all instances serve about the same number of sequences.
        let mut instances = instances.into_iter().cycle();
        let mut sequences = Vec::with_capacity(keys.len());
        for (id, key) in keys.into_iter().enumerate() {
            let Some(first) = instances.next() else { break };
            let others = instances.by_ref().take(calls - 1).collect();
            let instances = Instances { first, others };
            let config = Config {
                key,
                ..config.clone()
            };
            sequences.push(self.sequence(instances, Opening::new(id, config)).await?);
        }
        Ok(sequences)
    }

    async fn sequence(&self, instances: Instances, opening: Opening) -> Result<Sequence, Error> {
        // A bad configuration must fail here, not at the first mint.
        let lattice = instances.first.open(&opening).await?;
        let (engine, key) = (
            instances.first.engine().to_owned(),
            opening.key().to_owned(),
        );
        let calls = EngineCalls::new(Inner {
            metrics: self.metrics().sequence(&engine, &key),
            calls: CallNotes::new(self.options().call_log.clone(), &engine, &key),
            instances,
            opening,
            lattice,
            queue: self.options().queue,
            runtime: Handle::current(),
        });
        let coalescer = Coalescer::new(calls, self.options().queue);
        self.metrics().watch(&engine, &key, coalescer.watch());
        Ok(Sequence {
            coalescer,
            holder: None,
        })
    }
}

impl Sequence {
    /// The maximum number of instances that the sequences of one [`Host::open_keys`] share, and so the
    /// maximum number of calls in flight in the backend. Each instance takes 1 to 2 MB.
    pub const INSTANCES: usize = 16;

    /// Mints `count` integers, 1 to 100 000.
    ///
    /// Dropping the future wastes these integers and affects no other caller.
    ///
    /// # Errors
    /// The engine's error, [`Error::Busy`] when too many calls are waiting, [`Error::Broken`] when the
    /// component trapped or violated its contract. `Busy`, `Unavailable` and `Broken` are worth a retry: a
    /// broken component is recreated.
    pub async fn next(&self, count: u32) -> Result<Span, Error> {
        let answer = match &self.holder {
            None => self.coalescer.next(count).await,
            Some(holder) => holder.next(count).await,
        };
        self.answer(answer)
    }

    /// The greatest integer taken so far; None before the first mint. With leases, this is at least the greatest
    /// integer that any holder has fetched, handed out or not.
    ///
    /// # Errors
    /// As [`Sequence::next`].
    pub async fn last(&self) -> Result<Option<i64>, Error> {
        self.answer(self.coalescer.last().await)
    }

    /// Raises the sequence so that every later integer is greater than `value`, 0 or more.
    ///
    /// # Errors
    /// [`Error::TooSmall`] with the current value when `value` is smaller; otherwise as [`Sequence::next`].
    pub async fn set_last(&self, value: i64) -> Result<(), Error> {
        let answer = match &self.holder {
            None => self.coalescer.set_last(value).await,
            Some(holder) => holder.set_last(value).await,
        };
        self.answer(answer)
    }

    /// Takes the integers from `first` to `last` if none of them was taken. This is what a node of a quorum
    /// does; programs that mint call [`Sequence::next`].
    ///
    /// Claims are made one at a time and are not coalesced: the caller bounds how many wait. When the future is dropped, a
    /// claim that waits is given up. One that has begun runs to its end, as the calls above do; until then it counts as in
    /// flight and the next one waits.
    ///
    /// # Errors
    /// [`Error::TooSmall`] with the mark when that is not below `first`; [`Error::Other`] when the
    /// component does not export claims; otherwise as [`Sequence::next`].
    pub async fn claim(&self, first: i64, last: i64) -> Result<(), Error> {
        self.claim_verified(first, last, false).await.result
    }

    /// As [`Sequence::claim`]; if `verified`, asks for the generation after it, in the same call.
    pub(crate) async fn claim_verified(&self, first: i64, last: i64, verified: bool) -> Claimed {
        let upstream = self.coalescer.upstream();
        let claimed = upstream.claim(first, last, verified).await;
        if let Some(holder) = &self.holder {
            holder.after_raise(last, &claimed.result);
        }
        claimed
    }

    /// A text that differs from all earlier ones if the backend may have forgotten marks since; None if it
    /// keeps what it acknowledged.
    ///
    /// # Errors
    /// As [`Sequence::claim`].
    pub async fn generation(&self) -> Result<Option<String>, Error> {
        self.coalescer.upstream().generation().await
    }

    /// Counts a request that failed.
    fn answer<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &answer {
            self.coalescer.upstream().refused(error);
        }
        answer
    }

    /// Its key.
    #[cfg(feature = "serve")]
    pub(crate) fn key(&self) -> &str {
        self.coalescer.upstream().key()
    }

    /// The lattice of the integers that it mints.
    pub fn lattice(&self) -> Lattice {
        self.coalescer.upstream().lattice
    }
}

impl artisanal_core::Sequence for Sequence {
    fn next(&self, count: u32) -> impl Future<Output = Result<Span, Error>> {
        self.next(count)
    }

    fn last(&self) -> impl Future<Output = Result<Option<i64>, Error>> {
        self.last()
    }

    fn set_last(&self, value: i64) -> impl Future<Output = Result<(), Error>> {
        self.set_last(value)
    }

    async fn lattice(&self) -> Result<Lattice, Error> {
        Ok(self.lattice())
    }
}

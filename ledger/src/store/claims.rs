//! Idempotency keys: the mint that each of them has. The first one that is stored within the time wins.

use super::Store;
use super::files::Files;
use super::group::Group;
use crate::Error;
use crate::event::{Event, IDEMPOTENCY_KEY, Mint, Payload, Unused};
use crate::frame::{Earlier, Lookup};
use crate::key::{self, from_end, signed, unsigned};
use crate::publisher::now;
use fjall::OwnedWriteBatch;
use std::collections::HashMap;
use std::time::Duration;

/// How many entries one group removes at most.
const SWEEP: usize = 4096;

/// The pause between looks for entries that are out of date, in microseconds.
const PAUSE: u64 = 1_000_000;

/// The mint of an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// When it was stored, in microseconds since 1970.
    at: u64,
    /// The number of its event.
    pub(super) number: u64,
    pub(super) mint: Mint,
}

impl Claim {
    /// The claim of an event that was just stored.
    pub(super) fn new(number: u64, mint: Mint, at: u64) -> Self {
        Self { at, number, mint }
    }

    /// The claim that is stored at a place, if there is one that still counts.
    pub(super) fn read(
        files: &Files,
        place: &[u8],
        moment: u64,
        life: Duration,
    ) -> Result<Option<Self>, Error> {
        let Some(bytes) = files.claims.get(place)? else {
            return Ok(None);
        };
        let claim = Self {
            at: from_end(&bytes, 4),
            number: from_end(&bytes, 3),
            mint: Mint {
                first: signed(from_end(&bytes, 2)),
                step: signed(from_end(&bytes, 1)),
                count: u32::try_from(from_end(&bytes, 0)).unwrap_or(0),
            },
        };
        Ok((moment < claim.end(life)).then_some(claim))
    }

    /// Adds it to the changes of a group.
    pub(super) fn write(
        &self,
        (files, prefix): (&Files, &[u8]),
        batch: &mut OwnedWriteBatch,
        place: &[u8],
    ) {
        let Mint { first, step, count } = self.mint;
        let value = [
            self.at,
            self.number,
            unsigned(first),
            unsigned(step),
            count.into(),
        ];
        batch.insert(&files.claims, place, key::numbers(value));
        let time = [prefix, &self.at.to_be_bytes()[..], place].concat();
        batch.insert(&files.claim_times, time, []);
    }

    /// The answer to an event or a lookup.
    pub(super) fn earlier(&self, index: usize) -> Earlier {
        Earlier {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            number: self.number,
            mint: Some(self.mint),
        }
    }

    fn end(&self, life: Duration) -> u64 {
        self.at.saturating_add(micros(life))
    }
}

/// Where the claim of an idempotency key is. None of its parts has a zero byte.
fn place(key: &str, token: &str, idempotency: &str) -> Vec<u8> {
    [
        &*key::prefix(key),
        token.as_bytes(),
        &[0],
        idempotency.as_bytes(),
    ]
    .concat()
}

/// Where the claim of an event is, and its mint. None without an idempotency key.
pub(super) fn of(event: &Event) -> Option<(Vec<u8>, Mint)> {
    match &event.payload {
        Some(Payload::Mint(mint)) if !event.idempotency.is_empty() => {
            Some((place(&event.key, &event.token, &event.idempotency), *mint))
        }
        _ => None,
    }
}

/// Microseconds since 1970.
pub(super) fn moment() -> u64 {
    u64::try_from(now()).unwrap_or(0)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Removes claims that are out of date, some at a time.
#[derive(Default)]
pub(super) struct Sweep {
    /// Everything before this time is removed, so that the next look does not pass over it again. Both times are in
    /// microseconds since 1970.
    from: u64,
    /// When to look again.
    next: u64,
}

impl Sweep {
    /// Removes some, but not those that the same group adds (`fresh`).
    pub(super) fn run(
        &mut self,
        (files, prefix): (&Files, &[u8]),
        batch: &mut OwnedWriteBatch,
        fresh: &HashMap<Vec<u8>, Claim>,
        moment: u64,
        life: Duration,
    ) -> Result<(), Error> {
        if moment < self.next && self.next - moment <= PAUSE {
            return Ok(());
        }
        let old = moment.saturating_sub(micros(life));
        let end = |time: u64| [prefix, &time.to_be_bytes()].concat();
        let (from, to) = (end(self.from.min(old)), end(old));
        let mut removed = 0;
        for entry in files.claim_times.range(from..=to).take(SWEEP) {
            let time = entry.key()?;
            let time_and_place = time.get(prefix.len()..).unwrap_or_default();
            let (at, place) = time_and_place.split_at_checked(8).unwrap_or_default();
            let at = from_end(at, 0);
            // The key may have been used again since, and then its claim is another one.
            let claim = files.claims.get(place)?;
            if claim.is_some_and(|claim| from_end(&claim, 4) == at) && !fresh.contains_key(place) {
                batch.remove(&files.claims, place);
            }
            batch.remove(&files.claim_times, time);
            self.from = at;
            removed += 1;
        }
        self.next = match removed {
            SWEEP => moment,
            _ => moment.saturating_add(PAUSE),
        };
        Ok(())
    }
}

impl Group<'_> {
    /// The claim at a place, this group included.
    pub(super) fn claim(&self, place: &[u8]) -> Result<Option<Claim>, Error> {
        match self.claims.get(place) {
            // Messages of a stream that are applied in one group may be days apart.
            Some(claim) => {
                Ok(Some(*claim).filter(|claim| self.moment < claim.end(self.options.repeatable)))
            }
            None => Claim::read(self.files, place, self.moment, self.options.repeatable),
        }
    }

    /// Adds a mint with an idempotency key: as it is if its integers are handed out, and otherwise as unused.
    pub(super) fn arbitrate(
        &mut self,
        mut event: Event,
        place: Vec<u8>,
        earlier: Option<Claim>,
    ) -> Result<(), Error> {
        let Some(Payload::Mint(mint)) = event.payload else {
            return Ok(());
        };
        if let Some(Claim { number, .. }) = earlier {
            event.payload = Some(Payload::Unused(Unused {
                first: mint.first,
                step: mint.step,
                count: mint.count,
                reason: IDEMPOTENCY_KEY.into(),
                instead: number,
            }));
            self.event(event)?;
            return Ok(());
        }
        let known = self.claim(&place)?.is_some();
        let number = self.event(event)?.number;
        if !known {
            let claim = Claim::new(number, mint, self.moment);
            let prefix = self.files.claim_prefix(self.applying.partition);
            claim.write((self.files, &prefix), &mut self.batch, &place);
            self.claims.insert(place, claim);
        }
        Ok(())
    }
}

impl Store {
    /// Those of these events whose idempotency key has other integers, as [`Group::add`] says it, once all are stored.
    pub(crate) fn earlier(&self, events: &[(usize, &Event)]) -> Result<Vec<Earlier>, Error> {
        let life = self.shared.options.repeatable;
        self.read(|files| {
            let mut earlier = Vec::new();
            for (index, event) in events {
                // A claim that ran out since then is still there, unless that was long ago.
                if let Some((place, mint)) = of(event)
                    && let Some(claim) = Claim::read(files, &place, 0, life)?
                    && claim.mint != mint
                {
                    earlier.push(claim.earlier(*index));
                }
            }
            Ok(earlier)
        })
    }

    /// The integers of an idempotency key, if it has some.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn lookup(&self, lookup: &Lookup, index: usize) -> Result<Option<Earlier>, Error> {
        let Lookup {
            key,
            token,
            idempotency,
        } = lookup;
        let place = place(key, token, idempotency);
        let life = self.shared.options.repeatable;
        self.read(|files| {
            let claim = Claim::read(files, &place, moment(), life)?;
            Ok(claim.map(|claim| claim.earlier(index)))
        })
    }
}

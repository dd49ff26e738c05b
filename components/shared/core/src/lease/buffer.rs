//! Two spans from which many threads take integers.
//!
//! The position in the current span is one atomic number, together with the number of that span (its
//! *generation*). A call adds its count to it and owns the integers in between, so calls of one
//! buffer are ordered like those of a backend. Everything else happens under a lock, about twice per
//! span.

mod slot;

use crate::{Error, Span};
use slot::{Seen, Slot};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lower bits of the cursor hold the position, the upper ones the generation.
///
/// Spans have at most [`MAX_COUNT`](crate::MAX_COUNT) integers. A thread that finds a span used up may
/// have moved the position by one beyond its end, so there is room for millions of threads.
const POSITION_BITS: u32 = 24;

const POSITION: u64 = (1 << POSITION_BITS) - 1;

/// Integers that were taken from a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The integers.
    pub span: Span,
    /// Whether the caller should now have the next span fetched. One caller per span is told so, and
    /// one more after each failure.
    pub ahead: bool,
}

/// Keeps values that different threads write on different cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// See the module.
pub(super) struct Buffer {
    step: i64,
    cursor: Apart<AtomicU64>,
    shown: Apart<Shown>,
    state: Apart<Mutex<State>>,
}

/// What threads read without the lock.
#[derive(Default)]
struct Shown {
    /// Whether the current span may have integers left. Bounds how often the cursor moves beyond the end.
    open: AtomicBool,
    /// Whether somebody was told to have the next span fetched.
    asked: AtomicBool,
    /// The spans of the current and the previous generation, by the lowest bit.
    slots: [Slot; 2],
}

#[derive(Default)]
struct State {
    /// Counts the spans, and the times that the buffer was emptied.
    generation: u64,
    current: Option<Span>,
    next: Option<Span>,
    /// Counts the times that the buffer was emptied.
    epoch: u64,
    /// The greatest integer of all spans so far, or the value that the sequence was raised to.
    greatest: i64,
    /// How many integers were dropped.
    skipped: u64,
}

impl Buffer {
    /// An empty buffer for integers at this distance.
    pub(super) fn new(step: i64) -> Self {
        Self {
            step,
            cursor: Apart::default(),
            shown: Apart::default(),
            state: Apart::default(),
        }
    }

    /// Takes `count` integers, 1 or more; None if neither span has that many left.
    #[inline]
    pub(super) fn take(&self, count: u32) -> Option<Taken> {
        if self.shown.0.open.load(Acquire) {
            let taken = match count {
                1 => self.take_one(),
                _ => self.take_many(count),
            };
            if taken.is_some() {
                return taken;
            }
        }
        let mut state = self.lock();
        let span = self.take_locked(&mut state, count)?;
        Some(Taken { span, ahead: false })
    }

    #[inline]
    fn take_one(&self) -> Option<Taken> {
        let (generation, position) = unpack(self.cursor.0.fetch_add(1, AcqRel));
        // If this thread slept until the slot was used again, its integer is a gap, which is not counted.
        let seen = self.slot(generation).read(generation)?;
        (position < seen.count).then(|| self.taken(seen, position, 1))?
    }

    #[inline]
    fn take_many(&self, count: u32) -> Option<Taken> {
        let mut cursor = self.cursor.0.load(Acquire);
        loop {
            let (generation, position) = unpack(cursor);
            let seen = self.slot(generation).read(generation)?;
            if seen.count.saturating_sub(position) < count {
                return None;
            }
            let new = cursor + u64::from(count);
            match self
                .cursor
                .0
                .compare_exchange_weak(cursor, new, AcqRel, Acquire)
            {
                Ok(_) => return self.taken(seen, position, count),
                Err(now) => cursor = now,
            }
        }
    }

    /// The integers from `position` on, which belong to the caller.
    #[inline]
    fn taken(&self, seen: Seen, position: u32, count: u32) -> Option<Taken> {
        let first = seen
            .first
            .wrapping_add(self.step.wrapping_mul(position.into()));
        let end = position + count;
        let ahead = end >= seen.half && end < seen.count && self.ask();
        Some(Taken {
            span: Span::checked(first, self.step, count)?,
            ahead,
        })
    }

    #[cold]
    fn ask(&self) -> bool {
        !self.shown.0.asked.load(Relaxed) && !self.shown.0.asked.swap(true, AcqRel)
    }

    /// Takes integers from the current span, else from the next one, which then becomes the current
    /// one. A call that needs more than the current span has left gets the rest of it and the beginning
    /// of the next one if they are neighbours; otherwise the rest is skipped, since handing it out later
    /// would not be in order.
    fn take_locked(&self, state: &mut State, count: u32) -> Option<Span> {
        let mut cursor = self.cursor.0.load(Acquire);
        loop {
            let left = state.left(cursor);
            if let Some(span) = left.filter(|left| left.count() >= count) {
                let new = cursor + u64::from(count);
                match self.cursor.0.compare_exchange(cursor, new, AcqRel, Acquire) {
                    Ok(_) => return Some(span.split(count).0),
                    Err(now) => cursor = now,
                }
                continue;
            }
            let Some(next) = state.next else {
                if left.is_none() {
                    self.shown.0.open.store(false, Release);
                }
                return None;
            };
            let joined = left.and_then(|left| left.join(next));
            let source = joined.unwrap_or(next);
            if source.count() < count {
                return None;
            }
            let from_left = left.filter(|_| joined.is_some()).map_or(0, |l| l.count());
            if !self.switch(state, cursor, next, count.saturating_sub(from_left)) {
                cursor = self.cursor.0.load(Acquire);
                continue;
            }
            state.next = None;
            if joined.is_none() {
                state.skip(left);
            }
            return Some(source.split(count).0);
        }
    }

    /// Makes `span` the current one, with `taken` integers of it taken already, unless the cursor has
    /// moved.
    fn switch(&self, state: &mut State, cursor: u64, span: Span, taken: u32) -> bool {
        let generation = state.generation + 1;
        self.slot(generation).write(generation, Some(span));
        let new = pack(generation, taken);
        if self
            .cursor
            .0
            .compare_exchange(cursor, new, AcqRel, Acquire)
            .is_err()
        {
            return false;
        }
        state.generation = generation;
        state.current = Some(span);
        self.shown.0.asked.store(false, Release);
        self.shown.0.open.store(taken < span.count(), Release);
        true
    }

    /// How often the buffer was emptied. Read it before a span is fetched.
    pub(super) fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// Adds a span that was fetched ahead. It is dropped if the buffer was emptied after `epoch` was read.
    ///
    /// # Errors
    /// [`Error::Broken`] when the span is not greater than all before it.
    pub(super) fn store(&self, span: Span, epoch: u64) -> Result<(), Error> {
        let mut state = self.lock();
        if state.epoch != epoch {
            state.skip(Some(span));
            return Ok(());
        }
        state.add(span)
    }

    /// Adds a span that was fetched for a call, and takes `count` integers for that call; None if that is
    /// still not enough.
    ///
    /// If the buffer was emptied after `epoch` was read, that call began before the sequence was raised:
    /// it gets its integers, and the rest of the span is dropped.
    ///
    /// # Errors
    /// As [`Buffer::store`].
    pub(super) fn serve(&self, span: Span, epoch: u64, count: u32) -> Result<Option<Span>, Error> {
        let mut state = self.lock();
        if state.epoch == epoch {
            state.add(span)?;
            return Ok(self.take_locked(&mut state, count));
        }
        if span.count() < count {
            state.skip(Some(span));
            return Ok(None);
        }
        let (front, rest) = span.split(count);
        state.skip(rest);
        Ok(Some(front))
    }

    /// How many integers a call can get before those of the next fetch, if that continues them.
    pub(super) fn at_the_end(&self) -> u32 {
        let state = self.lock();
        let left = state.left(self.cursor.0.load(Acquire));
        match (left, state.next) {
            (Some(left), Some(next)) => left.join(next).unwrap_or(next).count(),
            (left, next) => left.or(next).map_or(0, |span| span.count()),
        }
    }

    /// Drops all integers. Later spans must be greater than `floor`.
    pub(super) fn clear(&self, floor: i64) {
        let mut state = self.lock();
        state.epoch += 1;
        state.generation += 1;
        let generation = state.generation;
        self.slot(generation).write(generation, None);
        let cursor = self.cursor.0.swap(pack(generation, 0), AcqRel);
        let left = state.left(cursor);
        state.skip(left);
        let next = state.next.take();
        state.skip(next);
        state.current = None;
        state.greatest = state.greatest.max(floor);
        self.shown.0.open.store(false, Release);
        self.shown.0.asked.store(false, Release);
    }

    /// Whether the next span is to be fetched ahead: none is there, and half of the current one is taken.
    pub(super) fn needs_next(&self) -> bool {
        let state = self.lock();
        let left = state.left(self.cursor.0.load(Acquire));
        let left = left.map_or(0, |left| left.count());
        let half = state.current.map(|span| span.count() / 2);
        state.next.is_none() && half.is_some_and(|half| left <= half)
    }

    /// Lets a later call be told to have the next span fetched: as soon as possible, or, after a
    /// failure, once half of what is left is taken.
    pub(super) fn ask_again(&self, failed: bool) {
        let state = self.lock();
        if failed && let Some(left) = state.left(self.cursor.0.load(Acquire)) {
            let all = state.current.map_or(0, |span| span.count());
            let half = all - left.count() / 2;
            self.slot(state.generation).half.store(half, Relaxed);
        }
        self.shown.0.asked.store(false, Release);
    }

    /// How many integers are fetched and not taken.
    pub(super) fn held(&self) -> u64 {
        let state = self.lock();
        let left = state.left(self.cursor.0.load(Acquire));
        [left, state.next]
            .iter()
            .flatten()
            .map(|span| u64::from(span.count()))
            .sum()
    }

    /// How many integers were dropped, that is, will never be handed out.
    pub(super) fn skipped(&self) -> u64 {
        self.lock().skipped
    }

    fn slot(&self, generation: u64) -> &Slot {
        let [even, odd] = &self.shown.0.slots;
        if generation.is_multiple_of(2) {
            even
        } else {
            odd
        }
    }

    /// Ignores poisoning: nothing under the lock panics halfway.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is left of the current span; None if nothing is.
    fn left(&self, cursor: u64) -> Option<Span> {
        let (_, position) = unpack(cursor);
        let current = self.current?;
        match position {
            0 => Some(current),
            position => current.split(position).1,
        }
    }

    fn skip(&mut self, span: Option<Span>) {
        self.skipped += span.map_or(0, |span| span.count().into());
    }

    /// Appends a span to the next one if they are neighbours, and else replaces that.
    fn add(&mut self, span: Span) -> Result<(), Error> {
        let (first, greatest) = (span.first(), self.greatest);
        if first <= greatest {
            return Err(Error::Broken(format!(
                "the engine returned {first} after {greatest}; was the sequence lowered, or its \
                 backend restored from an old copy? Raise it to at least {greatest} to continue"
            )));
        }
        self.greatest = span.last();
        let joined = self.next.and_then(|next| next.join(span));
        let next = self.next.replace(joined.unwrap_or(span));
        self.skip(next.filter(|_| joined.is_none()));
        Ok(())
    }
}

fn pack(generation: u64, position: u32) -> u64 {
    (generation << POSITION_BITS) | u64::from(position)
}

#[inline]
fn unpack(cursor: u64) -> (u64, u32) {
    // The position has 24 bits.
    (cursor >> POSITION_BITS, (cursor & POSITION) as u32)
}

//! A span that many threads read while another one may replace it.

use crate::Span;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, fence};

/// A span that is read without the lock. A reader compares the generation before and after.
#[derive(Default)]
pub(super) struct Slot {
    generation: AtomicU64,
    first: AtomicI64,
    count: AtomicU32,
    /// The next span is to be fetched once the position has reached this.
    pub(super) half: AtomicU32,
}

/// A copy of a slot.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) first: i64,
    pub(super) count: u32,
    pub(super) half: u32,
}

impl Slot {
    /// A copy of the span of this generation; None if the slot has another one, or is being written.
    #[inline]
    pub(super) fn read(&self, generation: u64) -> Option<Seen> {
        if self.generation.load(Acquire) != generation {
            return None;
        }
        let seen = Seen {
            first: self.first.load(Relaxed),
            count: self.count.load(Relaxed),
            half: self.half.load(Relaxed),
        };
        fence(Acquire);
        (self.generation.load(Relaxed) == generation).then_some(seen)
    }

    /// Replaces the span. Only one thread may do so at a time.
    pub(super) fn write(&self, generation: u64, span: Option<Span>) {
        let count = span.map_or(0, |span| span.count());
        self.generation.store(u64::MAX, Relaxed);
        fence(Release);
        self.first
            .store(span.map_or(0, |span| span.first()), Relaxed);
        self.count.store(count, Relaxed);
        self.half.store(count - count / 2, Relaxed);
        self.generation.store(generation, Release);
    }
}

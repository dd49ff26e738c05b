//! The memory for answers that clients have not read yet.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that can be reserved in parts. Clones share it.
#[derive(Clone)]
pub(crate) struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Reserves this many bytes; None if fewer are left.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<Reservation> {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            })
            .ok()?;
        Some(Reservation {
            left: Arc::clone(&self.0),
            bytes,
        })
    }
}

/// Memory reserved for one answer, released on drop. The sender of the answer keeps it until the last
/// byte is written.
pub struct Reservation {
    left: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reservation").field(&self.bytes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_comes_back() {
        let budget = Budget::new(10);
        let six = budget.reserve(6).unwrap();
        assert!(budget.reserve(5).is_none());
        let four = budget.clone().reserve(4).unwrap();
        assert!(budget.reserve(1).is_none());
        drop(six);
        assert!(budget.reserve(7).is_none());
        let again = budget.reserve(6).unwrap();
        drop((four, again));
        assert!(budget.reserve(10).is_some());
    }
}

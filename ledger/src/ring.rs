//! A bounded queue between many producers and the worker that takes the next batch. Its memory is allocated at the
//! start. Nobody spins: producers that wait for room and the worker that waits for items sleep.

use crossbeam_queue::ArrayQueue;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout_at};

/// The queue.
pub struct Ring<T> {
    items: ArrayQueue<T>,
    /// Told when there is an item and the worker sleeps, when a producer waits for room, and when the ring is closed.
    filled: Notify,
    /// Whether the worker waits for the first item of a batch. The producer that resets it wakes the worker.
    asleep: AtomicBool,
    /// Told when there is room, and when the ring is closed.
    emptied: Notify,
    /// Whether the worker does not wait for further items.
    hurried: AtomicBool,
    /// How many producers wait for room.
    waiting: AtomicUsize,
    closed: AtomicBool,
    most: AtomicUsize,
    /// Held by the one worker that gathers a batch.
    turn: Mutex<()>,
}

impl<T> Ring<T> {
    /// A ring for this many items, at least one.
    pub fn new(capacity: usize) -> Self {
        Self {
            items: ArrayQueue::new(capacity.max(1)),
            filled: Notify::new(),
            asleep: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            emptied: Notify::new(),
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            most: AtomicUsize::new(0),
            turn: Mutex::new(()),
        }
    }

    /// Adds an item at once.
    ///
    /// # Errors
    /// The item if the ring is full or closed.
    pub fn push(&self, item: T) -> Result<(), T> {
        if self.closed.load(Ordering::Acquire) {
            return Err(item);
        }
        self.items.push(item)?;
        // Either this sees that the worker sleeps, or the worker sees the item.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Lets the worker take what there is at once.
    pub fn hurry(&self) {
        self.hurried.store(true, Ordering::Release);
        self.filled.notify_one();
    }

    /// Adds an item, and waits for room until `deadline`.
    ///
    /// # Errors
    /// The item if there was no room, or the ring is closed.
    pub async fn push_until(&self, mut item: T, deadline: Instant) -> Result<(), T> {
        let _waiting = Waiting::begin(&self.waiting);
        loop {
            let room = self.emptied.notified();
            let mut room = std::pin::pin!(room);
            // Before the attempt, so that no room is missed.
            room.as_mut().enable();
            item = match self.push(item) {
                Ok(()) => return Ok(()),
                Err(item) => item,
            };
            // The worker does not wait for further items if there is no room for them.
            self.filled.notify_one();
            if self.closed.load(Ordering::Acquire) || timeout_at(deadline, room).await.is_err() {
                return Err(item);
            }
        }
    }

    /// Takes items into `batch` until they weigh `most`; the last one may weigh more. Waits for the first one, and then for
    /// further ones until there are `most` or `linger` is over. False once the ring is closed and empty; `batch` is then
    /// empty.
    ///
    /// One caller at a time gathers items, so that several workers do not share them out in small batches.
    pub async fn take(
        &self,
        batch: &mut Vec<T>,
        most: usize,
        linger: Duration,
        weight: impl Fn(&T) -> usize,
    ) -> bool {
        let _turn = self.turn.lock().await;
        loop {
            let more = self.filled.notified();
            if self.items.is_empty() {
                if self.closed.load(Ordering::Acquire) {
                    return !self.items.is_empty() && self.fill(batch, most, weight);
                }
                self.asleep.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                if self.items.is_empty() && !self.closed.load(Ordering::Acquire) {
                    more.await;
                }
                self.asleep.store(false, Ordering::Relaxed);
                continue;
            }
            let end = Instant::now() + linger;
            let enough = most.min(self.items.capacity());
            // Looks a few times and is not woken by each item.
            let step = (linger / 4).max(Duration::from_millis(1));
            while self.items.len() < enough
                && self.waiting.load(Ordering::Acquire) == 0
                && !self.hurried.load(Ordering::Acquire)
                && !self.closed.load(Ordering::Acquire)
                && Instant::now() < end
            {
                let until = (Instant::now() + step).min(end);
                let _ = timeout_at(until, self.filled.notified()).await;
            }
            return self.fill(batch, most, weight);
        }
    }

    fn fill(&self, batch: &mut Vec<T>, most: usize, weight: impl Fn(&T) -> usize) -> bool {
        self.most.fetch_max(self.items.len(), Ordering::Relaxed);
        // Those who hurry from here on find the next worker.
        let hurried = self.hurried.swap(false, Ordering::AcqRel);
        let mut taken = 0;
        while taken < most
            && let Some(item) = self.items.pop()
        {
            taken = taken.saturating_add(weight(&item));
            batch.push(item);
        }
        if hurried && !self.items.is_empty() {
            self.hurried.store(true, Ordering::Release);
        }
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.emptied.notify_waiters();
        }
        true
    }

    /// Refuses further items. Those that are in the ring can still be taken.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.emptied.notify_waiters();
        // One permit for a worker that is about to wait, and a wake for those that do.
        self.filled.notify_one();
        self.filled.notify_waiters();
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many items it has room for.
    pub fn capacity(&self) -> usize {
        self.items.capacity()
    }

    /// The greatest number of items so far.
    pub fn high_water(&self) -> usize {
        self.most.load(Ordering::Relaxed).max(self.items.len())
    }
}

/// A producer that waits for room.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn it_is_bounded_and_keeps_the_order() {
        let ring = Ring::new(3);
        for item in 1..=3 {
            assert_eq!(ring.push(item), Ok(()));
        }
        assert_eq!(ring.push(4), Err(4));
        let late = ring.push_until(5, Instant::now() + SOON).await;
        assert_eq!(late, Err(5));
        assert_eq!((ring.len(), ring.high_water()), (3, 3));
        let mut batch = Vec::new();
        assert!(ring.take(&mut batch, 2, SOON, |_| 1).await);
        assert_eq!(batch, [1, 2]);
        ring.close();
        assert_eq!(ring.push(6), Err(6));
        batch.clear();
        assert!(ring.take(&mut batch, 2, LATE, |_| 1).await);
        assert_eq!(batch, [3]);
        batch.clear();
        assert!(!ring.take(&mut batch, 2, LATE, |_| 1).await);
        assert!(!ring.take(&mut batch, 2, LATE, |_| 1).await);
    }

    #[tokio::test]
    async fn heavy_items_are_shared_out() {
        let ring = Ring::new(8);
        for item in [1, 1, 5, 1, 9, 1] {
            ring.push(item).expect("room");
        }
        ring.close();
        let mut batches = Vec::new();
        let mut batch = Vec::new();
        while ring.take(&mut batch, 5, SOON, |item| *item).await {
            batches.push(std::mem::take(&mut batch));
        }
        assert_eq!(batches, [vec![1, 1, 5], vec![1, 9], vec![1]]);
    }

    #[tokio::test]
    async fn a_worker_that_lingers_can_be_hurried() {
        let ring = Ring::new(2);
        let mut batch = Vec::new();
        // Somebody hurries.
        ring.push(1).expect("room");
        ring.hurry();
        assert!(ring.take(&mut batch, 9, LATE, |_| 1).await);
        assert_eq!(batch, [1]);
        // There is no room for further items.
        ring.push(2).expect("room");
        ring.push(3).expect("room");
        assert!(ring.take(&mut batch, 9, LATE, |_| 1).await);
        assert_eq!(batch, [1, 2, 3]);
        // Somebody hurries while it lingers.
        let (taken, ()) = tokio::join!(ring.take(&mut batch, 9, LATE, |_| 1), async {
            ring.push(4).expect("room");
            tokio::task::yield_now().await;
            ring.hurry();
        });
        assert!(taken);
        assert_eq!(batch, [1, 2, 3, 4]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nothing_is_lost_between_many_producers_and_workers() {
        let ring = Arc::new(Ring::new(16));
        let producers = (0..4_u32).map(|producer| {
            let ring = Arc::clone(&ring);
            tokio::spawn(async move {
                for item in 0..2000 {
                    let deadline = Instant::now() + LATE;
                    ring.push_until(producer * 10_000 + item, deadline)
                        .await
                        .expect("room");
                }
            })
        });
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let ring = Arc::clone(&ring);
                tokio::spawn(async move {
                    let (mut all, mut batch) = (Vec::new(), Vec::new());
                    while ring.take(&mut batch, 7, Duration::ZERO, |_| 1).await {
                        assert!((1..=7).contains(&batch.len()));
                        all.append(&mut batch);
                    }
                    all
                })
            })
            .collect();
        for producer in producers.collect::<Vec<_>>() {
            producer.await.unwrap();
        }
        ring.close();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.await.unwrap());
        }
        all.sort_unstable();
        let expected: Vec<u32> = (0..4)
            .flat_map(|producer| (0..2000).map(move |item| producer * 10_000 + item))
            .collect();
        assert_eq!(all, expected);
    }
}

//! A bounded queue between many producers and the worker that takes the next batch. Its memory is allocated at the
//! start. Nobody spins: producers that wait for room and the worker that waits for items sleep.
//!
//! Memory that another core wrote last is slow to write. Producers would wait for it with each item, so they fill a group
//! in memory that hardly leaves their own cache, and move it to the queue when it is full. When the queue is empty, a
//! worker takes what the group has so far.

use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How many items are moved to the queue at once.
const GROUP: usize = 16;

type Group<T> = ArrayVec<T, GROUP>;

/// The items of a group that have not been taken yet.
type Rest<T> = arrayvec::IntoIter<T, GROUP>;

/// The queue.
pub struct Ring<T> {
    /// Full groups, the oldest first.
    groups: ArrayQueue<Group<T>>,
    /// Held for an instant. The standard library's lock passes on less than half as many items if several threads push.
    front: Mutex<Front<T>>,
    /// The oldest items, which an earlier batch had no room for. Held by the one worker that gathers a batch.
    rest: tokio::sync::Mutex<Rest<T>>,
    /// How many items it has room for.
    capacity: usize,
    /// Told when there are as many items as the worker waits for, when somebody hurries or waits for room, and when the
    /// ring is closed.
    filled: Notify,
    /// Told when there is room, and when the ring is closed.
    emptied: Notify,
    /// Whether the worker does not wait for further items.
    hurried: AtomicBool,
    /// How many producers wait for room.
    waiting: AtomicUsize,
}

/// What producers write.
struct Front<T> {
    /// The newest items.
    group: Group<T>,
    /// How many items there are in the ring.
    len: usize,
    /// The greatest `len` that a worker found.
    most: usize,
    /// The number of items at which the worker is woken, if it sleeps.
    awaited: Option<usize>,
    closed: bool,
}

impl<T> Ring<T> {
    /// A ring for this many items, at least one.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            groups: ArrayQueue::new(capacity.div_ceil(GROUP)),
            front: Mutex::new(Front {
                group: Group::new(),
                len: 0,
                most: 0,
                awaited: None,
                closed: false,
            }),
            rest: tokio::sync::Mutex::new(Group::new().into_iter()),
            capacity,
            filled: Notify::new(),
            hurried: AtomicBool::new(false),
            emptied: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Adds an item at once.
    ///
    /// # Errors
    /// The item if the ring is full or closed.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut front = self.front.lock();
        if front.closed || front.len == self.capacity {
            return Err(item);
        }
        if let Err(full) = front.group.try_push(item) {
            return Err(full.element());
        }
        front.len += 1;
        // There is always room for it, since `capacity` limits the items.
        if front.group.is_full()
            && let Err(group) = self.groups.push(std::mem::take(&mut front.group))
        {
            front.group = group;
        }
        let len = front.len;
        let enough = front.awaited.take_if(|awaited| len >= *awaited).is_some();
        drop(front);
        if enough {
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
            if self.is_closed() || timeout_at(deadline, room).await.is_err() {
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
        let mut rest = self.rest.lock().await;
        self.reach(1, None).await;
        if self.is_empty() {
            return false;
        }
        if !linger.is_zero() {
            let end = Instant::now() + linger;
            self.reach(most.min(self.capacity), Some(end)).await;
        }
        self.fill(&mut rest, batch, most, weight);
        true
    }

    /// Waits until there are this many items, or until the ring is closed. With an `end` it waits no longer than that, and
    /// not while somebody hurries or waits for room.
    async fn reach(&self, len: usize, end: Option<Instant>) {
        loop {
            let filled = self.filled.notified();
            if self.has(len, end.is_some()) {
                return;
            }
            match end {
                None => filled.await,
                Some(end) if timeout_at(end, filled).await.is_ok() => {}
                Some(_) => return,
            }
        }
    }

    /// Whether the worker has waited long enough. If not, the producer of the item that makes it this many wakes it.
    fn has(&self, len: usize, lingers: bool) -> bool {
        let mut front = self.front.lock();
        let urgent =
            self.hurried.load(Ordering::Acquire) || self.waiting.load(Ordering::Acquire) > 0;
        let enough = front.len >= len || front.closed || lingers && urgent;
        front.awaited = (!enough).then_some(len);
        enough
    }

    fn fill(
        &self,
        rest: &mut Rest<T>,
        batch: &mut Vec<T>,
        most: usize,
        weight: impl Fn(&T) -> usize,
    ) {
        // Those who hurry from here on find the next worker.
        let hurried = self.hurried.swap(false, Ordering::AcqRel);
        let (mut taken, before) = (0, batch.len());
        while taken < most
            && let Some(item) = rest.next().or_else(|| {
                *rest = self.group().into_iter();
                rest.next()
            })
        {
            taken = taken.saturating_add(weight(&item));
            batch.push(item);
        }
        let mut front = self.front.lock();
        front.most = front.most.max(front.len);
        front.len -= batch.len() - before;
        front.awaited = None;
        let left = front.len > 0;
        drop(front);
        if hurried && left {
            self.hurried.store(true, Ordering::Release);
        }
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.emptied.notify_waiters();
        }
    }

    /// The oldest group, which is empty if the ring is.
    fn group(&self) -> Group<T> {
        self.groups.pop().unwrap_or_else(|| {
            let mut front = self.front.lock();
            // The group may have been moved in between.
            let moved = self.groups.pop();
            moved.unwrap_or_else(|| std::mem::take(&mut front.group))
        })
    }

    /// Refuses further items. Those that are in the ring can still be taken.
    pub fn close(&self) {
        self.front.lock().closed = true;
        self.emptied.notify_waiters();
        // One permit for a worker that is about to wait, and a wake for those that do.
        self.filled.notify_one();
        self.filled.notify_waiters();
    }

    fn is_closed(&self) -> bool {
        self.front.lock().closed
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.front.lock().len
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The greatest number of items so far.
    pub fn high_water(&self) -> usize {
        let front = self.front.lock();
        front.most.max(front.len)
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
mod tests;

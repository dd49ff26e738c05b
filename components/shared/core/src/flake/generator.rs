//! The flakes of one process, one after the other.

use super::Layout;
use crate::limits::check_count;
use crate::{Error, Span};
use std::time::Duration;

/// How far the clock may go back without an error: mints wait until it has caught up.
pub(super) const PATIENCE: Duration = Duration::from_millis(5);

/// Makes flakes for a node number, as long as that is held.
///
/// A flake is handed out only when its millisecond has begun. So a process that starts in a later millisecond
/// than any flake that its predecessor has handed out repeats none of them.
#[derive(Clone, Debug)]
pub struct Generator {
    layout: Layout,
    /// The next number within the node (a time, and a number within it).
    next: i64,
    /// The greatest integer that was taken or raised to; 0 before the first one.
    last: i64,
    /// The greatest time that the clock has shown.
    seen: i64,
    tenure: Option<Tenure>,
}

/// A node number that is held, and the times for which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tenure {
    pub(super) node: u32,
    /// The first millisecond.
    pub(super) from: i64,
    /// The last millisecond.
    pub(super) until: i64,
}

/// A mint, which may take several attempts.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    count: u32,
    /// When it began, in milliseconds since the layout's epoch; None before the first attempt. Its integers
    /// begin there: if they began at the time of each attempt, their end would always be ahead of the clock.
    since: Option<i64>,
}

impl Request {
    /// A request for `count` integers, 1 to 100 000.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another count.
    pub fn new(count: u32) -> Result<Self, Error> {
        Ok(Self {
            count: check_count(count)?,
            since: None,
        })
    }
}

/// What to do for a mint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// These integers are minted.
    Minted(Span),
    /// Wait for this long, and ask again.
    Wait(Duration),
    /// The node number is not held at this time, in milliseconds since the layout's epoch: take one, and ask again.
    Hold(i64),
}

impl Generator {
    /// A generator without a node number.
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            // The first of all flakes would be 0, which is no integer of a sequence.
            next: 1,
            last: 0,
            seen: 0,
            tenure: None,
        }
    }

    /// A generator for a node number that nobody else has, from the millisecond after `now` on: a predecessor may
    /// have used the current one. `now` is the time since the Unix epoch.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the number does not fit, otherwise as [`Generator::mint`].
    pub fn given(layout: Layout, node: u32, now: Duration) -> Result<Self, Error> {
        layout.lattice(node)?;
        let time = layout.time(now)?;
        let mut generator = Self::new(layout);
        generator.seen = time;
        generator.tenure = Some(Tenure {
            node,
            from: time + 1,
            until: layout.length() - 1,
        });
        Ok(generator)
    }

    /// Takes the next integers if their milliseconds have begun. `left` is how long the caller would wait for
    /// that. Requests are to be made one after the other.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the caller would have to wait for longer, or the clock went back by more than
    /// 5 ms, or shows a time before the epoch; [`Error::Exhausted`] past the last day of the layout.
    pub fn mint(
        &mut self,
        now: Duration,
        request: &mut Request,
        left: Duration,
    ) -> Result<Step, Error> {
        let count = request.count;
        let time = match self.look(now)? {
            Look::Time(time) => time,
            Look::Behind(back) => return Ok(Step::Wait(back)),
        };
        let held = self.tenure.filter(|tenure| time <= tenure.until);
        let since = *request.since.get_or_insert(time);
        let from = held.map_or(since, |tenure| since.max(tenure.from));
        let first = self.next.max(self.layout.number(from, 0));
        let end = first
            .checked_add(i64::from(count))
            .ok_or_else(|| self.layout.ended())?;
        let last_time = self.layout.time_of(end - 1);
        if last_time >= self.layout.length() {
            return Err(self.layout.ended());
        }
        let wait = until(now, last_time - time);
        if wait > left {
            return Err(Error::Unavailable(format!(
                "{count} integers take {} ms with the layout {}, which has {} a millisecond, and the time left \
                 was {} ms; ask for fewer at a time",
                wait.as_millis(),
                self.layout,
                self.layout.rate(),
                left.as_millis()
            )));
        }
        let Some(tenure) = held.filter(|tenure| last_time <= tenure.until) else {
            return Ok(Step::Hold(last_time));
        };
        if !wait.is_zero() {
            return Ok(Step::Wait(wait));
        }
        let step = i64::from(self.layout.nodes());
        let span = Span::checked(self.layout.flake(first, tenure.node), step, count)
            .ok_or_else(|| self.layout.ended())?;
        (self.next, self.last) = (end, span.last());
        Ok(Step::Minted(span))
    }

    /// The greatest integer that was taken here, or raised to; None before the first one.
    pub fn last(&self) -> Option<i64> {
        Some(self.last).filter(|last| *last > 0)
    }

    /// Makes all later integers greater than `value`, 0 or more, if they would be soon anyway.
    ///
    /// # Errors
    /// [`Error::TooSmall`] with the last integer when that is greater; [`Error::Denied`] when `value` is
    /// a flake of the future: the generator would mint nothing until then.
    pub fn raise(&mut self, now: Duration, value: i64) -> Result<(), Error> {
        if let Some(last) = self.last().filter(|last| *last > value) {
            return Err(Error::TooSmall(last));
        }
        let time = match self.look(now)? {
            Look::Time(time) => time,
            Look::Behind(_) => self.seen,
        };
        let number = self.layout.number_below(value);
        if self.layout.time_of(number) > time {
            return Err(Error::Denied(format!(
                "{value} is a flake of the future: flakes follow the clock and cannot be raised beyond it"
            )));
        }
        self.next = self.next.max(number + 1);
        self.last = self.last.max(value);
        Ok(())
    }

    /// Looks at the clock.
    pub(super) fn look(&mut self, now: Duration) -> Result<Look, Error> {
        let time = self.layout.time(now)?;
        let back = self.seen - time;
        if back <= 0 {
            self.seen = time;
            return Ok(Look::Time(time));
        }
        let back = Duration::from_millis(back.unsigned_abs());
        if back <= PATIENCE {
            return Ok(Look::Behind(back));
        }
        Err(Error::Unavailable(format!(
            "the clock went back by {} ms; nothing is minted until it has caught up, since integers could be repeated",
            back.as_millis()
        )))
    }

    /// The node number that is held, with the times for which it is.
    pub(super) fn tenure(&self) -> Option<Tenure> {
        self.tenure
    }

    /// For how many milliseconds from the last look at the clock a number is held; negative if none is any longer.
    pub(super) fn held(&self) -> i64 {
        self.tenure.map_or(0, |tenure| tenure.until) - self.seen
    }

    /// Holds a node number from now on, or none.
    pub(super) fn hold(&mut self, tenure: Option<Tenure>) {
        self.tenure = tenure;
    }
}

/// How long it takes from `now` until the millisecond that begins `later` milliseconds after the current one did.
/// Zero if that has begun.
fn until(now: Duration, later: i64) -> Duration {
    let into = Duration::from_nanos(u64::from(now.subsec_nanos() % 1_000_000));
    Duration::from_millis(u64::try_from(later).unwrap_or(0)).saturating_sub(into)
}

/// What the clock shows.
pub(super) enum Look {
    /// The milliseconds since the layout's epoch.
    Time(i64),
    /// Less than before, by this much.
    Behind(Duration),
}

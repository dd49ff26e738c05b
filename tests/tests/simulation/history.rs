//! What happened in a run, and whether that is allowed.

use int_host::Span;
use std::fmt::{Display, Write};
use std::sync::{Mutex, PoisonError};
use testbed::history::{self, Record};
use tokio::time::Instant;

/// What a call returned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Returned {
    /// The integers that a mint got.
    Minted(Span),
    /// The greatest integer that was taken.
    Last(Option<i64>),
    /// The value above which the sequence was raised.
    Raised(i64),
}

/// A call that succeeded. The times count events, so that no two are the same.
#[derive(Clone, Copy, Debug)]
struct Call {
    client: u32,
    begin: u64,
    end: u64,
    returned: Returned,
}

impl Call {
    /// What every later call has to be above, or for `last` not below.
    fn reaches(&self) -> i64 {
        match self.returned {
            Returned::Minted(span) => span.last(),
            Returned::Last(last) => last.unwrap_or(0),
            Returned::Raised(value) => value,
        }
    }

    /// Whether it is above an earlier call.
    fn follows(&self, earlier: i64) -> bool {
        match self.returned {
            Returned::Minted(span) => span.first() > earlier,
            Returned::Last(last) => last.unwrap_or(0) >= earlier,
            Returned::Raised(value) => value >= earlier,
        }
    }
}

/// All events of a run, in their order.
pub(crate) struct History {
    start: Instant,
    /// Whether the events are kept as text, which takes much of the time of a run.
    kept: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    lines: Vec<String>,
    calls: Vec<Call>,
    time: u64,
    faults: Vec<String>,
}

impl History {
    pub(crate) fn new(kept: bool) -> Self {
        Self {
            kept,
            start: Instant::now(),
            inner: Mutex::default(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records an event and returns its number.
    pub(crate) fn tell(&self, event: impl Display) -> u64 {
        self.with(|inner| {
            inner.time += 1;
            if self.kept {
                let now = self.start.elapsed().as_micros();
                let line = format!("{:>6} {now:>9} us  {event}", inner.time);
                inner.lines.push(line);
            }
            inner.time
        })
    }

    /// Records that something is not as it must be.
    pub(crate) fn fault(&self, what: impl Display) {
        self.tell(format_args!("FAULT {what}"));
        self.with(|inner| inner.faults.push(what.to_string()));
    }

    /// Records a call that succeeded.
    pub(crate) fn returned(&self, client: u32, begin: u64, returned: Returned) {
        let end = self.tell(format_args!("c{client} returned {returned:?}"));
        let call = Call {
            client,
            begin,
            end,
            returned,
        };
        self.with(|inner| inner.calls.push(call));
    }

    /// How many events there were.
    pub(crate) fn events(&self) -> u64 {
        self.with(|inner| inner.time)
    }

    /// How many mints succeeded.
    pub(crate) fn mints(&self) -> usize {
        let minted = |call: &&Call| matches!(call.returned, Returned::Minted(_));
        self.with(|inner| inner.calls.iter().filter(minted).count())
    }

    /// Everything that must not be.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.with(|inner| {
            let mut faults = inner.faults.clone();
            let minted: history::History = inner.calls.iter().filter_map(record).collect();
            faults.extend(minted.check().iter().map(ToString::to_string));
            for later in &inner.calls {
                let earlier = inner.calls.iter().filter(|call| call.end < later.begin);
                if let Some(earlier) = earlier.max_by_key(|call| call.reaches())
                    && !later.follows(earlier.reaches())
                {
                    faults.push(format!("{later:?} is not above {earlier:?}"));
                }
            }
            faults
        })
    }

    /// All events, a line each.
    pub(crate) fn text(&self) -> String {
        self.with(|inner| {
            inner.lines.iter().fold(String::new(), |mut text, line| {
                let _ = writeln!(text, "{line}");
                text
            })
        })
    }
}

/// A mint, for the checks of the testbed.
fn record(call: &Call) -> Option<Record> {
    let Returned::Minted(span) = call.returned else {
        return None;
    };
    Some(Record {
        process: call.client,
        begin: call.begin,
        end: call.end,
        span: span.into(),
    })
}

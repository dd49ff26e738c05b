//! The metrics of one sequence.

use super::Families;
use artisanal_core::{Error, Span};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// A call of an engine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Next,
    Last,
    SetLast,
    Claim,
}

/// What one sequence counts. All handles are looked up once, when the sequence is opened.
pub(crate) struct SequenceMetrics {
    next: Histogram,
    last: Histogram,
    set_last: Histogram,
    claim: Histogram,
    batches: Histogram,
    integers: IntCounter,
    missed: IntGauge,
    errors: IntCounterVec,
    refused: IntCounterVec,
    /// The labels `engine` and `key`.
    labels: [String; 2],
    in_flight: IntGauge,
    greatest: IntGauge,
    /// The smallest integer that was minted; `i64::MAX` before the first one.
    smallest: AtomicI64,
}

impl SequenceMetrics {
    pub(super) fn new(families: &Families, engine: &str, key: &str) -> Self {
        let labels = [engine, key];
        let calls = |operation| families.calls.with_label_values(&[engine, key, operation]);
        Self {
            next: calls("next"),
            last: calls("last"),
            set_last: calls("set-last"),
            claim: calls("claim"),
            batches: families.batches.with_label_values(&labels),
            integers: families.integers.with_label_values(&labels),
            missed: families.missed.with_label_values(&labels),
            errors: families.errors.clone(),
            refused: families.refused.clone(),
            labels: labels.map(str::to_owned),
            in_flight: families.in_flight.with_label_values(&labels),
            greatest: families.last.with_label_values(&labels),
            smallest: AtomicI64::new(i64::MAX),
        }
    }

    /// Makes a call and counts it: its time, and its error if it fails.
    pub(crate) async fn count<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let calls = match operation {
            Operation::Next => &self.next,
            Operation::Last => &self.last,
            Operation::SetLast => &self.set_last,
            Operation::Claim => &self.claim,
        };
        let in_flight = InFlight::begin(calls, &self.in_flight);
        let done = call.await;
        drop(in_flight);
        if let Err(error) = &done {
            self.count_error(&self.errors, error);
        }
        done
    }

    /// Counts the integers of a span.
    pub(crate) fn minted(&self, span: Span) {
        let count = span.count();
        self.batches.observe(f64::from(count));
        self.integers.inc_by(count.into());
        let first = span.first();
        let smallest = self.smallest.fetch_min(first, Ordering::Relaxed).min(first);
        self.reached(span.last());
        // Calls that return at the same time may see this too high or too low until the next one.
        let all = (self.greatest.get() - smallest) / span.step() + 1;
        let minted = i64::try_from(self.integers.get()).unwrap_or(i64::MAX);
        self.missed.set((all - minted).max(0));
    }

    /// Records that the sequence is at this integer or above.
    pub(crate) fn reached(&self, mark: i64) {
        if mark > self.greatest.get() {
            self.greatest.set(mark);
        }
    }

    /// Counts a failed request. One failed call can fail many requests; a full queue, or an integer that comes
    /// twice, fails requests without a failed call.
    pub(crate) fn refused(&self, error: &Error) {
        self.count_error(&self.refused, error);
    }

    fn count_error(&self, errors: &IntCounterVec, error: &Error) {
        let [engine, key] = &self.labels;
        errors.with_label_values(&[engine, key, kind(error)]).inc();
    }
}

/// The label of an error.
pub(crate) fn kind(error: &Error) -> &'static str {
    match error {
        Error::Invalid(_) => "invalid",
        Error::TooSmall(_) => "too-small",
        Error::Exhausted(_) => "exhausted",
        Error::Denied(_) => "denied",
        Error::Unavailable(_) => "unavailable",
        Error::Other(_) => "other",
        Error::Busy => "busy",
        Error::Broken(_) => "broken",
        Error::Misconfigured(_) => "misconfigured",
    }
}

/// A call that has not returned, or whose caller went away.
struct InFlight<'a> {
    calls: &'a Histogram,
    gauge: &'a IntGauge,
    begun: Instant,
}

impl<'a> InFlight<'a> {
    fn begin(calls: &'a Histogram, gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self {
            calls,
            gauge,
            begun: Instant::now(),
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
        self.calls.observe(self.begun.elapsed().as_secs_f64());
    }
}

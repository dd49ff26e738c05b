//! How the cost grows.

use super::{Bench, Part, Run, Shape};
use crate::load::{Expect, Request};
use crate::stage::{Store, Target, name};
use int_host::Builtin;
use serde::Serialize;

const CONNECTIONS: [usize; 5] = [1, 10, 100, 500, 1000];
const KEYS: [usize; 5] = [1, 10, 100, 1000, 10_000];
const COUNTS: [u32; 6] = [1, 10, 100, 1000, 10_000, 100_000];

/// The number of connections where something else grows.
const MANY: usize = 100;

/// The number of connections for responses of up to megabytes.
const FEW: usize = 10;

/// A value near the top of `s64` that is far enough away for no run to reach the top.
const NEAR_THE_TOP: i64 = i64::MAX - (1 << 40);

/// The growth of the cost of one item over the last decade above which growth counts as more than linear: noise
/// stays below it, and a cost per item that grows with the square root exceeds it.
const TOLERANCE: f64 = 1.5;

/// The cost of one item as something grows.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// What was measured.
    pub what: String,
    /// What grows.
    pub over: &'static str,
    /// The item whose cost is measured.
    pub per: &'static str,
    /// The points in ascending order.
    pub points: Vec<Point>,
}

/// One point of a curve.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// The value of the quantity that grows.
    pub at: u64,
    /// Requests per second.
    pub rate: f64,
    /// The 99th percentile of latency, in microseconds.
    pub p99_us: f64,
    /// The average time per request, or per integer, in nanoseconds.
    pub cost_ns: f64,
    /// Why the point is invalid.
    pub fault: Option<String>,
}

impl Curve {
    /// The factor by which the cost of one item grew over the last decade: 1 for linear growth of the total,
    /// more for growth that is more than linear. None when one of the two points is missing or invalid.
    pub fn growth(&self) -> Option<f64> {
        let last = self.points.last()?;
        let before = self
            .points
            .iter()
            .rev()
            .find(|point| point.at.saturating_mul(10) <= last.at)?;
        match (&last.fault, &before.fault) {
            (None, None) => Some(last.cost_ns / before.cost_ns),
            _ => None,
        }
    }

    /// Whether growth is more than linear.
    pub fn is_super_linear(&self) -> Option<bool> {
        Some(self.growth()? > TOLERANCE)
    }
}

impl Point {
    fn of(at: u64, run: &Run, rate: f64) -> Self {
        Self {
            at,
            rate: run.rate,
            p99_us: run.p99_us,
            cost_ns: if rate > 0.0 { 1e9 / rate } else { 0.0 },
            fault: run.fault.clone(),
        }
    }
}

impl Bench {
    /// Measures all selected curves.
    ///
    /// # Errors
    /// When a server that is shared by all points does not start. A server for a single point that does not
    /// start is a fault of that point.
    pub(super) fn curves(&mut self) -> anyhow::Result<Vec<Curve>> {
        let mut curves = Vec::new();
        if self.wants_on(Part::Connections, &[Builtin::Memory, Builtin::Redis]) {
            curves.extend(self.over_connections()?);
        }
        for engine in [Builtin::Memory, Builtin::Redis] {
            if self.wants_on(Part::Keys, &[engine]) {
                curves.push(self.over_keys(engine)?);
            }
            if self.wants_on(Part::Counts, &[engine]) {
                curves.push(self.over_counts(engine)?);
            }
            if self.wants_on(Part::Values, &[engine]) {
                curves.push(self.over_values(engine)?);
            }
        }
        Ok(curves)
    }

    fn over_connections(&mut self) -> anyhow::Result<Vec<Curve>> {
        let (memory, redis) = (self.store(Builtin::Memory)?, self.store(Builtin::Redis)?);
        let targets = [
            self.workshop.bare()?,
            self.workshop.serve(memory, "connections", &[])?,
            self.workshop.serve(redis, "connections", &[])?,
            self.workshop.composed(memory, "connections")?,
        ];
        let mut curves: Vec<_> = targets
            .iter()
            .map(|target| Curve {
                what: target.name.clone(),
                over: "connections",
                per: "request",
                points: Vec::new(),
            })
            .collect();
        // The targets alternate, so that compared points are measured shortly after each other.
        for connections in CONNECTIONS {
            for (target, curve) in targets.iter().zip(&mut curves) {
                let run = self.run(target, &Shape::plain(connections));
                curve
                    .points
                    .push(Point::of(connections as u64, &run, run.rate));
            }
        }
        Ok(curves)
    }

    fn over_keys(&mut self, engine: Builtin) -> anyhow::Result<Curve> {
        let mut points = Vec::new();
        for count in KEYS {
            let keys: Vec<_> = (0..count).map(|n| format!("k{count}-{n}")).collect();
            let shape = Shape {
                connections: MANY,
                label: format!(", {count} keys"),
                requests: keys.iter().map(|key| Request::next_of(key)).collect(),
                expect: Expect::Spans(1),
            };
            self.tell(&format!("starting serve {}, {count} keys", name(engine)));
            let started = {
                let store = self.store(engine)?;
                self.workshop
                    .serve(store, "default", &["--keys", &keys.join(",")])
            };
            let run = self.run_started(started, &shape, engine);
            points.push(Point::of(count as u64, &run, run.rate));
        }
        Ok(Curve {
            what: format!("serve {}", name(engine)),
            over: "keys",
            per: "request",
            points,
        })
    }

    fn over_counts(&mut self, engine: Builtin) -> anyhow::Result<Curve> {
        let target = self.workshop.serve(self.store(engine)?, "counts", &[])?;
        let mut points = Vec::new();
        for count in COUNTS {
            let shape = Shape {
                label: format!(", count={count}"),
                ..Shape::counting(FEW, count)
            };
            let run = self.run(&target, &shape);
            points.push(Point::of(u64::from(count), &run, run.integers_rate));
        }
        Ok(Curve {
            what: target.name.clone(),
            over: "count",
            per: "integer",
            points,
        })
    }

    fn over_values(&mut self, engine: Builtin) -> anyhow::Result<Curve> {
        let mut points = Vec::new();
        for value in [1, NEAR_THE_TOP] {
            let key = format!("from-{value}");
            let value = value.to_string();
            let shape = Shape {
                label: format!(", from {value}"),
                ..Shape::plain(MANY)
            };
            let started = {
                let store: &Store = self.store(engine)?;
                self.workshop
                    .serve(store, &key, &["--set-last-int", &value])
            };
            let run = self.run_started(started, &shape, engine);
            points.push(Point::of(value.parse()?, &run, run.rate));
        }
        Ok(Curve {
            what: format!("serve {}", name(engine)),
            over: "value",
            per: "request",
            points,
        })
    }

    /// Loads a server, or records a failed run if it did not start.
    fn run_started(
        &mut self,
        started: anyhow::Result<Target>,
        shape: &Shape,
        engine: Builtin,
    ) -> Run {
        match started {
            Ok(target) => self.run(&target, shape),
            Err(error) => {
                let what = format!("serve {}{}", name(engine), shape.label);
                let run = Run::failed(what, shape.connections, &error);
                self.runs.push(run.clone());
                run
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(costs: &[(u64, f64)]) -> Curve {
        let points = costs.iter().map(|(at, cost_ns)| Point {
            at: *at,
            rate: 0.0,
            p99_us: 0.0,
            cost_ns: *cost_ns,
            fault: None,
        });
        Curve {
            what: String::new(),
            over: "",
            per: "",
            points: points.collect(),
        }
    }

    #[test]
    fn growth_is_over_the_last_decade() {
        let flat = curve(&[
            (1, 100.0),
            (10, 20.0),
            (100, 10.0),
            (500, 10.0),
            (1000, 11.0),
        ]);
        assert_eq!(flat.growth(), Some(1.1));
        assert_eq!(flat.is_super_linear(), Some(false));
        let steep = curve(&[(1, 1.0), (10, 1.0), (100, 2.0)]);
        assert_eq!(steep.is_super_linear(), Some(true));
        assert_eq!(curve(&[(1, 1.0)]).growth(), None);
    }

    #[test]
    fn nothing_is_concluded_from_wrong_points() {
        let mut wrong = curve(&[(1, 1.0), (10, 1.0)]);
        wrong.points[0].fault = Some("a duplicate".into());
        assert_eq!(wrong.is_super_linear(), None);
    }
}

//! The composed endpoint under Spin.

use super::rows::{Description, Rows};
use super::{Bench, Goal, Pair, Shape};
use crate::stage::{Target, spin};
use int_host::Builtin;

/// The number of connections under Spin, which cannot keep as many busy.
const UNDER_SPIN: usize = 50;

/// The composed endpoint under Spin, and its yardstick.
pub(super) struct UnderSpin {
    noop: Target,
    /// Each with the share of the no-op component's throughput that it must reach.
    endpoints: Vec<(Target, f64)>,
}

impl Bench {
    /// Starts servers under Spin; None without Spin.
    ///
    /// # Errors
    /// When one does not start.
    pub(super) fn under_spin(&mut self) -> anyhow::Result<Option<UnderSpin>> {
        let Some(program) = spin::program() else {
            let why = "under Spin: there is no spin on PATH; https://spinframework.dev";
            self.skipped.push(why.to_owned());
            return Ok(None);
        };
        self.tell("starting servers under Spin");
        let mut endpoints = Vec::new();
        if let Some(sqlite) = spin::sqlite() {
            endpoints.push((self.workshop.spin_default(&program, &sqlite)?, 0.25));
        } else {
            let why = "Spin's default store: there is no sqlite3 on PATH, which sets its journal mode; \
                       `apt-get install sqlite3`";
            self.skipped.push(why.to_owned());
        }
        if let Ok(redis) = self.store(Builtin::Redis) {
            endpoints.push((self.workshop.spin_on(&program, redis)?, 0.50));
        }
        Ok(Some(UnderSpin {
            noop: self.workshop.spin_noop(&program)?,
            endpoints,
        }))
    }

    /// Compares the composed endpoint with the no-op component, both under Spin.
    pub(super) fn spin(&mut self, rows: &mut Rows, spin: &UnderSpin) {
        let shape = Shape::plain(UNDER_SPIN);
        for (endpoint, share) in &spin.endpoints {
            let limit = self.run(&spin.noop, &shape);
            let run = self.run(endpoint, &shape);
            let description = Description::with_goal(
                format!("composed, {}, {UNDER_SPIN} connections", endpoint.name),
                "requests/s",
                &*spin.noop.name,
                Goal::RatioAtLeast(*share),
            );
            rows.add(description, Pair::of(&run, &limit, |run| run.rate));
        }
    }
}

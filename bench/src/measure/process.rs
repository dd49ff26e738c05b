//! The cost of whole processes: start time and memory.

use super::row::{fault, median};
use super::{Bench, Goal, Pair, Part, Row, Shape};
use crate::machine::resident;
use crate::stage::name;
use anyhow::{Context, ensure};
use int_host::Builtin;
use std::process::Stdio;
use std::time::Instant;

/// How many times the program is started.
const STARTS: usize = 20;

/// The number of connections that load the server whose memory is measured.
const CONNECTIONS: usize = 100;

const MIB: f64 = (1 << 20) as f64;

impl Bench {
    /// Measures the rows about processes.
    ///
    /// # Errors
    /// When a process does not start, fails, or mints a wrong integer.
    pub(super) fn processes(&mut self) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        if self.wants_on(Part::Starts, &[Builtin::Redis]) {
            rows.extend(self.starts()?);
        }
        if self.wants(Part::Memory) {
            rows.extend(self.memory()?);
        }
        Ok(rows)
    }

    /// Measures command lines from `--version`, the cost of the program itself, to a mint on Redis. They are
    /// started in rotation, so that changes of the machine's load affect all of them.
    fn starts(&mut self) -> anyhow::Result<Vec<Row>> {
        self.tell("starting int-host repeatedly");
        let dsn = self.store(Builtin::Redis)?.dsn();
        let commands: [(&str, &[&str]); 4] = [
            ("prints its version", &["--version"]),
            ("one mint, memory, cached", &["--engine", "memory"]),
            (
                "one mint, redis, cached",
                &["--engine", "redis", "--dsn", &dsn, "--key", "started"],
            ),
            (
                "one mint, redis, compiled anew",
                &[
                    "--engine",
                    "redis",
                    "--dsn",
                    &dsn,
                    "--key",
                    "started",
                    "--no-cache",
                ],
            ),
        ];
        let mut times = [const { Vec::new() }; 4];
        let mut greatest = 0;
        // Round 0 fills the cache of components and the kernel's page cache.
        for round in 0..=STARTS {
            for (at, (what, arguments)) in commands.iter().enumerate() {
                // This one takes about a second each time.
                if arguments.contains(&"--no-cache") && round > STARTS / 4 {
                    continue;
                }
                let mut command = self.workshop.command(arguments)?;
                command.stdin(Stdio::null());
                let begin = Instant::now();
                let done = command.output()?;
                let took = begin.elapsed();
                let said = String::from_utf8_lossy(&done.stdout);
                ensure!(
                    done.status.success(),
                    "int-host {what}: {}{said}",
                    String::from_utf8_lossy(&done.stderr)
                );
                if what.contains("redis") {
                    let minted: i64 = said
                        .trim()
                        .parse()
                        .with_context(|| format!("{what}: {said}"))?;
                    ensure!(minted > greatest, "{what}: {minted} after {greatest}");
                    greatest = minted;
                }
                if round > 0 {
                    times[at].push(took.as_secs_f64() * 1000.0);
                }
            }
        }
        let rows = commands
            .iter()
            .zip(times)
            .enumerate()
            .map(|(at, ((what, _), times))| Row {
                what: format!("int-host, whole process: {what}"),
                unit: "ms",
                against: String::new(),
                goal: (at == 2).then_some(Goal::AtMost(20.0)),
                pairs: median(times.into_iter())
                    .map(|value| Pair::valid(value, None))
                    .into_iter()
                    .collect(),
            });
        Ok(rows.collect())
    }

    /// Measures the memory of `serve` before the first request and after load.
    fn memory(&mut self) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for engine in [Builtin::Memory, Builtin::Redis] {
            if !self.wants_on(Part::Memory, &[engine]) {
                continue;
            }
            let target = self.workshop.serve(self.store(engine)?, "resident", &[])?;
            let look = || {
                let bytes = resident(target.id()).context("the kernel does not report memory")?;
                anyhow::Ok(bytes as f64 / MIB)
            };
            let idle = look()?;
            let shape = Shape::plain(CONNECTIONS);
            // Memory may grow during the first load, but not during the second one.
            let first = self.run(&target, &shape);
            let loaded = look()?;
            let second = self.run(&target, &shape);
            let again = look()?;
            let engine = name(engine);
            rows.push(Row {
                what: format!("memory of an idle serve, {engine}"),
                unit: "MiB",
                against: String::new(),
                goal: Some(Goal::AtMost(40.0)),
                pairs: vec![Pair::valid(idle, None)],
            });
            rows.push(Row {
                what: format!("memory of serve after twice the load, {engine}"),
                unit: "MiB",
                against: format!("after {CONNECTIONS} connections"),
                goal: Some(Goal::RatioAtMost(1.1)),
                pairs: vec![Pair {
                    value: again,
                    yardstick: Some(loaded),
                    fault: fault(&[&first, &second]),
                }],
            });
        }
        Ok(rows)
    }
}

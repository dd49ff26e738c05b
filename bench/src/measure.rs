//! The measurements, their order, and their comparisons.

mod curves;
mod in_process;
mod ledger;
mod process;
mod quorum;
mod redis_wire;
mod rounds;
mod row;
mod rows;
mod under_spin;

pub use curves::{Curve, Point};
pub use row::{Goal, Pair, Row};

use crate::integers::Ledger;
use crate::load::{self, Expect, Load, Request};
use crate::machine::Machine;
use crate::stage::{Store, Target, Workshop, name};
use anyhow::bail;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use int_host::Builtin;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Which measurements to run, and for how long.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Measured time of each run
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: f64,
    /// How many times each row is measured, including its yardsticks
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Measure only these parts
    #[arg(long, value_name = "PART,…", value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Measure only these engines
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = engine)]
    pub engines: Vec<Builtin>,
    /// Folder for the report [default: bench in the target folder]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// One short round, to check that everything works; the numbers are not meaningful
    #[arg(long)]
    pub quick: bool,
}

/// The parts that can be selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// `serve` on 100 connections: throughput and latency.
    Serve,
    /// `serve` on one connection.
    Single,
    /// `serve` with a backend that it reaches through TLS.
    Tls,
    /// `serve` with metrics.
    Metrics,
    /// The composed endpoint.
    Composed,
    /// The composed endpoint under Spin.
    Spin,
    /// Many integers per request.
    Integers,
    /// `Sequence::next` within one process.
    Tasks,
    /// The ledger.
    Ledger,
    /// `serve` over the Redis protocol, beside Redis.
    RedisWire,
    /// A quorum of three nodes.
    Quorum,
    /// A lease within one process.
    Lease,
    /// The duration of whole `int-host` processes.
    Starts,
    /// The memory of `serve`.
    Memory,
    /// Scaling over connections.
    Connections,
    /// Scaling over keys.
    Keys,
    /// Scaling over the count.
    Counts,
    /// Scaling over the value of the integers.
    Values,
}

fn engine(text: &str) -> Result<Builtin, String> {
    Builtin::named(text).ok_or_else(|| format!("choose from {}", Builtin::ALL.map(name).join(", ")))
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.1..=600.0).contains(seconds))
        .ok_or_else(|| "expected a number of seconds from 0.1 to 600".to_owned())
}

/// The results of all measurements.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// The measured time of each run in seconds.
    pub seconds: f64,
    /// The number of rounds in which the rows were measured.
    pub rounds: u32,
    /// The table of targets.
    pub rows: Vec<Row>,
    /// How the cost grows.
    pub curves: Vec<Curve>,
    /// What was skipped, with the reason.
    pub skipped: Vec<String>,
    /// Every single run.
    pub runs: Vec<Run>,
}

impl Report {
    /// All faults: runs with wrong responses, and servers that did not start. Empty when every number is
    /// valid.
    pub fn faults(&self) -> Vec<String> {
        self.runs
            .iter()
            .filter_map(|run| Some(format!("{}: {}", run.what, run.fault.as_ref()?)))
            .collect()
    }
}

/// One run of the load generator, or of calls in this process.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// What was loaded and how.
    pub what: String,
    /// The number of connections or tasks.
    pub connections: usize,
    /// The measured time in seconds.
    pub seconds: f64,
    /// The number of correct responses.
    pub requests: u64,
    /// The number of integers in them.
    pub integers: u64,
    /// Correct responses per second.
    pub rate: f64,
    /// Integers per second.
    pub integers_rate: f64,
    /// The median latency, in microseconds.
    pub p50_us: f64,
    /// The 99th percentile of latency, in microseconds.
    pub p99_us: f64,
    /// The maximum latency, in microseconds.
    pub max_us: f64,
    /// The number of responses by status, except 200.
    pub statuses: BTreeMap<u16, u64>,
    /// The number of failed connections by reason.
    pub broken: BTreeMap<String, u64>,
    /// Why the run is invalid; None when all responses were correct.
    pub fault: Option<String>,
}

impl Run {
    /// A run that could not be made.
    fn failed(what: String, connections: usize, error: &anyhow::Error) -> Self {
        Self {
            what,
            connections,
            seconds: 0.0,
            requests: 0,
            integers: 0,
            rate: 0.0,
            integers_rate: 0.0,
            p50_us: 0.0,
            p99_us: 0.0,
            max_us: 0.0,
            statuses: BTreeMap::new(),
            broken: BTreeMap::new(),
            fault: Some(format!("{error:#}")),
        }
    }
}

/// Runs all measurements that the options select.
///
/// # Errors
/// When a server that is not optional cannot be started.
pub fn all(options: &Options) -> anyhow::Result<Report> {
    let mut bench = Bench::new(options)?;
    let rows = bench.rows()?;
    let curves = bench.curves()?;
    bench.progress.finish_and_clear();
    Ok(Report {
        machine: Machine::this(),
        seconds: bench.seconds,
        rounds: bench.rounds,
        rows,
        curves,
        skipped: bench.skipped,
        runs: bench.runs,
    })
}

/// The state of the benchmark.
struct Bench {
    seconds: f64,
    rounds: u32,
    quick: bool,
    only: Vec<Part>,
    workshop: Workshop,
    stores: Vec<Store>,
    ledger: Ledger,
    runs: Vec<Run>,
    skipped: Vec<String>,
    progress: ProgressBar,
}

/// How a target is loaded.
#[derive(Clone, Debug)]
struct Shape {
    connections: usize,
    /// Added to the target's name in the report.
    label: String,
    requests: Vec<Request>,
    expect: Expect,
}

/// About how much longer the warm-up must be for each further sequence, whose first response takes longer.
const FIRST: Duration = Duration::from_micros(300);

impl Shape {
    /// One integer per request.
    fn plain(connections: usize) -> Self {
        Self::counting(connections, 1)
    }

    /// `count` integers per request.
    fn counting(connections: usize, count: u32) -> Self {
        Self {
            connections,
            label: String::new(),
            requests: vec![match count {
                1 => Request::get("/"),
                _ => Request::get(&format!("/?count={count}")),
            }],
            expect: Expect::Lines(count),
        }
    }
}

impl Bench {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let progress = ProgressBar::new_spinner();
        progress.set_style(ProgressStyle::with_template(
            "{spinner} {elapsed_precise} {msg}",
        )?);
        let mut bench = Self {
            seconds: if options.quick { 0.3 } else { options.seconds },
            rounds: if options.quick { 1 } else { options.rounds },
            quick: options.quick,
            only: options.only.clone(),
            workshop: Workshop::new()?,
            stores: Vec::new(),
            ledger: Ledger::default(),
            runs: Vec::new(),
            skipped: Vec::new(),
            progress,
        };
        for engine in Builtin::ALL {
            if !options.engines.is_empty() && !options.engines.contains(&engine) {
                continue;
            }
            if let Some(why) = Store::missing(engine) {
                bench.skipped.push(format!("{}: {why}", name(engine)));
                continue;
            }
            bench.tell(&format!("starting the backend of {}", name(engine)));
            bench.stores.push(Store::start(engine)?);
        }
        Ok(bench)
    }

    /// Whether a part is selected.
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Whether a part is selected and all of these engines run.
    fn wants_on(&self, part: Part, engines: &[Builtin]) -> bool {
        let runs = |engine| self.stores.iter().any(|store| store.engine == engine);
        self.wants(part) && engines.iter().all(|engine| runs(*engine))
    }

    fn store(&self, engine: Builtin) -> anyhow::Result<&Store> {
        match self.stores.iter().find(|store| store.engine == engine) {
            Some(store) => Ok(store),
            None => bail!("{} is not running here", name(engine)),
        }
    }

    fn tell(&self, what: &str) {
        self.progress.set_message(what.to_owned());
        self.progress.tick();
        // The progress bar is hidden when standard error is not a terminal.
        if self.progress.is_hidden() {
            eprintln!("{what}");
        }
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// Loads a target and checks the responses.
    fn run(&mut self, target: &Target, shape: &Shape) -> Run {
        let what = format!("{}{}", target.name, shape.label);
        let connections = shape.connections;
        self.tell(&format!("{what}, {connections} connections"));
        let extra = u32::try_from(shape.requests.len() - 1).unwrap_or(u32::MAX);
        let load = Load {
            port: target.port(),
            connections,
            // Long enough for every one of many sequences to be used.
            warm_up: (self.time() / 5).min(Duration::from_secs(1)) + FIRST * extra,
            time: self.time(),
            requests: shape.requests.clone(),
            expect: target.constant().map_or(shape.expect, Expect::Constant),
        };
        let run = match load::run(&load) {
            Err(error) => Run::failed(what, connections, &error),
            Ok(outcome) => {
                let unjust = self.judge(target, &load, &outcome);
                let micros = |nanos: u64| nanos as f64 / 1000.0;
                Run {
                    what,
                    connections,
                    seconds: outcome.time.as_secs_f64(),
                    requests: outcome.requests,
                    integers: outcome.integers,
                    rate: outcome.rate(),
                    integers_rate: outcome.integers_rate(),
                    p50_us: micros(outcome.latency.value_at_quantile(0.5)),
                    p99_us: micros(outcome.latency.value_at_quantile(0.99)),
                    max_us: micros(outcome.latency.max()),
                    fault: outcome.fault().or(unjust),
                    statuses: outcome.statuses,
                    broken: outcome.broken,
                }
            }
        };
        self.runs.push(run.clone());
        run
    }

    /// Checks the received integers and returns the first violation.
    fn judge(&mut self, target: &Target, load: &Load, outcome: &load::Outcome) -> Option<String> {
        let sequence = target.sequence.as_ref()?;
        for (request, taken) in load.requests.iter().zip(&outcome.taken) {
            let mut name = format!("{}/{}", sequence.name, request.key());
            if sequence.forgets {
                name = format!("{name}/{}", target.id());
            }
            if let Err(why) = self.ledger.note(&name, sequence.lattice, taken) {
                return Some(why);
            }
        }
        None
    }
}

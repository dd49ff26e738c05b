//! What is measured, in which order, and what is compared with what.

mod curves;
mod in_process;
mod process;
mod rounds;
mod row;

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

/// What to measure, and for how long.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How long each run is counted
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: f64,
    /// How many times each row is measured, yardsticks included
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Only these parts
    #[arg(long, value_name = "PART,…", value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Only these engines
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = engine)]
    pub engines: Vec<Builtin>,
    /// Where the report goes [default: bench in the target folder]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// One short round, to see that everything works; its numbers mean nothing
    #[arg(long)]
    pub quick: bool,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// `serve` on 100 connections: throughput and latency.
    Serve,
    /// `serve` on one connection.
    Single,
    /// The composed endpoint.
    Composed,
    /// The composed endpoint under Spin.
    Spin,
    /// Many integers a request.
    Integers,
    /// `Sequence::next` in one process.
    Tasks,
    /// Whole processes of `int-host`.
    Starts,
    /// The memory of `serve`.
    Memory,
    /// Growth over connections.
    Connections,
    /// Growth over keys.
    Keys,
    /// Growth over the count.
    Counts,
    /// Growth over the value of the integers.
    Values,
}

fn engine(text: &str) -> Result<Builtin, String> {
    Builtin::named(text).ok_or_else(|| format!("choose from {}", Builtin::ALL.map(name).join(", ")))
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.1..=600.0).contains(seconds))
        .ok_or_else(|| "write a number of seconds, 0.1 to 600".to_owned())
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// How long each run was counted, in seconds.
    pub seconds: f64,
    /// How many rounds the rows were measured in.
    pub rounds: u32,
    /// The table of targets.
    pub rows: Vec<Row>,
    /// How cost grows.
    pub curves: Vec<Curve>,
    /// What was left out, with the reason.
    pub skipped: Vec<String>,
    /// Every run, as it was.
    pub runs: Vec<Run>,
}

impl Report {
    /// What was wrong: runs with wrong answers, and servers that did not start. Empty when every number
    /// can be believed.
    pub fn faults(&self) -> Vec<String> {
        self.runs
            .iter()
            .filter_map(|run| Some(format!("{}: {}", run.what, run.fault.as_ref()?)))
            .collect()
    }
}

/// One run of the load, or of calls in this process.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// What was loaded, and how.
    pub what: String,
    /// How many connections, or tasks.
    pub connections: usize,
    /// How long was counted, in seconds.
    pub seconds: f64,
    /// Right answers.
    pub requests: u64,
    /// Integers in them.
    pub integers: u64,
    /// Right answers a second.
    pub rate: f64,
    /// Integers a second.
    pub integers_rate: f64,
    /// The median latency, in microseconds.
    pub p50_us: f64,
    /// Of 100 requests, one took longer, in microseconds.
    pub p99_us: f64,
    /// The longest latency, in microseconds.
    pub max_us: f64,
    /// Answers by status, other than 200.
    pub statuses: BTreeMap<u16, u64>,
    /// Connections that broke, by reason.
    pub broken: BTreeMap<String, u64>,
    /// Why nothing is to be concluded from it; None when all answers were right.
    pub fault: Option<String>,
}

impl Run {
    /// One that did not come about.
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

/// Measures everything that the options choose.
///
/// # Errors
/// When a server cannot be started that every machine can have.
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

/// The state of the measuring.
struct Bench {
    seconds: f64,
    rounds: u32,
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

/// About how long the first answer of one more sequence takes, when many are asked.
const FIRST: Duration = Duration::from_micros(300);

impl Shape {
    /// One integer a request.
    fn plain(connections: usize) -> Self {
        Self::counting(connections, 1)
    }

    /// So many integers a request.
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
            only: options.only.clone(),
            workshop: Workshop::default(),
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
            bench.tell(&format!("starting what {} needs", name(engine)));
            bench.stores.push(Store::start(engine)?);
        }
        Ok(bench)
    }

    /// Whether a part is to be measured.
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Whether a part is to be measured that is about these engines.
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
        // Where standard error is no terminal, the bar is not shown.
        if self.progress.is_hidden() {
            eprintln!("{what}");
        }
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// Loads a target and checks what came.
    fn run(&mut self, target: &Target, shape: &Shape) -> Run {
        let what = format!("{}{}", target.name, shape.label);
        let connections = shape.connections;
        self.tell(&format!("{what}, {connections} connections"));
        let extra = u32::try_from(shape.requests.len() - 1).unwrap_or(u32::MAX);
        let load = Load {
            port: target.port(),
            connections,
            // Long enough for every sequence to be asked, where there are many.
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

    /// What is wrong with the integers that came.
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

//! The rows about the Redis protocol, measured with `redis-benchmark` beside Redis itself.
//!
//! With pipelines the client is often the limit, and a server that is faster then takes smaller batches instead of less
//! time. So these rows are measured once more with all processes on one processor: there the servers' processor
//! time for a command says what it costs, whoever is the limit.
//!
//! In front of a disk the client is not the limit, so there the rate counts.

use super::rows::{Description, Rows};
use super::{Bench, Goal, Pair};
use crate::stage::name;
use anyhow::{Context, bail};
use int_host::Builtin;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::process::Command;
use std::time::Duration;
use testbed::cli::{Place, Serving};
use testbed::port;
use testbed::redis::{Options, Redis};

/// The number of connections.
const CLIENTS: &str = "50";

/// How many commands of a connection are under way at a time, with pipelines.
const PIPELINE: u32 = 16;

/// How many commands the warm-up of each server has.
const WARM_UP: u64 = 50_000;

/// A server that speaks the Redis protocol.
enum Server {
    Redis(Redis),
    IntHost { serving: Serving, port: u16 },
}

impl Server {
    fn redis(extra: &[&str]) -> anyhow::Result<Self> {
        let extra = extra.iter().map(ToString::to_string).collect();
        Ok(Self::Redis(Redis::with(Options {
            extra,
            ..Options::default()
        })?))
    }

    /// `int-host serve` on an engine.
    fn serve(place: &Place, engine: Builtin, options: &[&str]) -> anyhow::Result<Self> {
        let port = port::free()?;
        let listen = format!("resp://127.0.0.1:{port}");
        let mut arguments = vec!["--engine", name(engine), "--listen", &listen];
        arguments.extend(["--increment", "1"]);
        arguments.extend(options);
        let serving = place.serve(&arguments)?;
        Ok(Self::IntHost { serving, port })
    }

    fn port(&self) -> u16 {
        match self {
            Self::Redis(redis) => redis.port(),
            Self::IntHost { port, .. } => *port,
        }
    }

    fn processor_time(&self) -> anyhow::Result<Duration> {
        Ok(match self {
            Self::Redis(redis) => redis.processor_time()?,
            Self::IntHost { serving, .. } => serving.processor_time()?,
        })
    }

    /// Lets clients increment one key.
    fn measure(&self, commands: u64, pipeline: u32) -> anyhow::Result<Outcome> {
        let before = self.processor_time()?;
        let rate = increment(self.port(), commands, pipeline)?;
        let spent = self.processor_time()?.saturating_sub(before);
        Ok(Outcome {
            rate,
            micros: spent.as_secs_f64() * 1e6 / commands as f64,
        })
    }
}

/// What a run has shown of one server.
struct Outcome {
    /// Commands per second.
    rate: f64,
    /// The server's processor time for a command, in microseconds.
    micros: f64,
}

/// Runs `redis-benchmark`, and returns the commands per second.
fn increment(port: u16, commands: u64, pipeline: u32) -> anyhow::Result<f64> {
    let output = Command::new("redis-benchmark")
        .args(["-p", &port.to_string(), "-c", CLIENTS])
        .args(["-P", &pipeline.to_string(), "-n", &commands.to_string()])
        .args(["--csv", "INCR", "integers"])
        .output()
        .context("starting redis-benchmark, which Debian's package redis-tools has")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // A line of names, then: "INCR integers","1234.56",…
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("\"INCR integers\",\"")?.split('"').next())
        .and_then(|rate| rate.parse().ok());
    match rate {
        Some(rate) if output.status.success() => Ok(rate),
        _ => bail!(
            "redis-benchmark failed: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// Where processes run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Processors {
    /// Where the kernel puts them.
    All,
    /// All on one.
    One,
}

impl Processors {
    /// What a row says of them.
    fn label(self) -> &'static str {
        match self {
            Self::All => "",
            Self::One => ", on one processor: its time for a command",
        }
    }

    /// Whether a comparison means something there.
    fn fit(self, row: &Comparison<'_>) -> bool {
        match self {
            Self::All => true,
            Self::One => row.pipeline > 1,
        }
    }

    fn restrict(self) -> anyhow::Result<Option<Restriction>> {
        match self {
            Self::All => Ok(None),
            Self::One => Restriction::to_one().map(Some),
        }
    }
}

/// Keeps this process, and those that it starts, on one processor. Undone on drop.
struct Restriction(CpuSet);

impl Restriction {
    /// To the first one that this process may use.
    fn to_one() -> anyhow::Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|cpu| before.is_set(*cpu));
        let mut one = CpuSet::new();
        one.set(usable.next().context("no processor")?);
        restrict(&one)?;
        Ok(Self(before))
    }
}

impl Drop for Restriction {
    fn drop(&mut self) {
        // What follows would be slower, and nothing else.
        let _ = restrict(&self.0);
    }
}

/// Sets the processors of all threads of this process: a process is started by one of them, and runs where that one may.
fn restrict(processors: &CpuSet) -> anyhow::Result<()> {
    for thread in std::fs::read_dir("/proc/self/task")? {
        let name = thread?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let thread = number.and_then(Pid::from_raw).context("a thread")?;
        match sched_setaffinity(Some(thread), processors) {
            // It has ended meanwhile.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// All servers of these rows.
struct Servers {
    redis: Server,
    /// Redis that syncs each write.
    durable: Server,
    memory: Server,
    /// In front of `redis`.
    front: Server,
    /// On the embedded store.
    store: Server,
}

impl Servers {
    fn start(place: &Place) -> anyhow::Result<Self> {
        let redis = Server::redis(&["--appendonly", "no"])?;
        let dsn = format!("redis://127.0.0.1:{}", redis.port());
        let data = place.file("store");
        let data = data.to_str().context("the path of temporary files")?;
        let servers = Self {
            redis,
            durable: Server::redis(&[])?,
            memory: Server::serve(place, Builtin::Memory, &[])?,
            front: Server::serve(place, Builtin::Redis, &["--dsn", &dsn])?,
            store: Server::serve(place, Builtin::Keyvalue, &["--data", data])?,
        };
        for server in [
            &servers.redis,
            &servers.durable,
            &servers.memory,
            &servers.front,
            &servers.store,
        ] {
            increment(server.port(), WARM_UP, PIPELINE)?;
        }
        Ok(servers)
    }

    fn comparisons(&self) -> [Comparison<'_>; 4] {
        let redis = (&self.redis, "Redis");
        [
            Comparison {
                engine: "memory",
                server: &self.memory,
                beside: redis,
                pipeline: 1,
                least: 0.9,
                slower: 10,
                waits_for_disk: false,
            },
            Comparison {
                engine: "memory",
                server: &self.memory,
                beside: redis,
                pipeline: PIPELINE,
                least: 1.2,
                slower: 1,
                waits_for_disk: false,
            },
            Comparison {
                engine: "redis",
                server: &self.front,
                beside: redis,
                pipeline: PIPELINE,
                least: 1.0,
                slower: 1,
                waits_for_disk: false,
            },
            Comparison {
                engine: "keyvalue",
                server: &self.store,
                beside: (&self.durable, "Redis, appendfsync always"),
                pipeline: PIPELINE,
                least: 1.5,
                slower: 2,
                waits_for_disk: true,
            },
        ]
    }
}

/// A server and its yardstick.
struct Comparison<'a> {
    engine: &'static str,
    server: &'a Server,
    /// The yardstick with its name.
    beside: (&'a Server, &'static str),
    /// How many commands of a connection are under way at a time.
    pipeline: u32,
    /// The ratio wanted: our commands per second by the yardstick's, or its time for a command by ours.
    least: f64,
    /// Roughly how many times as long a command takes as in the memory of Redis with pipelines.
    slower: u64,
    /// Whether both sync each write.
    waits_for_disk: bool,
}

impl Comparison<'_> {
    /// Whether the client is busy all the time, so that the rate says little about the servers.
    fn client_is_limit(&self) -> bool {
        self.pipeline > 1 && !self.waits_for_disk
    }
}

impl Bench {
    /// Measures each row once.
    ///
    /// # Errors
    /// When a process does not start, or `redis-benchmark` fails.
    pub(super) fn redis_wire(&self, rows: &mut Rows) -> anyhow::Result<()> {
        for processors in [Processors::All, Processors::One] {
            self.tell("starting servers of the Redis protocol");
            let _restricted = processors.restrict()?;
            let place = Place::new()?;
            let servers = Servers::start(&place)?;
            for comparison in servers.comparisons() {
                if processors.fit(&comparison) {
                    self.compare(&comparison, processors, rows)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the row of one comparison.
    fn compare(
        &self,
        row: &Comparison<'_>,
        processors: Processors,
        rows: &mut Rows,
    ) -> anyhow::Result<()> {
        let (engine, pipeline) = (row.engine, row.pipeline);
        let label = processors.label();
        let what = format!("Redis protocol, {engine}, pipelines of {pipeline}{label}");
        self.tell(&what);
        let commands = (self.seconds * 1e6) as u64 / row.slower;
        let (beside, against) = row.beside;
        let limit = beside.measure(commands, pipeline)?;
        let found = row.server.measure(commands, pipeline)?;
        if processors == Processors::One {
            let goal = Goal::RatioAtMost(1.0 / row.least);
            let pair = Pair::valid(found.micros, Some(limit.micros));
            rows.add(Description::with_goal(what, "µs", against, goal), pair);
            return Ok(());
        }
        let pair = Pair::valid(found.rate, Some(limit.rate));
        if row.client_is_limit() {
            rows.add(Description::informative(what, "commands/s", against), pair);
        } else {
            let goal = Goal::RatioAtLeast(row.least);
            rows.add(
                Description::with_goal(what, "commands/s", against, goal),
                pair,
            );
        }
        Ok(())
    }
}

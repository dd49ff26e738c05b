//! Calls within this process, without HTTP.

use super::{Bench, Run};
use crate::integers::{Lattice, Taken};
use crate::native::{self, Native};
use crate::stage::name;
use hdrhistogram::Histogram;
use int_host::runtime::{self, Options};
use int_host::{Builtin, Sequence};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testbed::backend;

/// The numbers of tasks that share a sequence.
const TASKS: [usize; 3] = [1, 100, 1024];

/// The result of [`Bench::tasks_on_redis`].
pub(super) struct Tasks {
    /// Sequential calls of the native client.
    pub(super) one_by_one: Run,
    /// One run for each number of tasks.
    pub(super) runs: Vec<Run>,
}

/// The result of one task.
struct Done {
    taken: Vec<i64>,
    latency: Histogram<u64>,
}

impl Bench {
    /// Measures sequential mints with the backend's native client. The round trip is 0 for an engine without
    /// a backend.
    pub(super) fn round_trip(&mut self, engine: Builtin) -> Run {
        let what = format!("round trip of {}", name(engine));
        let time = self.time() / 3;
        self.tell(&what);
        let run = match self.native_calls(engine, time) {
            Ok(done) => self.finish(what, 1, time, engine, vec![done], "trip"),
            Err(error) => Run::failed(what, 1, &error),
        };
        let run = match engine {
            // An addition in this process is not a round trip.
            Builtin::Memory => Run { p50_us: 0.0, ..run },
            _ => run,
        };
        self.runs.push(run.clone());
        run
    }

    /// Measures [`Sequence::next`] on Redis with various numbers of tasks, and the native client.
    pub(super) fn tasks_on_redis(&mut self) -> anyhow::Result<Tasks> {
        let one_by_one = self.round_trip(Builtin::Redis);
        let dsn = self.store(Builtin::Redis)?.dsn();
        let mut runs = Vec::new();
        for tasks in TASKS {
            let what = format!("Sequence::next on redis, {tasks} tasks");
            self.tell(&what);
            let time = self.time();
            let host = backend::host(None)?;
            let done = runtime::start(&Options::default())?.block_on(async {
                let sequence = backend::open(&host, &Builtin::Redis.into(), &dsn, "tasks").await?;
                calls(&sequence, tasks, time).await
            });
            let run = match done {
                Ok(done) => self.finish(what, tasks, time, Builtin::Redis, done, "tasks"),
                Err(error) => Run::failed(what, tasks, &error),
            };
            self.runs.push(run.clone());
            runs.push(run);
        }
        Ok(Tasks { one_by_one, runs })
    }

    fn native_calls(&self, engine: Builtin, time: Duration) -> anyhow::Result<Done> {
        let place = self.store(engine)?.place("trip");
        runtime::start(&Options::default())?.block_on(async {
            let native = Native::connect(name(engine), &place, "trip").await?;
            // The first call may create a row.
            native.next(1).await?;
            let mut done = Done::new()?;
            let begin = Instant::now();
            let mut before = begin;
            while before - begin < time {
                let span = native.next(1).await?;
                let now = Instant::now();
                done.note(span.first(), now - before);
                before = now;
            }
            Ok(done)
        })
    }

    fn finish(
        &mut self,
        what: String,
        connections: usize,
        time: Duration,
        engine: Builtin,
        done: Vec<Done>,
        key: &str,
    ) -> Run {
        let mut taken = Taken::default();
        let mut latency = Histogram::<u64>::new(3).unwrap_or_else(|_| unreachable!());
        for done in done {
            done.taken
                .into_iter()
                .for_each(|value| taken.add_one(value));
            // This cannot fail, since both histograms have the same precision.
            let _ = latency.add(done.latency);
        }
        let fault = match (engine, native::lattice(engine)) {
            // Each client of the memory engine has its own sequence.
            (Builtin::Memory, _) | (_, Err(_)) => None,
            (_, Ok(lattice)) => {
                let lattice = Lattice {
                    increment: lattice.increment(),
                    offset: lattice.offset(),
                };
                let sequence = format!("{}/{key}", name(engine));
                self.ledger.note(&sequence, lattice, &taken).err()
            }
        };
        let requests = taken.count();
        let rate = requests as f64 / time.as_secs_f64();
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        Run {
            what,
            connections,
            seconds: time.as_secs_f64(),
            requests,
            integers: requests,
            rate,
            integers_rate: rate,
            p50_us: micros(latency.value_at_quantile(0.5)),
            p99_us: micros(latency.value_at_quantile(0.99)),
            max_us: micros(latency.max()),
            statuses: BTreeMap::new(),
            broken: BTreeMap::new(),
            fault,
        }
    }
}

impl Done {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            taken: Vec::new(),
            latency: Histogram::new(3)?,
        })
    }

    fn note(&mut self, value: i64, took: Duration) {
        self.taken.push(value);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // The histogram grows as needed.
        let _ = self.latency.record(nanos);
    }
}

/// Lets `tasks` tasks mint one integer after another. The latency of single calls is not measured, since
/// reading the clock would take a fifth of the measured time.
async fn calls(sequence: &Sequence, tasks: usize, time: Duration) -> anyhow::Result<Vec<Done>> {
    sequence.next(1).await?;
    let over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (sequence, over) = (sequence.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut done = Done::new()?;
                while !over.load(Ordering::Relaxed) {
                    done.taken.push(sequence.next(1).await?.first());
                }
                anyhow::Ok(done)
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    let mut all = Vec::with_capacity(tasks.len());
    for task in tasks {
        all.push(task.await??);
    }
    Ok(all)
}

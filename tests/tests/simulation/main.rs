//! A simulation of a quorum: the nodes and the engine as they are, on a simulated network and virtual time. Everything that
//! happens follows from a seed.
//!
//! `SEED=123` makes the run of one seed and prints its events; `SEEDS=10000` makes that many runs. `MISTAKE=NoVector` makes
//! them with a mistake.

mod chaos;
mod client;
mod history;
mod machine;
mod mistake;
mod network;
mod random;
mod run;
mod world;

use mistake::Mistake;
use run::{Outcome, run};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{available_parallelism, scope};
use std::time::Instant;

/// How many runs the ordinary test makes.
const SEEDS: u64 = 80;

/// Among how many runs each mistake has to be found.
const WITHIN: u64 = 300;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number")),
    )
}

/// Makes the runs of many seeds on all processors until one of them is found, and returns that one's outcome, and how many
/// mints succeeded.
fn search(
    seeds: Range<u64>,
    mistake: Option<Mistake>,
    found: impl Fn(&Outcome) -> bool + Sync,
) -> (Option<Outcome>, usize) {
    let next = AtomicU64::new(seeds.start);
    let mints = AtomicUsize::new(0);
    let first: Mutex<Option<Outcome>> = Mutex::new(None);
    let threads = available_parallelism().map_or(1, usize::from);
    scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let outcome = run(seed, mistake);
                    mints.fetch_add(outcome.mints, Ordering::Relaxed);
                    if found(&outcome) {
                        next.store(seeds.end, Ordering::Relaxed);
                        let mut first = first.lock().expect("no panic");
                        if first.as_ref().is_none_or(|first| seed < first.seed) {
                            *first = Some(outcome);
                        }
                    }
                }
            });
        }
    });
    (first.into_inner().expect("no panic"), mints.into_inner())
}

#[test]
fn no_integer_is_handed_out_twice() {
    let one = number("SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let begun = Instant::now();
    let mistake = Mistake::ALL
        .into_iter()
        .find(|mistake| std::env::var("MISTAKE") == Ok(format!("{mistake:?}")));
    let (wrong, mints) = search(seeds.clone(), mistake, |outcome| {
        one.is_some() || !outcome.faults.is_empty()
    });
    if let Some(Outcome {
        seed, faults, text, ..
    }) = wrong
    {
        println!("{text}\n{}", faults.join("\n"));
        assert!(faults.is_empty(), "repeat this run with SEED={seed}");
    }
    let runs = seeds.end - seeds.start;
    println!("{runs} runs with {mints} mints in {:?}", begun.elapsed());
    assert!(mints > 0);
}

#[test]
fn a_run_can_be_repeated() {
    for seed in 0..3 {
        let (first, second) = (run(seed, None).text, run(seed, None).text);
        let differs = first.lines().zip(second.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "in the run with SEED={seed}");
        assert_eq!(first.len(), second.len());
    }
}

#[test]
fn mistakes_are_found() {
    for mistake in Mistake::ALL {
        let begun = Instant::now();
        // The runs before do not find it, and take long.
        let from = match mistake {
            Mistake::EarlyMarks => 110,
            _ => 0,
        };
        let (first, _) = search(from..WITHIN, Some(mistake), Outcome::is_wrong);
        let first = first.unwrap_or_else(|| panic!("{mistake:?} was not found"));
        let Outcome { seed, faults, .. } = first;
        println!(
            "{mistake:?}: SEED={seed}, {:?}: {}",
            begun.elapsed(),
            faults[0]
        );
    }
}

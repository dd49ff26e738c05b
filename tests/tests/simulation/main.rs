//! A simulation of a quorum: the nodes and the engine as they are, on a simulated network and virtual time. Everything that
//! happens follows from a seed.
//!
//! `SEED=123` makes the run of one seed and prints its events; `SEEDS=10000` makes that many runs.

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
use std::time::Instant;

/// How many runs the ordinary test makes.
const SEEDS: u64 = 100;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number")),
    )
}

fn fail(outcome: &Outcome) -> ! {
    let Outcome {
        seed, faults, text, ..
    } = outcome;
    panic!(
        "{text}\n{}\nThis is the run with SEED={seed}",
        faults.join("\n")
    )
}

#[test]
fn no_integer_is_handed_out_twice() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let begun = Instant::now();
    let mut mints = 0;
    let runs = seeds.end - seeds.start;
    for seed in seeds {
        let outcome = run(seed, None);
        mints += outcome.mints;
        if !outcome.faults.is_empty() {
            fail(&outcome);
        }
        if runs == 1 {
            println!("{}", outcome.text);
        }
    }
    println!("{runs} runs with {mints} mints in {:?}", begun.elapsed());
    assert!(mints > 0);
}

#[test]
fn a_run_can_be_repeated() {
    for seed in 0..5 {
        let (first, second) = (run(seed, None).text, run(seed, None).text);
        let differs = first.lines().zip(second.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "in the run with SEED={seed}");
        assert_eq!(first.len(), second.len());
    }
}

#[test]
fn mistakes_are_found() {
    for mistake in Mistake::ALL {
        let found = (0..500).find(|seed| {
            let outcome = run(*seed, Some(mistake));
            let twice = outcome
                .faults
                .iter()
                .find(|f| !f.contains("the run failed"));
            if let Some(fault) = twice {
                println!("{mistake:?}: seed {seed}: {fault}");
            }
            twice.is_some()
        });
        if found.is_none() {
            println!("{mistake:?} was not found");
        }
    }
}

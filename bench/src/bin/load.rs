//! Loads one server and prints the result: a single run of what `make bench` does.

use anyhow::{Context, bail};
use bench::integers::{Lattice, Ledger};
use bench::load::{Expect, Load, Request, run};
use bench::yardstick::CONSTANT;
use clap::Parser;
use std::time::Duration;

/// Load a server on 127.0.0.1 over HTTP and check its responses
#[derive(Parser)]
struct Arguments {
    /// Port of the server
    #[arg(long)]
    port: u16,
    /// Number of connections
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// Measured time
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Integers per request
    #[arg(long, default_value_t = 1, conflicts_with = "constant")]
    count: u32,
    /// Remainder of every integer when divided by 2
    #[arg(long, default_value_t = 0)]
    offset: i64,
    /// Expect the constant of the yardsticks instead of integers
    #[arg(long)]
    constant: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let load = Load {
        port: arguments.port,
        connections: arguments.connections,
        warm_up: Duration::from_millis(200),
        time: Duration::try_from_secs_f64(arguments.seconds).context("--seconds")?,
        requests: vec![match arguments.count {
            1 => Request::get("/"),
            count => Request::get(&format!("/?count={count}")),
        }],
        expect: if arguments.constant {
            Expect::Constant(CONSTANT)
        } else {
            Expect::Lines(arguments.count)
        },
    };
    let outcome = run(&load)?;
    let at = |quantile| Duration::from_nanos(outcome.latency.value_at_quantile(quantile));
    println!(
        "{:.0} requests/s, {:.0} integers/s, p50 {:?}, p99 {:?}, max {:?}",
        outcome.rate(),
        outcome.integers_rate(),
        at(0.5),
        at(0.99),
        at(1.0),
    );
    if let Some(fault) = outcome.fault() {
        bail!("{fault}");
    }
    let lattice = Lattice {
        increment: 2,
        offset: arguments.offset,
    };
    let mut ledger = Ledger::default();
    for taken in &outcome.taken {
        if let Err(why) = ledger.note("loaded", lattice, taken) {
            bail!("{why}");
        }
    }
    Ok(())
}

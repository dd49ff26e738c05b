//! Processes of `int-host --continuous`, as their users see them.

use crate::integers::{Ledger, Taken};
use crate::stage::Sequence;
use anyhow::{Context, Error};
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use testbed::process::Process;

/// How long a process may take to mint its first integer. Some compile the engine first.
const START: Duration = Duration::from_secs(60);

/// What a client got, and when.
struct Client(Vec<(Instant, i64)>);

/// What clients got while they were measured.
pub struct Minted {
    clients: Vec<Client>,
    begin: Instant,
    /// When half of the time had passed.
    middle: Instant,
    end: Instant,
}

/// Lets clients mint for this time, once all of them have begun. `halfway` is done in the middle of it.
///
/// # Errors
/// When a client does not mint.
pub fn mint(
    commands: Vec<Command>,
    time: Duration,
    halfway: impl FnOnce(),
) -> anyhow::Result<Minted> {
    let (begun, begins) = channel();
    let mut processes = Vec::with_capacity(commands.len());
    let mut readers = Vec::with_capacity(commands.len());
    for mut command in commands {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Process::spawn(command)?;
        let stdout = process.child().stdout.take().context("its output")?;
        let begun = begun.clone();
        readers.push(thread::spawn(move || read(stdout, &begun)));
        processes.push(process);
    }
    for _ in &readers {
        let first = begins.recv_timeout(START);
        first.context("a client printed no integer within a minute")?;
    }
    let begin = Instant::now();
    thread::sleep(time / 2);
    let middle = Instant::now();
    halfway();
    thread::sleep(time / 2);
    let end = Instant::now();
    // Kills them, which ends their output.
    drop(processes);
    let clients = readers
        .into_iter()
        .map(|reader| reader.join().unwrap_or_else(|_| unreachable!()))
        .collect::<anyhow::Result<_>>()?;
    Ok(Minted {
        clients,
        begin,
        middle,
        end,
    })
}

fn read(stdout: ChildStdout, begun: &Sender<()>) -> anyhow::Result<Client> {
    let mut got = Vec::new();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let now = Instant::now();
        // The last line of a process that was killed may be cut off.
        let Some(integer) = std::str::from_utf8(&line).ok().and_then(|n| n.parse().ok()) else {
            break;
        };
        if got.is_empty() {
            // Nobody listens once another client has failed.
            let _ = begun.send(());
        }
        got.push((now, integer));
    }
    Ok(Client(got))
}

impl Minted {
    /// Checks that all integers are on the lattice, and that none was handed out twice.
    ///
    /// # Errors
    /// The first violation, with the integer.
    pub fn check(&self, sequence: &Sequence) -> anyhow::Result<()> {
        let mut taken = Taken::default();
        for Client(got) in &self.clients {
            // The last line may be one whose last digits are missing.
            let whole = got.len().saturating_sub(1);
            got.iter().take(whole).for_each(|(_, n)| taken.add_one(*n));
        }
        Ledger::default()
            .note(&sequence.name, sequence.lattice, &taken)
            .map_err(Error::msg)
    }

    /// How many integers all clients together got in a second.
    pub fn rate(&self) -> f64 {
        let within = |(at, _): &&(Instant, i64)| (self.begin..self.end).contains(at);
        let got = self.clients.iter().flat_map(|client| &client.0);
        got.filter(within).count() as f64 / (self.end - self.begin).as_secs_f64()
    }

    /// The longest time between two integers of a client, in the first half and in the second one.
    pub fn pauses(&self) -> [Duration; 2] {
        [self.begin..self.middle, self.middle..self.end].map(|half| {
            let pause = |client: &Client| {
                let within = client
                    .0
                    .iter()
                    .map(|(at, _)| *at)
                    .filter(|at| half.contains(at));
                let times: Vec<_> = [half.start]
                    .into_iter()
                    .chain(within)
                    .chain([half.end])
                    .collect();
                times.array_windows().map(|[a, b]| *b - *a).max()
            };
            self.clients
                .iter()
                .filter_map(pause)
                .max()
                .unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integers::Lattice;

    fn even() -> Sequence {
        Sequence {
            name: "a".into(),
            lattice: Lattice {
                increment: 2,
                offset: 0,
            },
            forgets: false,
        }
    }

    /// Two clients that got these integers after so many milliseconds of twenty.
    fn minted(clients: [&[(u64, i64)]; 2]) -> Minted {
        let begin = Instant::now();
        let after = |millis| begin + Duration::from_millis(millis);
        Minted {
            clients: clients
                .map(|got| Client(got.iter().map(|(at, n)| (after(*at), *n)).collect()))
                .into(),
            begin,
            middle: after(10),
            end: after(20),
        }
    }

    #[test]
    fn only_what_came_within_the_time_counts() {
        let got = minted([
            &[(0, 2), (4, 4), (15, 8), (21, 12)],
            &[(3, 6), (11, 10), (30, 14)],
        ]);
        assert!(got.check(&even()).is_ok());
        assert_eq!(got.rate().round(), 250.0);
        let [before, after] = got.pauses().map(|pause| pause.as_millis());
        assert_eq!((before, after), (7, 9));
    }

    #[test]
    fn an_integer_that_came_twice_is_a_fault() {
        let got = minted([&[(1, 2), (2, 4), (3, 6)], &[(1, 4), (2, 8)]]);
        assert!(got.check(&even()).is_err());
    }
}

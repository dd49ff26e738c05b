//! Loads a server over HTTP/1.1 from one thread, on connections that stay open.
//!
//! Each connection has one request under way at a time. The requests are bytes made beforehand, and
//! the answers are read with as little work as checking them takes, because the generator shares the machine
//! with what it measures.

mod answer;
mod connection;

use crate::integers::Taken;
use anyhow::{Context, bail};
use connection::Connection;
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// What the bodies of answers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// These bytes.
    Constant(&'static [u8]),
    /// So many integers, one a line; a single one has no newline after it.
    Lines(u32),
    /// A JSON object with `key`, `first`, `step` and `count`, which must be this.
    Spans(u32),
}

/// One run.
#[derive(Clone, Debug)]
pub struct Load {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// How many connections.
    pub connections: usize,
    /// Nothing is counted that is answered earlier.
    pub warm_up: Duration,
    /// How long answers are counted.
    pub time: Duration,
    /// What is sent: connections take these by turns, each beginning at another one.
    pub requests: Vec<Request>,
    /// What must come back.
    pub expect: Expect,
}

/// A request and the sequence that it mints from.
#[derive(Clone, Debug)]
pub struct Request {
    bytes: Vec<u8>,
    /// What the answer must call the sequence, where it names it.
    key: String,
}

impl Request {
    /// `GET` of a path.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path, String::new())
    }

    /// `POST` to the path of a sequence, whose answer names the key.
    pub fn next_of(key: &str) -> Self {
        Self::new("POST", &format!("/v1/sequences/{key}/next"), key.to_owned())
    }

    /// The sequence that the answer names; empty where it names none.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn new(method: &str, path: &str, key: String) -> Self {
        let length = match method {
            "POST" => "content-length: 0\r\n",
            _ => "",
        };
        let bytes = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{length}\r\n");
        Self {
            bytes: bytes.into_bytes(),
            key,
        }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How long was counted.
    pub time: Duration,
    /// Right answers within that time.
    pub requests: u64,
    /// Integers in them; 0 where the answer is a constant.
    pub integers: u64,
    /// How long right answers took, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Answers with another status than 200, warm-up included.
    pub statuses: BTreeMap<u16, u64>,
    /// Connections that broke, by reason.
    pub broken: BTreeMap<String, u64>,
    /// Requests that had no answer long after the end.
    pub unanswered: usize,
    /// The first answer with status 200 that was not as expected.
    pub wrong: Option<String>,
    /// Every integer that came, also in the warm-up and after the end: by index of the request.
    pub taken: Vec<Taken>,
}

impl Outcome {
    /// Right answers a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.time.as_secs_f64()
    }

    /// Integers a second.
    pub fn integers_rate(&self) -> f64 {
        self.integers as f64 / self.time.as_secs_f64()
    }

    /// Why this run is worth nothing; None when every answer was right. The integers are judged
    /// elsewhere.
    pub fn fault(&self) -> Option<String> {
        if let Some(wrong) = &self.wrong {
            return Some(wrong.clone());
        }
        if let Some((status, times)) = self.statuses.first_key_value() {
            return Some(format!("{times} answers had status {status}"));
        }
        if let Some((why, times)) = self.broken.first_key_value() {
            return Some(format!("{times} connections broke: {why}"));
        }
        if self.unanswered > 0 {
            return Some(format!("{} requests were never answered", self.unanswered));
        }
        (self.requests == 0).then(|| "nothing was answered in time".to_owned())
    }
}

/// How long to wait, after the end, for the answers to what was sent before it.
const DRAIN: Duration = Duration::from_secs(5);

/// How many times connections may break before the run is given up.
const PATIENCE: u64 = 100;

/// The longest latency that is told from longer ones, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// Runs the load.
///
/// # Errors
/// When no connection can be made.
pub fn run(load: &Load) -> anyhow::Result<Outcome> {
    Generator::connect(load)?.run()
}

struct Generator<'a> {
    load: &'a Load,
    poll: Poll,
    connections: Vec<Connection>,
    outcome: Outcome,
    /// Requests that were sent and not answered.
    under_way: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Counting,
    Draining,
}

impl<'a> Generator<'a> {
    fn connect(load: &'a Load) -> anyhow::Result<Self> {
        if load.requests.is_empty() || load.connections == 0 {
            bail!("there is nothing to send, or nothing to send it on");
        }
        let poll = Poll::new()?;
        let connections = (0..load.connections)
            .map(|index| open(load.port, &poll, index, index % load.requests.len()))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            load,
            poll,
            connections,
            outcome: Outcome {
                time: load.time,
                requests: 0,
                integers: 0,
                latency: Histogram::new_with_bounds(1_000, LONGEST, 3)?,
                statuses: BTreeMap::new(),
                broken: BTreeMap::new(),
                unanswered: 0,
                wrong: None,
                taken: vec![Taken::default(); load.requests.len()],
            },
            under_way: 0,
            phase: Phase::WarmUp,
        })
    }

    fn run(mut self) -> anyhow::Result<Outcome> {
        let mut now = Instant::now();
        for index in 0..self.connections.len() {
            self.send(index, now)?;
        }
        let mut events = Events::with_capacity(1024);
        let mut end = now + self.load.warm_up;
        let mut counting_since = now;
        loop {
            while now >= end {
                match self.phase {
                    Phase::WarmUp => {
                        self.phase = Phase::Counting;
                        counting_since = now;
                        end = now + self.load.time;
                    }
                    Phase::Counting => {
                        self.phase = Phase::Draining;
                        self.outcome.time = now - counting_since;
                        end = now + DRAIN;
                    }
                    Phase::Draining => {
                        self.outcome.unanswered = self.under_way;
                        return Ok(self.outcome);
                    }
                }
            }
            if self.phase == Phase::Draining && self.under_way == 0 {
                return Ok(self.outcome);
            }
            match self.poll.poll(&mut events, Some(end - now)) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => other?,
            }
            // One look at the clock after each answer; it is the beginning of the next request.
            now = Instant::now();
            for event in &events {
                let index = event.token().0;
                if event.is_writable() {
                    self.write(index)?;
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    now = self.read(index, now)?;
                }
            }
        }
    }

    fn send(&mut self, index: usize, now: Instant) -> anyhow::Result<()> {
        let connection = &mut self.connections[index];
        let requests = &self.load.requests;
        connection.begin(
            (connection.request + self.load.connections) % requests.len(),
            now,
        );
        self.under_way += 1;
        self.write(index)
    }

    fn write(&mut self, index: usize) -> anyhow::Result<()> {
        let connection = &mut self.connections[index];
        let bytes = &self.load.requests[connection.request].bytes;
        match connection.write(bytes) {
            Ok(()) => Ok(()),
            Err(error) => self.broke(index, &error.to_string()),
        }
    }

    /// Takes the answer, if it is whole, and sends the next request. Returns the time.
    fn read(&mut self, index: usize, now: Instant) -> anyhow::Result<Instant> {
        let connection = &mut self.connections[index];
        let answer = match connection.read() {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(now),
            Err(error) => {
                self.broke(index, &error.to_string())?;
                return Ok(now);
            }
        };
        let now = Instant::now();
        let request = connection.request;
        self.under_way -= 1;
        let took = now.saturating_duration_since(connection.began);
        if answer.status == 200 {
            let body = connection.body(&answer);
            let taken = &mut self.outcome.taken[request];
            let key = &self.load.requests[request].key;
            match answer::integers(body, self.load.expect, key, taken) {
                Ok(span) => {
                    // What one connection gets rises: it asks again after it was answered. That holds for
                    // each sequence by itself.
                    if let (Some(span), 1) = (span, self.load.requests.len()) {
                        if span.first <= connection.greatest {
                            let after = connection.greatest;
                            self.wrong(format!(
                                "a connection was given {} after {after}",
                                span.first
                            ));
                        }
                        self.connections[index].greatest = span.last;
                    }
                    if self.phase == Phase::Counting {
                        self.outcome.requests += 1;
                        self.outcome.integers += span.map_or(0, |span| u64::from(span.count));
                        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                        self.outcome.latency.saturating_record(nanos);
                    }
                }
                Err(why) => self.wrong(why),
            }
        } else {
            *self.outcome.statuses.entry(answer.status).or_default() += 1;
        }
        let connection = &mut self.connections[index];
        connection.done(&answer);
        if answer.close {
            self.connections[index] =
                open(self.load.port, &self.poll, index, request).context("connecting again")?;
        }
        if self.phase != Phase::Draining {
            self.send(index, now)?;
        }
        Ok(now)
    }

    fn wrong(&mut self, why: String) {
        self.outcome.wrong.get_or_insert(why);
    }

    /// Opens the connection anew; its request is lost.
    fn broke(&mut self, index: usize, why: &str) -> anyhow::Result<()> {
        if self.connections[index].is_busy() {
            self.under_way -= 1;
        } else if self.phase == Phase::Draining {
            // Servers may end connections that they have answered on.
            return Ok(());
        }
        *self.outcome.broken.entry(why.to_owned()).or_default() += 1;
        let broken: u64 = self.outcome.broken.values().sum();
        if broken > PATIENCE {
            bail!("{broken} connections broke, the last one: {why}");
        }
        let request = self.connections[index].request;
        self.connections[index] =
            open(self.load.port, &self.poll, index, request).context("connecting again")?;
        match self.phase {
            Phase::Draining => Ok(()),
            _ => self.send(index, Instant::now()),
        }
    }
}

fn open(port: u16, poll: &Poll, index: usize, request: usize) -> anyhow::Result<Connection> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Connection::open(address, poll.registry(), Token(index), request)
        .with_context(|| format!("connecting to {address}"))
}

#[cfg(test)]
mod tests;

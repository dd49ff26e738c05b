//! A load generator for HTTP/1.1 on one thread, with persistent connections.
//!
//! Each connection has one request in flight at a time. Requests are encoded in advance, and responses are
//! parsed only as far as the checks need it, because the generator shares the machine with the server that it
//! measures.

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

/// The expected bodies of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// These bytes.
    Constant(&'static [u8]),
    /// This many integers, one per line; a single one has no trailing newline.
    Lines(u32),
    /// A JSON object with `key`, `first`, `step` and `count`, where `count` is this.
    Spans(u32),
}

/// The parameters of a run.
#[derive(Clone, Debug)]
pub struct Load {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The number of connections.
    pub connections: usize,
    /// Responses during this time are not counted.
    pub warm_up: Duration,
    /// How long responses are counted after the warm-up.
    pub time: Duration,
    /// The requests. Each connection cycles through them, starting at a different one.
    pub requests: Vec<Request>,
    /// The expected responses.
    pub expect: Expect,
}

/// A request and the sequence that it mints from.
#[derive(Clone, Debug)]
pub struct Request {
    bytes: Vec<u8>,
    /// The key that the response must contain; empty if responses contain none.
    key: String,
}

impl Request {
    /// A `GET` request for a path.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path, String::new())
    }

    /// A `POST` request to mint from a sequence, whose response contains the key.
    pub fn next_of(key: &str) -> Self {
        Self::new("POST", &format!("/v1/sequences/{key}/next"), key.to_owned())
    }

    /// The key in the response; empty if it contains none.
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

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How long responses were counted.
    pub time: Duration,
    /// The number of correct responses within that time.
    pub requests: u64,
    /// The number of integers in them; 0 when the response is a constant.
    pub integers: u64,
    /// The latency of correct responses, in nanoseconds.
    pub latency: Histogram<u64>,
    /// The number of responses by status, except 200, including the warm-up.
    pub statuses: BTreeMap<u16, u64>,
    /// The number of failed connections by reason.
    pub broken: BTreeMap<String, u64>,
    /// The number of requests without a response long after the end.
    pub unanswered: usize,
    /// The first response with status 200 that was not as expected.
    pub wrong: Option<String>,
    /// All integers received, including the warm-up and after the end, by index of the request.
    pub taken: Vec<Taken>,
}

impl Outcome {
    /// Correct responses per second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.time.as_secs_f64()
    }

    /// Integers per second.
    pub fn integers_rate(&self) -> f64 {
        self.integers as f64 / self.time.as_secs_f64()
    }

    /// Why this run is invalid; None when every response was correct. The integers are checked
    /// elsewhere.
    pub fn fault(&self) -> Option<String> {
        if let Some(wrong) = &self.wrong {
            return Some(wrong.clone());
        }
        if let Some((status, times)) = self.statuses.first_key_value() {
            return Some(format!("{times} responses had status {status}"));
        }
        if let Some((why, times)) = self.broken.first_key_value() {
            return Some(format!("{times} connections failed: {why}"));
        }
        if self.unanswered > 0 {
            return Some(format!("{} requests were never answered", self.unanswered));
        }
        (self.requests == 0).then(|| "there was no response in time".to_owned())
    }
}

/// How long to wait after the end for responses to requests that were sent before it.
const DRAIN: Duration = Duration::from_secs(5);

/// How many connection failures are tolerated before the run is aborted.
const PATIENCE: u64 = 100;

/// The upper bound of the latency histogram, in nanoseconds; longer ones are recorded as this value.
const LONGEST: u64 = 60_000_000_000;

/// Runs the load.
///
/// # Errors
/// When connecting fails, or too many connections fail.
pub fn run(load: &Load) -> anyhow::Result<Outcome> {
    Generator::connect(load)?.run()
}

struct Generator<'a> {
    load: &'a Load,
    poll: Poll,
    connections: Vec<Connection>,
    outcome: Outcome,
    /// The number of requests in flight.
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
            bail!("there are no requests or no connections");
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
            // The clock is read once per response; that time is also the start of the next request.
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

    /// Handles the response, if it is complete, and sends the next request. Returns the current time.
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
                    // The integers of one connection ascend, since it sends a request only after the
                    // previous response. That holds per sequence, so it is checked only if there is one.
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
                open(self.load.port, &self.poll, index, request).context("reconnecting")?;
        }
        if self.phase != Phase::Draining {
            self.send(index, now)?;
        }
        Ok(now)
    }

    fn wrong(&mut self, why: String) {
        self.outcome.wrong.get_or_insert(why);
    }

    /// Reopens a failed connection; its request is lost.
    fn broke(&mut self, index: usize, why: &str) -> anyhow::Result<()> {
        if self.connections[index].is_busy() {
            self.under_way -= 1;
        } else if self.phase == Phase::Draining {
            // Servers may close idle connections.
            return Ok(());
        }
        *self.outcome.broken.entry(why.to_owned()).or_default() += 1;
        let broken: u64 = self.outcome.broken.values().sum();
        if broken > PATIENCE {
            bail!("{broken} connections failed, the last one with: {why}");
        }
        let request = self.connections[index].request;
        self.connections[index] =
            open(self.load.port, &self.poll, index, request).context("reconnecting")?;
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

//! Five nodes of four kinds carry one sequence, with random faults of processes, networks and disks, for a minute or for
//! `FAULT_SECONDS`, while clients with different counts mint. `FAULT_SEED` chooses the order of the faults.

use int_host::Builtin;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use testbed::contract::kind;
use testbed::history::{History, Record};
use testbed::mariadb::MariaDb;
use testbed::proxy::{Fault, Proxy};
use testbed::quorum::{Options, Quorum};
use testbed::redis::{self, Redis};
use testbed::rqlite::Rqlite;
use testbed::runtime::{run, shared};
use testbed::{backend, clock, wait};

const TOKEN: &str = "s3cret";

/// How long a node may take to take part again.
const LIMIT: Duration = Duration::from_secs(60);

/// How long the clients mint by default, in seconds.
const SECONDS: u64 = 60;

/// How many bytes of its writes a Redis loses: those of a few claims.
const TAIL: u64 = 600;

/// How many integers each client mints at a time.
const COUNTS: [u32; 8] = [1, 7, 1000, 1250, 1, 7, 1000, 1250];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// SIGKILL to the node.
    Killed,
    /// SIGSTOP to the node.
    Frozen,
    /// Nobody reaches the node.
    Unreachable,
    /// Requests reach the node, and nobody gets its answers.
    Unheard,
    /// Its answers are lost after it has done what was asked for.
    Cut,
    /// SIGKILL to its backend.
    BackendKilled,
    /// Its Redis restarts without its last writes.
    TailLost,
    /// Its data directory is emptied.
    Wiped,
    /// Another node takes its place; the command is killed the first time.
    Replaced,
}

const EVENTS: [Event; 9] = [
    Event::Killed,
    Event::Frozen,
    Event::Unreachable,
    Event::Unheard,
    Event::Cut,
    Event::BackendKilled,
    Event::TailLost,
    Event::Wiped,
    Event::Replaced,
];

/// The place of a member: its backend, and the node that has the place.
struct Place {
    backend: Server,
    node: Arc<Quorum>,
    index: usize,
}

enum Server {
    Embedded,
    Redis(Redis),
    MariaDb(MariaDb),
    Rqlite(Rqlite),
}

impl Server {
    fn arguments(&self) -> Vec<String> {
        let (engine, dsn) = match self {
            Self::Embedded => return Vec::new(),
            Self::Redis(redis) => ("redis", redis.dsn()),
            Self::MariaDb(mariadb) => ("mysql", mariadb.dsn()),
            Self::Rqlite(rqlite) => ("rqlite", rqlite.dsn()),
        };
        ["--engine", engine, "--dsn", &dsn]
            .map(str::to_owned)
            .to_vec()
    }

    fn process(&self) -> Option<&testbed::server::Server> {
        match self {
            Self::Embedded => None,
            Self::Redis(redis) => Some(redis),
            Self::MariaDb(mariadb) => Some(mariadb),
            Self::Rqlite(rqlite) => Some(rqlite.node(0)),
        }
    }
}

impl Place {
    fn address(&self) -> String {
        self.node.address(self.index)
    }

    fn server(&self) -> &testbed::server::Server {
        self.node.server(self.index)
    }

    fn proxy(&self) -> &Proxy {
        self.node.proxy(self.index).expect("a proxy")
    }

    /// Whether this can happen here.
    fn fits(&self, event: Event) -> bool {
        match event {
            Event::BackendKilled => self.backend.process().is_some(),
            Event::TailLost => matches!(self.backend, Server::Redis(_)),
            Event::Replaced => matches!(self.backend, Server::Embedded),
            _ => true,
        }
    }

    fn state(&self) -> testbed::Result<String> {
        let status = self.node.status(self.index)?;
        Ok(status["state"].as_str().unwrap_or_default().to_owned())
    }

    fn await_serving(&self) {
        let address = self.address();
        wait::until(&format!("{address} takes part"), LIMIT, || {
            match self.state().map_err(|error| error.to_string())?.as_str() {
                "serving" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .expect("it takes part");
    }
}

/// Starts nodes with these arguments, which belong to no group.
fn start(nodes: Vec<Vec<String>>) -> Quorum {
    let token = Some(TOKEN.into());
    let nodes = Quorum::without_group(Options { token, nodes });
    let nodes = nodes.and_then(Quorum::behind_proxies);
    nodes.expect("nodes")
}

/// Prints what happens and when, so that a call that failed can be laid to a fault.
#[derive(Clone, Copy)]
struct Log(Instant);

impl Log {
    fn line(self, text: impl Display) {
        println!("{:8.3} s: {text}", self.0.elapsed().as_secs_f64());
    }
}

/// The group, and what happened to it.
struct Group {
    log: Log,
    places: Vec<Place>,
    random: StdRng,
    happened: BTreeMap<Event, usize>,
    /// What clients know.
    dsn: Arc<RwLock<String>>,
}

impl Group {
    fn start(seed: u64, log: Log) -> Self {
        let forgetful = redis::Options {
            extra: ["--appendfsync", "no"].map(str::to_owned).to_vec(),
            ..redis::Options::default()
        };
        let backends = [
            Server::Embedded,
            Server::Redis(Redis::with(forgetful).expect("a Redis")),
            Server::MariaDb(MariaDb::start().expect("a MariaDB")),
            Server::Rqlite(Rqlite::start().expect("an rqlite")),
            Server::Embedded,
        ];
        let nodes = start(backends.iter().map(Server::arguments).collect());
        nodes.init().expect("a group");
        let nodes = Arc::new(nodes);
        let places = backends.into_iter().enumerate();
        let places = places.map(|(index, backend)| Place {
            backend,
            node: Arc::clone(&nodes),
            index,
        });
        let mut group = Self {
            log,
            places: places.collect(),
            random: StdRng::seed_from_u64(seed),
            happened: BTreeMap::new(),
            dsn: Arc::default(),
        };
        group.tell_clients();
        group
    }

    fn tell_clients(&mut self) {
        let addresses: Vec<_> = self.places.iter().map(Place::address).collect();
        let dsn = format!("quorum://{TOKEN}@{}?timeout=10s", addresses.join(","));
        *self.dsn.write().expect("no panic") = dsn;
    }

    fn pause(&mut self, most: u64) {
        std::thread::sleep(Duration::from_millis(self.random.random_range(0..=most)));
    }

    /// Lets something happen to one node, and ends it. Meanwhile another node may be away, too.
    fn disturb(&mut self, event: Event) {
        let places = self.places.iter().enumerate();
        let fitting: Vec<usize> = places
            .filter(|(_, p)| p.fits(event))
            .map(|(i, _)| i)
            .collect();
        let index = fitting[self.random.random_range(0..fitting.len())];
        let other = (index + self.random.random_range(1..self.places.len())) % self.places.len();
        let also = self.random.random_bool(0.3);
        // A majority has to be there for joins: the other one is away for a short time only.
        let address = self.places[index].address();
        self.log.line(format_args!("{event:?}: {address}"));
        if also {
            let other = &self.places[other];
            self.log.line(format_args!("paused: {}", other.address()));
            other.server().pause();
        }
        self.begin(index, event);
        self.pause(if also { 500 } else { 2000 });
        if also {
            self.places[other].server().resume();
        }
        self.end(index, event);
        *self.happened.entry(event).or_default() += 1;
        self.places[index].await_serving();
        self.places[other].await_serving();
        self.log.line("all serve");
    }

    fn begin(&mut self, index: usize, event: Event) {
        let place = &self.places[index];
        match event {
            Event::Killed => place.server().kill(),
            Event::Frozen => place.server().pause(),
            Event::Unreachable | Event::Unheard | Event::Cut => {
                let fault = match event {
                    Event::Unreachable if self.random.random_bool(0.5) => Fault::Refuse,
                    Event::Unreachable => Fault::Stall,
                    Event::Unheard => Fault::StallReplies,
                    _ => Fault::CutReplies(b"/v1/sequences/".to_vec()),
                };
                place.proxy().set(fault).expect("a fault");
            }
            Event::BackendKilled | Event::TailLost => {
                place.backend.process().expect("a server").kill();
                if let (Event::TailLost, Server::Redis(redis)) = (event, &place.backend) {
                    redis.lose_tail(TAIL).expect("a shorter file");
                }
            }
            Event::Wiped => {
                place.server().kill();
                place.node.wipe(place.index).expect("wiped");
            }
            // Otherwise it goes on until the others no longer count it.
            Event::Replaced if self.random.random_bool(0.5) => place.server().kill(),
            Event::Replaced => {}
        }
    }

    fn end(&mut self, index: usize, event: Event) {
        let place = &self.places[index];
        match event {
            Event::Killed => place.server().start_again().expect("started"),
            Event::Frozen => place.server().resume(),
            Event::Unreachable | Event::Unheard | Event::Cut => {
                place.proxy().set(Fault::None).expect("no fault");
            }
            Event::BackendKilled | Event::TailLost => {
                let server = place.backend.process().expect("a server");
                server.start_again().expect("started");
            }
            Event::Wiped => {
                place.server().start_again().expect("started");
                self.join(index);
            }
            Event::Replaced => self.replace(index),
        }
    }

    fn join(&self, index: usize) {
        let place = &self.places[index];
        let via = self.places[(index + 1) % self.places.len()].address();
        let arguments = ["node", "join", &place.address(), "--via", &via].map(str::to_owned);
        wait::until("it joins", LIMIT, || place.node.manage(&arguments)).expect("joined");
    }

    fn replace(&mut self, index: usize) {
        let new = Arc::new(start(vec![Vec::new()]));
        let (old, address) = (self.places[index].address(), new.address(0));
        let via = self.places[(index + 1) % self.places.len()].address();
        let arguments = ["node", "replace", &old, &address, "--via", &via].map(str::to_owned);
        let mut command = new.command(&arguments).expect("the program");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("started");
        self.pause(60);
        child.kill().expect("killed");
        child.wait().expect("it has ended");
        wait::until("it is replaced", LIMIT, || new.manage(&arguments)).expect("replaced");
        let place = &mut self.places[index];
        place.node = new;
        place.index = 0;
        self.tell_clients();
    }
}

/// Mints until it is told to stop, as a program that is started anew now and then.
async fn mint(
    process: u32,
    count: u32,
    dsn: Arc<RwLock<String>>,
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicUsize>,
    log: Log,
) -> Vec<Record> {
    let host = backend::host(None).expect("a host");
    let mut records = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let dsn = dsn.read().expect("no panic").clone();
        let opened = backend::open(&host, &Builtin::Quorum.into(), &dsn, "k").await;
        let sequence = opened.expect("opened");
        for _ in 0..50 {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            match backend::mint(&sequence, process, count).await {
                Ok(record) => records.push(record),
                Err(error) => {
                    assert_eq!(kind(&error), "unavailable", "{error}");
                    log.line(format_args!("client {process}: {error}"));
                    failed.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
    }
    records
}

#[test]
fn no_fault_repeats_an_integer() {
    let seconds = number("FAULT_SECONDS", SECONDS);
    let seed = number("FAULT_SEED", clock::now());
    println!("FAULT_SEED={seed}");
    let log = Log(Instant::now());
    let mut group = Group::start(seed, log);
    let stop = Arc::new(AtomicBool::new(false));
    let failed = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..)
        .zip(COUNTS)
        .map(|(process, count)| {
            let (dsn, stop) = (Arc::clone(&group.dsn), Arc::clone(&stop));
            let failed = Arc::clone(&failed);
            shared().spawn(mint(process, count, dsn, stop, failed, log))
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let mut events = EVENTS;
        events.shuffle(&mut group.random);
        // Each of them once at least, however slow the machine is.
        for event in events {
            group.disturb(event);
            group.pause(300);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut history = History::default();
    let mut calls = Vec::new();
    for client in clients {
        let records = run(client).expect("a client");
        calls.push(records.len());
        history.extend(records);
    }
    println!(
        "calls of each client: {calls:?}, {} failed; {:?}",
        failed.load(Ordering::Relaxed),
        group.happened
    );
    assert!(calls.iter().all(|calls| *calls > 3), "{calls:?}");
    // The Redis that lost its last writes was noticed.
    let redis = group.places[1].node.status(1).expect("a status");
    assert!(redis["incarnation"].as_u64() > Some(1), "{redis}");
    history.assert_clean();
}

//! Many clients on one thread, each of which mints one integer after another, and statistics on the responses.
//!
//! Each client pauses after a response, also after an integer: otherwise those that were served would return before
//! those that were refused, and keep every place in the server's queue. The pause is much shorter than Retry-After.
//! Each response is checked when it arrives: an integer must be greater than every integer that any client received
//! before this request was sent, and a refusal must have the form that the protocol defines for it. The first
//! violation is kept as the mistake, with which [`Load::until`] and [`Load::end`] panic.

mod answer;

use crate::error::{Error, Result};
use answer::{Answer, parse};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How many connections are opened at a time, so that they fit into the listener's backlog.
const DIALS: usize = 500;

/// The pause of a client after each response. Servers ask those that they refuse for a second or more.
const AGAIN: Duration = Duration::from_millis(200);

/// How long a TCP client waits for its line.
const SILENCE: Duration = Duration::from_secs(60);

/// The pause between two polls of a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// The protocol of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Repeated `GET /` on one connection.
    Http,
    /// A new connection for each line.
    Tcp,
}

/// A set of running clients. It must be used inside a [`tokio::task::LocalSet`].
pub struct Load {
    shared: Rc<Shared>,
    clients: JoinSet<()>,
}

/// How many clients got each kind of response to requests sent since the last [`Load::mark`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Clients that got an integer at least once.
    pub minted: usize,
    /// Clients that were refused at least once.
    pub refused: usize,
    /// Clients that were refused immediately because too many requests wait.
    pub busy: usize,
}

struct Shared {
    protocol: Protocol,
    port: u16,
    dials: Semaphore,
    /// Incremented by each mark.
    period: Cell<u32>,
    seen: Cell<Seen>,
    integers: RefCell<Vec<i64>>,
    greatest: Cell<i64>,
    mistake: RefCell<Option<String>>,
    ending: Cell<bool>,
}

/// Which kinds of response one client got since the last mark.
#[derive(Default)]
struct Had {
    period: u32,
    minted: bool,
    refused: bool,
    busy: bool,
}

impl Load {
    /// Starts `clients` clients of the server on this port.
    pub fn start(protocol: Protocol, port: u16, clients: usize) -> Self {
        let shared = Rc::new(Shared {
            protocol,
            port,
            dials: Semaphore::new(DIALS),
            period: Cell::new(1),
            seen: Cell::default(),
            integers: RefCell::default(),
            greatest: Cell::new(0),
            mistake: RefCell::default(),
            ending: Cell::new(false),
        });
        let mut set = JoinSet::new();
        for _ in 0..clients {
            set.spawn_local(client(Rc::clone(&shared)));
        }
        Self {
            shared,
            clients: set,
        }
    }

    /// Resets the statistics. Responses to requests sent before are not counted.
    pub fn mark(&self) {
        self.shared.period.set(self.shared.period.get() + 1);
        self.shared.seen.take();
    }

    /// The statistics since the last mark.
    pub fn seen(&self) -> Seen {
        self.shared.seen.get()
    }

    /// Waits until the statistics satisfy `enough` and returns them.
    ///
    /// # Errors
    /// When they do not within `limit`.
    ///
    /// # Panics
    /// When any response was a mistake.
    pub async fn until(
        &self,
        what: &str,
        limit: Duration,
        mut enough: impl FnMut(Seen) -> bool,
    ) -> Result<Seen> {
        let end = Instant::now() + limit;
        loop {
            if let Some(mistake) = &*self.shared.mistake.borrow() {
                panic!("{what}: {mistake}");
            }
            let seen = self.seen();
            if enough(seen) {
                return Ok(seen);
            }
            if Instant::now() >= end {
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    limit,
                    why: format!("{seen:?} of {} clients", self.clients.len()),
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// From here on a closed connection is not a mistake.
    pub fn expect_the_end(&self) {
        self.shared.ending.set(true);
    }

    /// Waits until the server has closed all connections and returns all integers that were received.
    ///
    /// # Errors
    /// When it does not within `limit`.
    ///
    /// # Panics
    /// When any response was a mistake.
    pub async fn end(mut self, limit: Duration) -> Result<Vec<i64>> {
        self.expect_the_end();
        let ended = async {
            while let Some(client) = self.clients.join_next().await {
                client.unwrap_or_else(|e| panic!("a client: {e}"));
            }
        };
        if tokio::time::timeout(limit, ended).await.is_err() {
            return Err(Error::Timeout {
                what: "the server closes all connections".to_owned(),
                limit,
                why: format!("{} clients still wait", self.clients.len()),
            });
        }
        if let Some(mistake) = &*self.shared.mistake.borrow() {
            panic!("{mistake}");
        }
        Ok(self.shared.integers.take())
    }
}

async fn client(shared: Rc<Shared>) {
    let result = match shared.protocol {
        Protocol::Http => http(&shared).await,
        Protocol::Tcp => tcp(&shared).await,
    };
    if let Err(error) = result
        && !shared.ending.get()
    {
        shared.mistaken(format!("a connection failed: {error}"));
    }
}

async fn http(shared: &Shared) -> io::Result<()> {
    let mut had = Had::default();
    let mut stream = shared.dial().await?;
    let mut read = Vec::new();
    while !shared.ending.get() {
        let asked = shared.ask();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await?;
        let answer = loop {
            match parse(&read) {
                Some((answer, length)) => {
                    read.drain(..length);
                    break answer;
                }
                None if stream.read_buf(&mut read).await? == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                None => {}
            }
        };
        if !shared.take(asked, answer, &mut had).await {
            break;
        }
    }
    Ok(())
}

async fn tcp(shared: &Shared) -> io::Result<()> {
    let mut had = Had::default();
    while !shared.ending.get() {
        // Connecting is the request.
        let asked = shared.ask();
        let mut stream = shared.dial().await?;
        let mut line = String::new();
        // When a server ends while a connection is being opened, the client may never be notified.
        timeout(SILENCE, stream.read_to_string(&mut line)).await??;
        let answer = match line.strip_suffix('\n').map(str::parse) {
            Some(Ok(integer)) => Answer::Minted(integer),
            None if line.is_empty() => Answer::Refused { busy: true },
            _ => Answer::Mistake(format!("{line:?} is not a line with an integer")),
        };
        if !shared.take(asked, answer, &mut had).await {
            break;
        }
    }
    Ok(())
}

impl Shared {
    async fn dial(&self) -> io::Result<TcpStream> {
        let _slot = self.dials.acquire().await.map_err(io::Error::other)?;
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// To be called before a request is sent: the current period, and the greatest integer received so far.
    fn ask(&self) -> (u32, i64) {
        (self.period.get(), self.greatest.get())
    }

    /// Records a response and waits before the next request. False when the client should stop.
    async fn take(&self, (period, before): (u32, i64), answer: Answer, had: &mut Had) -> bool {
        let (minted, refused, busy) = match answer {
            Answer::Minted(integer) if integer <= before => {
                self.mistaken(format!(
                    "{integer} was requested after {before} was received"
                ));
                return false;
            }
            Answer::Minted(integer) => {
                self.integers.borrow_mut().push(integer);
                self.greatest.set(self.greatest.get().max(integer));
                (true, false, false)
            }
            Answer::Refused { busy } => (false, true, busy),
            Answer::Mistake(mistake) => {
                self.mistaken(mistake);
                return false;
            }
        };
        if period == self.period.get() {
            self.count(period, had, [minted, refused, busy]);
        }
        tokio::time::sleep(AGAIN).await;
        true
    }

    /// Counts the client once per period for each kind of response that it got.
    fn count(&self, period: u32, had: &mut Had, [minted, refused, busy]: [bool; 3]) {
        if had.period != period {
            *had = Had {
                period,
                ..Had::default()
            };
        }
        let mut seen = self.seen.get();
        for (now, once, count) in [
            (minted, &mut had.minted, &mut seen.minted),
            (refused, &mut had.refused, &mut seen.refused),
            (busy, &mut had.busy, &mut seen.busy),
        ] {
            *count += usize::from(now && !*once);
            *once |= now;
        }
        self.seen.set(seen);
    }

    fn mistaken(&self, mistake: String) {
        self.mistake.borrow_mut().get_or_insert(mistake);
    }
}

//! Sequences on a quorum of nodes (`int-host node`), each with a backend of its own.
//!
//! DSN: `quorum://[TOKEN@]HOST[:8081],HOST2[:8081],HOST3[:8081]`, which lists every member of the group. The
//! parameter `timeout` limits one operation, including retries (default 2 s).
//!
//! A mint claims the interval above the greatest mark that it has heard of, at all nodes at once, and
//! has it as soon as a majority of them has accepted: one round trip if nobody interferes. A node that
//! refuses says what its mark is, and the next attempt begins above the greatest.
//!
//! Clients that collide queue: each claims at one node first, the same one for all of them, and at the others
//! only after that one has accepted. The first claim to arrive there is accepted and the next one is told the new
//! mark, so that one client gets through in each round trip, and claims reach the other nodes in the order in which
//! the first one took them. A first node that is late is not waited for: see `pace.rs`. A client that met nobody
//! in several operations asks all nodes at once again: see `queue.rs`. All this only changes when nodes are asked.
//! Which votes make a majority, and so that no integer is handed out twice, does not depend on it.
//!
//! Claims name the member list that they are for. A client whose list is older than that of the nodes hears the
//! newer one's number and goes on with those of its members that the DSN lists, as long as they are a majority.
//!
//! The slowest minority is not waited for: nodes that fail, or answer late, cost nothing. `last` asks a
//! majority, and brings a majority to the greatest mark before it answers, since a later call may reach
//! another majority.
//!
//! An integer handed out survives the loss of any minority of the nodes (C9), also if they lose their
//! data: a node without its data takes no part until it has joined again, see `docs/quorum.md`.

mod node;
mod pace;
mod queue;
mod round;
mod settings;

use artisanal_quorum::{Ballot, Claim, FIRST_EPOCH};
use engine_guest::retry::{Retry, chance};
use engine_guest::{Dsn, Engine, Error, Key, exhausted};
use engine_http_client::sleep;
use node::Nodes;
use queue::Queue;
use round::Attempt;
use settings::Settings;
use std::time::{Duration, Instant};

/// The pause after a failed attempt; it doubles up to [`LONGEST_PAUSE`], or to a fifth of a short timeout.
/// Clients that collide have to slow down until they get through one after the other, however many there are.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// One sequence on one group of nodes.
struct Quorum {
    nodes: Nodes,
    timeout: Duration,
    /// The greatest mark that was heard of.
    mark: i64,
    queue: Queue,
}

impl Engine for Quorum {
    const OFFSET: i64 = 0;
    const DSN: Option<&'static str> = None;
    const SCHEMES: &'static [&'static str] = &["quorum"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        let settings = Settings::read(&dsn)?;
        Ok(Self {
            timeout: settings.timeout,
            nodes: Nodes::new(settings, &key),
            mark: 0,
            queue: Queue::default(),
        })
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        let mut retry = self.begin();
        self.queue.begin(Instant::now());
        // How often the claim was lost at nodes that were asked at once.
        let mut collisions = 0;
        loop {
            let before = self.mark;
            let room = self.queue.room(chance());
            let first = before.saturating_add(room).checked_add(1);
            let last = first.and_then(|first| first.checked_add(by - 1));
            let (Some(first), Some(last)) = (first, last) else {
                if room > 0 {
                    // Without the room it may still fit.
                    self.queue.no_room();
                    continue;
                }
                return Err(exhausted());
            };
            let queued = self.queue.is_on();
            match self.try_claim(first, last, queued, &mut retry).await? {
                Claimed::Taken { contested } => {
                    if contested {
                        // It was lost at a minority, where others were faster.
                        self.queue.lost(by);
                    }
                    self.queue.won(Instant::now());
                    return Ok(last);
                }
                // Somebody else was served, and the next place may be this client's.
                Claimed::Refused => {}
                Claimed::Split => {
                    collisions += 1;
                    // The first one may be due to a mark that was never heard of. After the second one the client
                    // queues. Further ones show that the order of the queue is not kept everywhere.
                    if collisions > 2 {
                        sleep(retry.next_pause()).await;
                    }
                }
            }
            self.queue.lost(self.mark.saturating_sub(before));
            retry.check()?;
        }
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        let mut retry = self.begin();
        let mut attempt = self.nodes.attempt(None);
        loop {
            self.nodes
                .ask(&mut attempt, false, Ballot::is_read, &mut retry)
                .await?;
            self.hear(&attempt.ballot);
            if attempt.ballot.is_read() {
                let Some(mark) = attempt.ballot.mark() else {
                    return Ok(None);
                };
                if !attempt.ballot.has_reached(mark) {
                    self.reach(mark, &mut retry).await?;
                }
                return Ok(Some(mark));
            }
            attempt = self.once_more(attempt, &mut retry).await?;
        }
    }

    async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
        let mut retry = self.begin();
        if let Claimed::Taken { .. } = self.try_claim(first, last, false, &mut retry).await? {
            return Ok(());
        }
        // A majority has to be there before anybody relies on it.
        let mark = self.mark.max(first);
        self.reach(mark, &mut retry).await?;
        Err(Error::TooSmall(mark))
    }

    async fn generation(&mut self) -> Result<Option<String>, Error> {
        Err(Error::Other(
            "a quorum cannot carry a node of another quorum".into(),
        ))
    }
}

impl Quorum {
    /// Begins an operation.
    fn begin(&mut self) -> Retry {
        self.nodes.begin();
        Retry::within(self.timeout, "a majority of the nodes")
            .with_pauses(FIRST_PAUSE, LONGEST_PAUSE.min(self.timeout / 5))
    }

    /// Claims an interval, at one node before the others if it is `queued`.
    async fn try_claim(
        &mut self,
        first: i64,
        last: i64,
        queued: bool,
        retry: &mut Retry,
    ) -> Result<Claimed, Error> {
        let mut attempt = self.nodes.attempt(Some(claim(first, last)));
        loop {
            let decided = |ballot: &Ballot| ballot.is_accepted() || ballot.is_hopeless();
            self.nodes.ask(&mut attempt, queued, decided, retry).await?;
            self.hear(&attempt.ballot);
            if attempt.ballot.is_accepted() {
                self.mark = self.mark.max(last);
                let contested = attempt.is_contested();
                return Ok(Claimed::Taken { contested });
            }
            if attempt.is_contested() {
                return Ok(if attempt.spread {
                    Claimed::Split
                } else {
                    Claimed::Refused
                });
            }
            attempt = self.once_more(attempt, retry).await?;
        }
    }

    /// Brings a majority to this mark or above.
    async fn reach(&mut self, mark: i64, retry: &mut Retry) -> Result<(), Error> {
        let mut attempt = self.nodes.attempt(Some(claim(mark, mark)));
        loop {
            let reached = |ballot: &Ballot| ballot.has_reached(mark);
            self.nodes.ask(&mut attempt, false, reached, retry).await?;
            self.hear(&attempt.ballot);
            if reached(&attempt.ballot) {
                return Ok(());
            }
            attempt = self.once_more(attempt, retry).await?;
        }
    }

    /// Pauses before the nodes that failed are asked again. If all have answered and some of them have
    /// forgotten what they answered, all are asked anew.
    async fn once_more(&self, attempt: Attempt, retry: &mut Retry) -> Result<Attempt, Error> {
        sleep(retry.next_pause()).await;
        retry.check()?;
        Ok(match attempt.open[..] {
            [] => self.nodes.attempt(attempt.claim),
            _ => attempt,
        })
    }

    fn hear(&mut self, ballot: &Ballot) {
        self.mark = self.mark.max(ballot.mark().unwrap_or(0));
    }
}

/// What came of a claim.
enum Claimed {
    /// A majority has accepted it; `contested` if another node has refused it.
    Taken { contested: bool },
    /// The first node has refused it.
    Refused,
    /// Nodes have refused it after all were asked.
    Split,
}

/// A claim for the member list that the nodes will be asked for.
fn claim(first: i64, last: i64) -> Claim {
    Claim {
        first,
        last,
        epoch: FIRST_EPOCH,
    }
}

engine_guest::export!(Quorum);

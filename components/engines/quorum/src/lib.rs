//! Sequences on a quorum of nodes (`int-host node`), each with a backend of its own.
//!
//! DSN: `quorum://[TOKEN@]HOST[:8081],HOST2[:8081],HOST3[:8081][/KEY]`, which lists every member of the group.
//! `KEY` is the key at the nodes, in which `*` stands for the key here; without it both are the same. The
//! parameter `timeout` limits one operation, including retries (default 2 s).
//!
//! A mint claims the interval above the greatest mark that it has heard of, at all nodes at once, and
//! has it as soon as a majority of them has accepted: one round trip if nobody interferes. A node that
//! refuses says what its mark is, and the next attempt begins above the greatest.
//!
//! Clients that collide queue: each lets one node take the next integers, the same node for all of them, and claims these
//! at the others. So each gets integers of its own at once, and claims reach the other nodes in about the order in which
//! the first one gave them out. A first node that is late is not waited for: see `pace.rs`. A client that never loses hears
//! from the nodes that others do, and queues as well: they would go on losing. One that met nobody in several operations
//! claims at all nodes at once again: see `queue.rs`. All this only changes when nodes are asked, and who chooses the
//! interval. Which votes make a majority, and so that no integer is handed out twice, does not depend on it.
//!
//! Claims name the member list that they are for. A client whose list is older than that of the nodes hears the
//! newer one's number and goes on with those of its members that the DSN lists, as long as they are a majority.
//!
//! The slowest minority is not waited for: nodes that fail, or answer late, cost nothing. A node that still works on
//! a claim that a majority has decided is not given the next one, unless that needs it: see `round.rs`. `last` asks a
//! majority, and brings a majority to the greatest mark before it answers, since a later call may reach
//! another majority.
//!
//! An integer handed out survives the loss of any minority of the nodes (C9), also if they lose their
//! data: a node without its data takes no part until it has joined again, see `docs/quorum.md`.

mod companion;
mod flight;
mod mailbox;
mod node;
mod pace;
mod queue;
mod round;
mod settings;
mod transport;

use artisanal_quorum::Ballot;
use engine_guest::retry::{Retry, chance};
use engine_guest::{Dsn, Engine, Error, Key, MAX_COUNT, exhausted};
use engine_http_client::sleep;
use node::Nodes;
use queue::Queue;
use round::{Attempt, Command};
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
    /// The last integer that was minted here.
    minted: i64,
    queue: Queue,
}

impl Engine for Quorum {
    const OFFSET: i64 = 0;
    const DSN: Option<&'static str> = None;
    const SCHEMES: &'static [&'static str] = &["quorum"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        let settings = Settings::read(&dsn, key.as_str())?;
        Ok(Self {
            timeout: settings.timeout,
            nodes: Nodes::new(settings),
            mark: 0,
            minted: 0,
            queue: Queue::default(),
        })
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        let done = self.mint(by).await;
        self.nodes.end();
        done
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        let mut retry = self.begin();
        let done = self.read(&mut retry).await;
        self.nodes.end();
        done
    }

    async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
        let done = self.take(first, last).await;
        self.nodes.end();
        done
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

    /// Takes the next `by` integers; returns the last of them.
    async fn mint(&mut self, by: i64) -> Result<i64, Error> {
        let mut retry = self.begin();
        self.queue.begin(Instant::now());
        // How often the claim was lost.
        let mut collisions = 0;
        loop {
            let before = self.mark;
            let attempt = match self.queued(by, &mut retry).await {
                Some(attempt) => attempt,
                None => {
                    let claim = self.next_claim(by)?;
                    self.nodes.attempt(claim)
                }
            };
            let claimed = self.settle(attempt, &mut retry).await?;
            if let Claimed::Taken {
                last,
                lost_somewhere,
                others_lost,
            } = claimed
            {
                if lost_somewhere {
                    self.queue.lost(by);
                } else if others_lost && collisions == 0 {
                    // Not this client's own claims. Others would go on losing.
                    self.queue.met();
                }
                self.queue.won(Instant::now());
                self.minted = last;
                return Ok(last);
            }
            collisions += 1;
            // The first one may be due to a mark that was never heard of. After the second one the client queues. Further
            // ones show that the order of the queue is not kept everywhere.
            if collisions > 2 {
                sleep(retry.next_pause()).await;
            }
            self.queue.lost(self.mark.saturating_sub(before));
            retry.check()?;
        }
    }

    /// The greatest mark, which a majority has when this returns.
    async fn read(&mut self, retry: &mut Retry) -> Result<Option<i64>, Error> {
        let mut attempt = self.nodes.attempt(Command::Read);
        loop {
            self.nodes.ask(&mut attempt, Ballot::is_read, retry).await?;
            self.hear(&attempt.ballot);
            if attempt.ballot.is_read() {
                let Some(mark) = attempt.ballot.mark() else {
                    return Ok(None);
                };
                if !attempt.ballot.has_reached(mark) {
                    self.reach(mark, retry).await?;
                }
                return Ok(Some(mark));
            }
            attempt = self.once_more(attempt, retry).await?;
        }
    }

    /// Takes an interval.
    async fn take(&mut self, first: i64, last: i64) -> Result<(), Error> {
        let mut retry = self.begin();
        // Nobody waits for a node that is late, and one that has not heard of the mark would accept what the others refuse:
        // it would lift the mark to `last`, however great that is. Without integers above `first` that changes nothing.
        if first < last
            && let Some(mark) = self.read(&mut retry).await?
            && mark >= first
        {
            return Err(Error::TooSmall(mark));
        }
        let attempt = self.nodes.attempt(Command::Claim { first, last });
        if let Claimed::Taken { .. } = self.settle(attempt, &mut retry).await? {
            return Ok(());
        }
        // A majority has to be there before anybody relies on it.
        let mark = self.mark.max(first);
        self.reach(mark, &mut retry).await?;
        Err(Error::TooSmall(mark))
    }

    /// If the client queues, the claim of the next integers of the node that is asked first.
    async fn queued(&mut self, by: i64, retry: &mut Retry) -> Option<Attempt> {
        let count = u32::try_from(by).ok().filter(|by| *by <= MAX_COUNT)?;
        if !self.queue.is_on() {
            return None;
        }
        let attempt = self.nodes.advance_first(count, self.mark, retry).await?;
        if let Command::Claim { first, .. } = attempt.command
            && first > self.minted.saturating_add(1)
        {
            self.queue.met();
        }
        Some(attempt)
    }

    /// The claim of the next integers above the greatest mark, and above the room that is left for others if it fits.
    fn next_claim(&mut self, by: i64) -> Result<Command, Error> {
        let mark = self.mark;
        let above = |room: i64| {
            let first = mark.saturating_add(room).checked_add(1)?;
            let last = first.checked_add(by - 1)?;
            Some(Command::Claim { first, last })
        };
        let with_room = above(self.queue.room(chance()));
        let claim = with_room.or_else(|| {
            self.queue.no_room();
            above(0)
        });
        claim.ok_or_else(exhausted)
    }

    /// Asks the nodes until it is clear who has the integers of a claim.
    async fn settle(&mut self, mut attempt: Attempt, retry: &mut Retry) -> Result<Claimed, Error> {
        loop {
            let decided = |ballot: &Ballot| ballot.is_accepted() || ballot.is_hopeless();
            self.nodes.ask(&mut attempt, decided, retry).await?;
            self.hear(&attempt.ballot);
            if let Command::Claim { last, .. } = attempt.command
                && attempt.ballot.is_accepted()
            {
                self.mark = self.mark.max(last);
                return Ok(Claimed::Taken {
                    last,
                    lost_somewhere: attempt.is_contested(),
                    others_lost: attempt.ballot.is_contended(),
                });
            }
            if attempt.is_contested() {
                return Ok(Claimed::Lost);
            }
            attempt = self.once_more(attempt, retry).await?;
        }
    }

    /// Brings a majority to this mark or above.
    async fn reach(&mut self, mark: i64, retry: &mut Retry) -> Result<(), Error> {
        let (first, last) = (mark, mark);
        let mut attempt = self.nodes.attempt(Command::Claim { first, last });
        loop {
            let reached = |ballot: &Ballot| ballot.has_reached(mark);
            self.nodes.ask(&mut attempt, reached, retry).await?;
            self.hear(&attempt.ballot);
            if reached(&attempt.ballot) {
                return Ok(());
            }
            attempt = self.once_more(attempt, retry).await?;
        }
    }

    /// Pauses before the nodes that failed are asked again. If all have answered and some of them have
    /// forgotten what they answered, all are asked anew.
    async fn once_more(&mut self, attempt: Attempt, retry: &mut Retry) -> Result<Attempt, Error> {
        sleep(retry.next_pause()).await;
        retry.check()?;
        Ok(match attempt.open[..] {
            [] => self.nodes.attempt(attempt.command),
            _ => attempt,
        })
    }

    fn hear(&mut self, ballot: &Ballot) {
        self.mark = self.mark.max(ballot.mark().unwrap_or(0));
    }
}

/// What came of a claim.
enum Claimed {
    /// A majority has accepted it.
    Taken {
        last: i64,
        /// Whether a minority has refused it, where others were faster.
        lost_somewhere: bool,
        /// Whether a node has refused other claims.
        others_lost: bool,
    },
    /// Nodes have refused it, because others were faster.
    Lost,
}

engine_guest::export!(Quorum);

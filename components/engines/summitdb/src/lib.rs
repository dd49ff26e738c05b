//! Sequences in SummitDB, a group of nodes with Raft consensus. Each sequence is one key, whose value is
//! the mark in decimal digits.
//!
//! DSN: `redis://host[:port][,host[:port]…]`, or the same with the scheme `summitdb`; the default port
//! is 7481. One node is sufficient, but more are better: a node that is down cannot name its peers.
//! Parameter `timeout`: the time limit of one operation, including the search for a leader.
//!
//! A node that is not the leader redirects to the leader (`TRY`), and the redirect is followed. If the
//! leader does not answer, every node in the DSN, and every peer that a node reported (`RAFTPEERS`), is
//! tried every 200 ms, at most 200 times. So without a `timeout` an operation may take 45 s, longer than
//! with other engines, since an election may be in progress. A node that cannot be reached is skipped.
//! Redirects and retries are reported on standard error. The sequences of one instance with the same DSN
//! share the known nodes and the connection.
//!
//! An integer handed out is in the logs of a majority of the nodes (C9), and with SummitDB's default
//! durability, `high`, on their disks. With `medium` and `low`, a simultaneous crash of a majority can
//! lose the last second and **its integers are minted again**.
//!
//! # The top of the range
//!
//! SummitDB's `INCRBY` wraps around silently. So the first mint of a sequence is a script that adds only
//! if the sum fits. It returns the mark, and while that is at most 2^62 the following mints are plain
//! `INCRBY`, which is five times as fast. If another client raises the sequence beyond 2^62 meanwhile, an
//! `INCRBY` may wrap, to a value below -2^62: the error is `exhausted`, and every client that finds such a
//! mark sets it to the greatest 64-bit integer, so that the sequence is exhausted, as it would be without
//! the wrap. For the same reason, a mark below -2^62 that is set by hand is treated as wrapped.

mod group;
mod refusal;
mod settings;

use engine_guest::{Dsn, Engine, Error, Key, Shared, exhausted};
use engine_redis_wire::{Cmd, Unreadable, cmd, integer, mark};
use group::{Group, Session};
use refusal::Fault;
use settings::Settings;
use std::cell::RefCell;
use std::rc::Rc;

const ADVANCE: &str = include_str!("advance.js");
const CLAIM: &str = include_str!("claim.js");
const MEND: &str = include_str!("mend.js");

/// Unlike `GET`, a script that may write is answered only by the leader, after a majority of nodes
/// has agreed, whatever consistency level the servers were started with.
const MARK: &str = "return sdb.call('get', KEYS[0]);";

/// Above this mark, `INCRBY` is not used.
const HIGH: i64 = 1 << 62;

/// Strides above this are not passed to `INCRBY`: with smaller ones, sums that wrapped stay below
/// `-HIGH` however many clients race.
const GIANT: i64 = 1 << 53;

thread_local! {
    static GROUPS: Shared<Group> = const { Shared::new() };
}

/// One key in one group.
struct SummitDb {
    /// Borrowed during a call, which blocks the instance, so that no other call can borrow it.
    group: Rc<RefCell<Group>>,
    key: Key,
    /// The mark after the last mint, if it is known for certain.
    mark: Option<i64>,
}

impl Engine for SummitDb {
    const OFFSET: i64 = 0;
    const DSN: Option<&'static str> = None;
    const SCHEMES: &'static [&'static str] = &["redis", "summitdb"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        let group =
            GROUPS.with(|groups| groups.get(dsn, |dsn| Group::new(Settings::read(dsn)?)))?;
        Ok(Self {
            group,
            key,
            mark: None,
        })
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        let Self {
            group,
            key,
            mark: known,
        } = self;
        let mut plain = cmd("INCRBY");
        plain.arg(key.as_str()).arg(by);
        let mut guarded = script(ADVANCE, key);
        guarded.arg(by).arg(i64::MAX.saturating_sub(by)).arg(HIGH);
        group.borrow_mut().run(|session| {
            let mark = if known.take().is_some_and(|mark| mark <= HIGH) && by <= GIANT {
                integer(&session.ask(&plain)?).map_err(no_mark)?
            } else {
                mark(&session.ask(&guarded)?)
                    .map_err(no_mark)?
                    .ok_or_else(|| Fault::Final(exhausted()))?
            };
            if mend(session, key, mark)? {
                return Err(Fault::Final(exhausted()));
            }
            *known = Some(mark);
            Ok(mark)
        })
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        let Self { group, key, .. } = self;
        let command = script(MARK, key);
        group.borrow_mut().run(|session| {
            let found = mark(&session.ask(&command)?).map_err(no_mark)?;
            match found {
                Some(mark) if mend(session, key, mark)? => Ok(Some(i64::MAX)),
                found => Ok(found),
            }
        })
    }

    async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
        let Self { group, key, .. } = self;
        let mut command = script(CLAIM, key);
        command.arg(first).arg(last).arg(HIGH);
        group.borrow_mut().run(|session| {
            let Some(mark) = mark(&session.ask(&command)?).map_err(no_mark)? else {
                return Ok(());
            };
            let mended = mend(session, key, mark)?;
            match if mended { i64::MAX } else { mark } {
                mark if mark >= first => Err(Fault::Final(Error::TooSmall(mark))),
                mark => Err(Fault::Final(Error::Other(format!(
                    "SummitDB did not raise {mark} to {last}"
                )))),
            }
        })
    }
}

/// Sets a mark that wrapped around to the greatest 64-bit integer; returns whether it had wrapped.
/// Repeated and concurrent repairs are harmless.
fn mend(session: &mut Session<'_>, key: &Key, mark: i64) -> Result<bool, Fault> {
    let wrapped = mark <= -HIGH;
    if wrapped {
        session.ask(script(MEND, key).arg(i64::MAX).arg(HIGH))?;
    }
    Ok(wrapped)
}

/// A script on one key; the caller appends its arguments.
fn script(source: &str, key: &Key) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(source).arg(1).arg(key.as_str());
    command
}

fn no_mark(found: Unreadable) -> Fault {
    Fault::Final(Error::Other(format!(
        "SummitDB holds {} under this key, which is not a 64-bit integer; delete it, or set it to \
         the greatest integer handed out so far",
        found.0
    )))
}

engine_guest::export!(SummitDb);

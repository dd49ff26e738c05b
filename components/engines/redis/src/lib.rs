//! Sequences in Redis, one key each: the mark is the key's value, as `INCRBY` stores it.
//!
//! DSN: `redis://[user:password@]host[:port][,host[:port]…][/database]`, port 6379 and database 0
//! when not given; or `redis+sentinel://[user:password@]host[:port][,host[:port]…]/NAME[/database]`,
//! which lists Sentinels (port 26379 when not given) and the name by which they know the primary.
//! User and password are those of the Redis servers; Sentinels get them when they ask for a login.
//! Parameters:
//!
//! - `timeout`: how long one operation may take, retries included; 2 s by default. The resolution
//!   of host names is the host's and not within it.
//! - `wait`: how many replicas must acknowledge each write (`WAIT`). When fewer do, the server is
//!   looked for anew, and when that finds the same one, the call fails and its integers are skipped.
//!
//! # Which server is used
//!
//! One host: that one. A replica refuses to write.
//!
//! Several hosts: whenever a connection is made, all of them are asked for their role and their
//! replication ids (`INFO`), and the primary is used. Half of the timeout is for asking; each host
//! that is silent costs its share of that. Of two primaries the one that was promoted from the other
//! is used: its `master_replid2` is the other's `master_replid`. Where that does not show, the answer
//! is `denied`: integers of an old primary that came back would be repeats. An instance also
//! remembers which server it used and which were superseded, and does not go back to them. See
//! `choice.rs` for the rules and for what ids cannot show.
//!
//! Sentinels: whenever a connection is made, all of them are asked. Most of those listed must answer;
//! the newest configuration counts (`config-epoch`), and never one that is older than what this
//! instance has seen. The server that they name must say that it is the primary (`ROLE`), and the
//! Sentinels must still name it after that.
//!
//! Nodes of a Redis Cluster agree among each other: redirects to listed nodes are followed.
//!
//! Besides, a sequence never goes back behind the greatest mark that it has seen: it raises a server
//! that lost writes, and throws away what that server gave.
//!
//! `rediss://` is refused. Of the TLS libraries that are kept up, none builds for this target
//! without a C compiler for it, and those written in Rust alone say that they are not ready for
//! use; a TLS tunnel next to the component does the same.
//!
//! The sequences of one instance that have the same DSN share a connection, which is kept and
//! dialled again when it is lost. A mint is one `INCRBY`, one round
//! trip; `set-last` is one script; `last` is `GETEX`, which replicas refuse, so that a replica
//! that lags behind cannot answer (`GET` where the server is older than 6.2 or the user may not
//! use `GETEX`).
//!
//! An integer handed out survives what Redis's own settings survive (C9): with `appendonly yes`
//! and `appendfsync always` a crash of the server; with `appendfsync everysec`, or snapshots
//! alone, the last second or minutes are lost and **their integers come again**. A failover to a
//! replica loses what the replica had not received; `wait` narrows that and, as Redis documents,
//! does not close it.

mod choice;
mod client;
mod locate;
mod refusal;
mod report;
mod sentinel;
mod settings;

use client::Client;
use engine_guest::{Dsn, Engine, Error, Key, Shared};
use engine_redis_wire::{Unreadable, Value, cmd, integer, mark};
use refusal::Fault;
use settings::Settings;
use std::cell::RefCell;
use std::rc::Rc;

const RAISE: &str = include_str!("raise.lua");

thread_local! {
    static CLIENTS: Shared<Client> = const { Shared::new() };
}

/// One key of one Redis.
struct Redis {
    /// Borrowed during a call, which blocks the instance: there is no other call then.
    client: Rc<RefCell<Client>>,
    key: Key,
    /// The greatest mark that was seen: all integers up to it are taken, whatever a server says
    /// that has lost writes.
    seen: Option<i64>,
}

impl Engine for Redis {
    const OFFSET: i64 = 0;
    const DSN: Option<&'static str> = None;
    const SCHEMES: &'static [&'static str] = &["redis", settings::SENTINEL, "rediss"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        let client = CLIENTS.with(|clients| {
            clients.get(dsn, |dsn| Ok::<_, Error>(Client::new(Settings::read(dsn)?)))
        })?;
        Ok(Self {
            client,
            key,
            seen: None,
        })
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        let mark = self.add(by)?;
        if self.is_news(mark, by) {
            return Ok(mark);
        }
        // The server lost writes, in a failover or a crash. What it gave is thrown away.
        if let Some(seen) = self.seen {
            match self.lift(seen) {
                Ok(()) | Err(Error::TooSmall(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mark = self.add(by)?;
        if self.is_news(mark, by) {
            return Ok(mark);
        }
        Err(Error::Unavailable(format!(
            "the sequence went back to {mark} although it was raised above that; is something else \
             lowering it, or are two servers behind one address?"
        )))
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        let mut getex = cmd("GETEX");
        getex.arg(self.key.as_str());
        let mut get = cmd("GET");
        get.arg(self.key.as_str());
        let found = self.client.borrow_mut().run(|session| {
            let [reply] = match session.try_ask([&getex])? {
                [Value::ServerError(error)] if refusal::is_about_the_command(&error) => {
                    session.ask([&get])?
                }
                replies => session.check(replies)?,
            };
            mark(&reply).map_err(no_mark)
        })?;
        self.seen = self.seen.max(found);
        Ok(self.seen)
    }

    async fn raise(&mut self, to: i64) -> Result<(), Error> {
        let least = self.seen.map_or(to, |seen| seen.max(to));
        match self.lift(least) {
            Ok(()) if least > to => Err(Error::TooSmall(least)),
            answer => answer,
        }
    }
}

impl Redis {
    /// Adds to the mark and returns the new one.
    fn add(&mut self, by: i64) -> Result<i64, Error> {
        let mut command = cmd("INCRBY");
        command.arg(self.key.as_str()).arg(by);
        self.client.borrow_mut().run(|session| {
            let (reply, enough) = session.write(&command)?;
            enough?;
            integer(&reply).map_err(no_mark)
        })
    }

    /// Whether all integers below the new mark are greater than any that was seen.
    fn is_news(&mut self, mark: i64, by: i64) -> bool {
        let before = mark.checked_sub(by);
        if self
            .seen
            .is_some_and(|seen| before.is_none_or(|b| b < seen))
        {
            return false;
        }
        self.seen = Some(mark);
        true
    }

    /// Raises the server's mark.
    fn lift(&mut self, to: i64) -> Result<(), Error> {
        let mut command = cmd("EVAL");
        command.arg(RAISE).arg(1).arg(self.key.as_str()).arg(to);
        let done = self.client.borrow_mut().run(|session| {
            let (reply, enough) = session.write(&command)?;
            match mark(&reply).map_err(no_mark)? {
                None => enough,
                Some(mark) if mark > to => Err(Fault::Final(Error::TooSmall(mark))),
                Some(mark) => Err(Fault::Final(Error::Other(format!(
                    "Redis did not raise {mark} to {to}"
                )))),
            }
        });
        match &done {
            Ok(()) => self.seen = self.seen.max(Some(to)),
            Err(Error::TooSmall(mark)) => self.seen = self.seen.max(Some(*mark)),
            Err(_) => {}
        }
        done
    }
}

fn no_mark(found: Unreadable) -> Fault {
    Fault::Final(Error::Other(format!(
        "Redis holds {} under this key, which is no integer of 64 bits; delete it, or set it to \
         the greatest integer handed out so far",
        found.0
    )))
}

engine_guest::export!(Redis);

//! Sequences in Redis, one key each. The mark is the key's value, as `INCRBY` stores it.
//!
//! DSN: `redis://[user:password@]host[:port][,host[:port]…][/database]`, by default port 6379 and
//! database 0; or `redis+sentinel://[user:password@]host[:port][,host[:port]…]/NAME[/database]`, which
//! lists Sentinels (default port 26379) and the name by which they know the primary. User and password
//! are those of the Redis servers; they are also sent to Sentinels that require a login. Parameters:
//!
//! - `timeout`: the time limit of one operation, including retries; default 2 s. The resolution of host
//!   names is up to the host and is not limited by it.
//! - `wait`: how many replicas must acknowledge each write (`WAIT`). If fewer do, the primary is
//!   searched for again, and if that is the same server, the call fails and its integers are skipped.
//!
//! # Which server is used
//!
//! One host: that server. A replica refuses to write.
//!
//! Several hosts: for each new connection, all of them are asked for their role and their replication
//! ids (`INFO`), and the primary is used. Half of the timeout is available for that; each host that
//! does not answer uses its share of it. Of two primaries, the one that was promoted from the other is
//! used: its `master_replid2` is the other's `master_replid`. If the ids do not show that, the error is
//! `denied`: integers of an old primary that came back would be duplicates. An instance also remembers
//! which server it used and which were superseded, and does not return to the latter. See `choice.rs`
//! for the rules and for what ids cannot show.
//!
//! Sentinels: for each new connection, all of them are asked. A majority of those listed must answer;
//! the newest configuration (`config-epoch`) is used, and never one that is older than what this
//! instance has seen. The server that they name must report that it is the primary (`ROLE`), and the
//! Sentinels must still name it after that.
//!
//! `redis+cluster://[user:password@]host[:port][,host[:port]…]` lists some nodes of a Redis Cluster. The nodes agree
//! among themselves which one has a key, and redirects are followed (`MOVED`, `ASK`), to other nodes too. A server that is
//! not in a cluster is refused. See `cluster.rs`. With `redis://`, redirects are followed to listed nodes only.
//!
//! In addition, a sequence never goes below the greatest mark that it has seen: it raises a server that
//! lost writes, and discards the integers that this server returned.
//!
//! With `rediss://`, `rediss+sentinel://` and `rediss+cluster://`, every connection has TLS, which the host does, and the
//! certificate must be valid for the name or address that is connected to: for one that Sentinels name,
//! for that. The build without the feature `tls` refuses these schemes.
//!
//! The sequences of one instance with the same DSN share a connection, which is kept open and is
//! re-established when it is lost. A mint is one `INCRBY`, one round trip; `set-last` is one script;
//! `last` is `GETEX`, which replicas refuse, so that a replica that lags behind cannot answer (`GET` if
//! the server is older than 6.2 or the user may not use `GETEX`).
//!
//! An integer handed out survives what Redis's own settings survive (C9): with `appendonly yes` and
//! `appendfsync always`, a crash of the server; with `appendfsync everysec`, or with snapshots alone,
//! the last second or minutes are lost and **their integers are minted again**. A failover to a replica
//! loses what the replica had not received; `wait` makes that less likely but, as Redis documents, does
//! not rule it out.

mod choice;
mod client;
mod cluster;
mod generation;
mod locate;
mod refusal;
mod report;
mod sentinel;
mod settings;

use client::Client;
use cluster::Home;
use engine_guest::{Dsn, Engine, Error, Key, Shared};
use engine_redis_wire::{Unreadable, Value, cmd, integer, mark};
use refusal::Fault;
use settings::Settings;
use std::cell::RefCell;
use std::rc::Rc;

const CLAIM: &str = include_str!("claim.lua");

thread_local! {
    static CLIENTS: Shared<Client> = const { Shared::new() };
}

/// One key in one Redis.
struct Redis {
    /// Borrowed during a call, which blocks the instance, so that no other call can borrow it.
    client: Rc<RefCell<Client>>,
    key: Key,
    /// The node of a cluster that the key was on last.
    home: Home,
    /// The greatest mark seen: all integers up to it are taken, even if a server that has lost writes
    /// reports a lower one.
    seen: Option<i64>,
}

impl Engine for Redis {
    const OFFSET: i64 = 0;
    const DSN: Option<&'static str> = None;
    const SCHEMES: &'static [&'static str] = &[
        "redis",
        settings::SENTINEL,
        settings::CLUSTER,
        settings::TLS,
        settings::TLS_SENTINEL,
        settings::TLS_CLUSTER,
    ];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        let client = CLIENTS.with(|clients| {
            clients.get(dsn, |dsn| Ok::<_, Error>(Client::new(Settings::read(dsn)?)))
        })?;
        Ok(Self {
            client,
            key,
            home: None,
            seen: None,
        })
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        let mark = self.add(by)?;
        if self.is_news(mark, by) {
            return Ok(mark);
        }
        // The server lost writes, in a failover or a crash. The integers it returned are discarded.
        if let Some(seen) = self.seen {
            self.lift(seen)?;
        }
        let mark = self.add(by)?;
        if self.is_news(mark, by) {
            return Ok(mark);
        }
        Err(Error::Unavailable(format!(
            "the sequence went back to {mark} although it was raised above that; does another client \
             lower it, or are two servers behind one address?"
        )))
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        let mut getex = cmd("GETEX");
        getex.arg(self.key.as_str());
        let mut get = cmd("GET");
        get.arg(self.key.as_str());
        let found = self.client.borrow_mut().run(&mut self.home, |session| {
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

    async fn claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
        match self.seen {
            // The server may have lost writes: it must not accept from others what was taken.
            Some(seen) if seen >= first => {
                self.lift(seen)?;
                Err(Error::TooSmall(self.seen.unwrap_or(seen)))
            }
            _ => self.try_claim(first, last),
        }
    }

    async fn generation(&mut self) -> Result<Option<String>, Error> {
        self.client.borrow_mut().generation()
    }
}

impl Redis {
    /// Adds to the mark and returns the new one.
    fn add(&mut self, by: i64) -> Result<i64, Error> {
        let mut command = cmd("INCRBY");
        command.arg(self.key.as_str()).arg(by);
        self.client.borrow_mut().run(&mut self.home, |session| {
            let (reply, enough) = session.write(&command)?;
            enough?;
            integer(&reply).map_err(no_mark)
        })
    }

    /// Whether all integers of this advance are greater than every mark seen.
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

    /// Raises the server's mark to `to`, unless it is there or greater.
    fn lift(&mut self, to: i64) -> Result<(), Error> {
        match self.try_claim(to, to) {
            Ok(()) | Err(Error::TooSmall(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets the server's mark to `last` if it is below `first`.
    fn try_claim(&mut self, first: i64, last: i64) -> Result<(), Error> {
        let mut command = cmd("EVAL");
        command.arg(CLAIM).arg(1).arg(self.key.as_str());
        command.arg(first).arg(last);
        let done = self.client.borrow_mut().run(&mut self.home, |session| {
            let (reply, enough) = session.write(&command)?;
            match mark(&reply).map_err(no_mark)? {
                None => enough,
                Some(mark) if mark >= first => Err(Fault::Final(Error::TooSmall(mark))),
                Some(mark) => Err(Fault::Final(Error::Other(format!(
                    "Redis did not raise {mark} to {last}"
                )))),
            }
        });
        match &done {
            Ok(()) => self.seen = self.seen.max(Some(last)),
            Err(Error::TooSmall(mark)) => self.seen = self.seen.max(Some(*mark)),
            Err(_) => {}
        }
        done
    }
}

fn no_mark(found: Unreadable) -> Fault {
    Fault::Final(Error::Other(format!(
        "Redis holds {} under this key, which is not a 64-bit integer; delete it, or set it to \
         the greatest integer handed out so far",
        found.0
    )))
}

engine_guest::export!(Redis);

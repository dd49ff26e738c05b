//! Sequences in Redis, one key each: the mark is the key's value, as `INCRBY` stores it.
//!
//! DSN: `redis://[user:password@]host[:port][,host[:port]…][/database]`, port 6379 and database 0
//! when not given. Several hosts are tried in their order until one can write, so a primary and
//! its replicas may all be listed. Parameters:
//!
//! - `timeout`: how long one operation may take, retries included; 2 s by default. The resolution
//!   of host names is the host's and not within it.
//! - `wait`: how many replicas must acknowledge each write (`WAIT`). When fewer do, the call fails
//!   and its integers are skipped.
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

mod client;
mod refusal;
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
}

impl Engine for Redis {
    const OFFSET: i64 = 0;
    const DSN: Option<&'static str> = None;
    const SCHEMES: &'static [&'static str] = &["redis", "rediss"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        let client = CLIENTS.with(|clients| {
            clients.get(dsn, |dsn| Ok::<_, Error>(Client::new(Settings::read(dsn)?)))
        })?;
        Ok(Self { client, key })
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        let mut command = cmd("INCRBY");
        command.arg(self.key.as_str()).arg(by);
        self.client.borrow_mut().run(|session| {
            let (reply, enough) = session.write(&command)?;
            enough?;
            integer(&reply).map_err(no_mark)
        })
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        let mut getex = cmd("GETEX");
        getex.arg(self.key.as_str());
        let mut get = cmd("GET");
        get.arg(self.key.as_str());
        self.client.borrow_mut().run(|session| {
            let [reply] = match session.try_ask([&getex])? {
                [Value::ServerError(error)] if refusal::is_about_the_command(&error) => {
                    session.ask([&get])?
                }
                replies => session.check(replies)?,
            };
            mark(&reply).map_err(no_mark)
        })
    }

    async fn raise(&mut self, to: i64) -> Result<(), Error> {
        let mut command = cmd("EVAL");
        command.arg(RAISE).arg(1).arg(self.key.as_str()).arg(to);
        self.client.borrow_mut().run(|session| {
            let (reply, enough) = session.write(&command)?;
            match mark(&reply).map_err(no_mark)? {
                None => enough,
                Some(mark) if mark > to => Err(Fault::Final(Error::TooSmall(mark))),
                Some(mark) => Err(Fault::Final(Error::Other(format!(
                    "Redis did not raise {mark} to {to}"
                )))),
            }
        })
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

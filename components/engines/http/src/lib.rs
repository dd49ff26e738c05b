//! Sequences of another server: `int-host serve`, or the component `intd` under any host.
//!
//! DSN: `http[s]://[TOKEN[:ADMIN_TOKEN]@]HOST[:PORT][/KEY]`. The port is 8080 for `http` and 443 for `https`
//! unless the DSN has one. `TOKEN` is the server's mint token, `ADMIN_TOKEN` its admin token, without which
//! `set-last` is denied. The parameter `timeout` limits one operation, including retries (default 2 s).
//!
//! # The key
//!
//! Without a path in the DSN a sequence has the same key at the server as here. `KEY` is the key at the server;
//! a `*` in it means the key here, so `/shop-*` puts `shop-` in front of each key. With a `KEY` without `*` all
//! sequences here are one and the same sequence of the server.
//!
//! # The lattice
//!
//! The server decides which integers it mints, for all its clients, so increment and offset here must be the
//! server's. Before the first mint the engine asks for them; if they differ, it mints nothing and says so. One
//! mint here is one mint there. Each answer is checked before it is used: its integers are those of the lattice, as
//! many as asked for, and greater than all that the server told before.
//!
//! # Faults
//!
//! A request without an answer is sent again, after a pause, until the deadline. It may have taken effect: its
//! integers are never handed out. An answer with `Retry-After` is not repeated earlier than it says. Redirects
//! are not followed.
//!
//! An integer handed out survives what it survives at the server (C9). An engine whose server loses integers
//! notices that only as long as it lives.

mod codec;
mod server;
mod settings;

use codec::State;
use engine_guest::retry::Retry;
use engine_guest::{Dsn, Engine, Error, Key, Lattice, MAX_COUNT};
use server::Server;
use settings::Settings;
use std::time::Duration;

/// The pause after a failed attempt; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// One sequence of one server.
struct Http {
    server: Server,
    timeout: Duration,
    /// The lattice of the sequence here.
    lattice: Lattice,
    /// Whether the server has said that its lattice is the same.
    agreed: bool,
    /// The greatest integer that the server told.
    seen: i64,
}

impl Engine for Http {
    const OFFSET: i64 = 0;
    const DSN: Option<&'static str> = None;
    const SCHEMES: &'static [&'static str] = &["http", "https"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        let settings = Settings::read(&dsn, key.as_str())?;
        let lattice = Lattice::new(Lattice::INCREMENT, Self::OFFSET);
        Ok(Self {
            timeout: settings.timeout,
            server: Server::new(settings),
            lattice: lattice.map_err(|error| Error::Invalid(error.to_string()))?,
            agreed: false,
            seen: 0,
        })
    }

    fn use_lattice(&mut self, lattice: Lattice) {
        self.lattice = lattice;
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        let count = self.count(by)?;
        let mut retry = self.retry();
        if !self.agreed {
            let state = self.server.read(&mut retry).await?;
            self.hear(&state)?;
            state.agree(self.lattice)?;
            self.agreed = true;
        }
        let span = self.server.next(count, self.lattice, &mut retry).await?;
        if span.first() <= self.seen {
            return Err(backwards(self.seen, Some(span.first())));
        }
        self.seen = span.last();
        Ok(span.last())
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        let state = self.server.read(&mut self.retry()).await?;
        self.hear(&state)?;
        Ok(state.last)
    }

    async fn raise(&mut self, to: i64) -> Result<(), Error> {
        let state = self.server.raise(to, &mut self.retry()).await?;
        self.hear(&state)
    }

    async fn claim(&mut self, _first: i64, _last: i64) -> Result<(), Error> {
        Err(no_claims())
    }

    async fn generation(&mut self) -> Result<Option<String>, Error> {
        Err(no_claims())
    }
}

impl Http {
    fn retry(&self) -> Retry {
        Retry::within(self.timeout, "the server").with_pauses(FIRST_PAUSE, LONGEST_PAUSE)
    }

    /// How many integers a stride is.
    fn count(&self, by: i64) -> Result<u32, Error> {
        let increment = self.lattice.increment();
        u32::try_from(by / increment)
            .ok()
            .filter(|count| by % increment == 0 && (1..=MAX_COUNT).contains(count))
            .ok_or_else(|| {
                Error::Other(format!(
                    "a stride of {by} is not 1 to {MAX_COUNT} times the increment {increment}"
                ))
            })
    }

    /// Remembers the last integer that the server told. It never gets smaller.
    fn hear(&mut self, state: &State) -> Result<(), Error> {
        match state.last {
            Some(last) if last >= self.seen => self.seen = last,
            None if self.seen == 0 => {}
            last => return Err(backwards(self.seen, last)),
        }
        Ok(())
    }
}

fn backwards(seen: i64, now: Option<i64>) -> Error {
    let now = now.map_or("none".to_owned(), |now| now.to_string());
    Error::Other(format!(
        "the server went back: it told the integer {seen} before, and {now} after that; nothing is minted from it \
         until it is past {seen} again; is it another server, or were its data restored from a backup?"
    ))
}

fn no_claims() -> Error {
    Error::Other(
        "a server of integers mints the integers that come next, and does not let a client claim others, so it can \
         neither carry a node of a quorum nor lease a node number to flakes"
            .into(),
    )
}

engine_guest::export!(Http);

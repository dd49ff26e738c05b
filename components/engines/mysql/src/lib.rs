//! Sequences in MySQL and MariaDB: in the ticket table of the original project, or in a row of a
//! table of this engine's own.
//!
//! DSN: `mysql://user:password@host[:3306][,host…]/database`, also with `mariadb://`, or as Go's
//! driver has it: `user:password@tcp(host:3306)/database`, `user:password@/database`. The host
//! is 127.0.0.1 and the port 3306 when not given. Of several hosts the primary is used (see
//! below). Parameter: `timeout`, how long one operation may take, retries included; 2 s by
//! default. The resolution of host names is the host's and not within it.
//!
//! Users may log in with `mysql_native_password` and with `caching_sha2_password`, whose password
//! then travels encrypted with the public key that the server sends, as there is no TLS in a
//! component: on a network that can be tampered with, use a tunnel. Servers or users that insist
//! on TLS, `ed25519`, `parsec`, LDAP and the like are not supported.
//!
//! # Where a sequence is kept
//!
//! The original keeps one sequence in one table, named as the key: `id BIGINT UNSIGNED NOT NULL
//! AUTO_INCREMENT PRIMARY KEY, stub CHAR(1) NOT NULL DEFAULT '' UNIQUE`, and mints with `REPLACE
//! INTO integers (stub) VALUES ('a')` and `LAST_INSERT_ID()`. It knows nothing of other clients,
//! and must go on working unchanged. So, looking at the database on each new connection:
//!
//! | the database has | a sequence is kept |
//! | --- | --- |
//! | a table of that shape, named as the key | in it, shared with the original |
//! | a row for the key in `artisanal_integers` | in that row |
//! | both | nowhere: an error, which says which table to rename |
//! | neither, key `integers`, MariaDB | in a ticket table that the first mint creates, on InnoDB |
//! | neither, otherwise | in a row, in a table that the first mint creates |
//!
//! Names are compared byte by byte, and keys are stored as bytes, so case and trailing spaces
//! count. A ticket table on a server that cannot promise what is said below is refused, with the
//! statements that move its sequence to a row.
//! A sequence that was there and is gone, with its table or row, is an error as long as the engine
//! remembers it, not a new sequence that counts from 1 again. So is a mark below one that the
//! engine was told before: nothing is minted from it until it is raised past that. A process that
//! never saw the sequence cannot know that there was one, and begins anew.
//!
//! # A row: `artisanal_integers (name VARBINARY(128) PRIMARY KEY, mark BIGINT)`
//!
//! ```sql
//! SET @w = (the server is not read-only);
//! UPDATE artisanal_integers SET mark = LAST_INSERT_ID(mark + n)
//!     WHERE name = … AND mark >= (the greatest mark seen) AND @w;
//! SELECT (the server is not read-only)
//! ```
//!
//! One text and one round trip. The statement that counts locks one row, whose new value comes in
//! the reply; it never inserts, so a row that was deleted stays away. `set-last` is the same with
//! `GREATEST`. A sum past the top of `s64` is the server's error 1690 and changes nothing. No
//! counter is involved, so nobody's `auto_increment_increment` matters. Only for a sequence that
//! was never seen the statement is an `INSERT … ON DUPLICATE KEY UPDATE`, so that of several first
//! minters one makes the row and the others add to it.
//!
//! `read_only` stops ordinary users, but not administrators, so it is asked for twice: before, so
//! that a server that was demoted gets no transaction of its own, and after the commit, since it
//! may be demoted in between. What a server committed that is read-only afterwards is thrown away.
//!
//! # A ticket table
//!
//! What the original draws from is the table's AUTO_INCREMENT counter, not the row: it takes the
//! counter's next value *before* it gets hold of the row. Whatever is computed from the row alone
//! is therefore wrong. Two originals at once can leave the smaller of their ids behind, and one
//! that waits for the row already holds a value which lies inside an interval that somebody else
//! just computed. The counter has to be advanced by n, which no single statement does:
//!
//! - `INSERT … ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(VALUES(id) + n − 1)` draws one value
//!   and then moves the counter; on InnoDB another session may draw in between. With
//!   `innodb_autoinc_lock_mode` 2, MySQL 8's default, no lock of InnoDB's prevents it.
//! - A `REPLACE` of n rows draws n values at once and costs n rows (InnoDB: quadratic, 20 ms for
//!   17 rows); with a large `auto_increment_increment` it costs two rows and skips as many
//!   integers as it mints, and n is bounded.
//!
//! So a mint locks the table, all in one text and one round trip:
//!
//! ```sql
//! DO GET_LOCK(…);                                      -- 1
//! LOCK TABLES integers WRITE;                          -- 2
//! SET @m = (SELECT … MAX(id) FROM integers);           -- 3
//! REPLACE INTO integers (stub) VALUES ('a');           -- 4
//! REPLACE INTO integers (id, stub)
//!     VALUES (GREATEST(LAST_INSERT_ID(), @m + 1) + n - 1, 'a');  -- 5
//! COMMIT; UNLOCK TABLES; DO RELEASE_LOCK(…)
//! ```
//!
//! `LOCK TABLES … WRITE` is granted when no statement or transaction of anybody uses the table, so
//! nobody holds a drawn and unwritten value, and nobody draws until it is released: on MyISAM and
//! InnoDB, whatever the `innodb_autoinc_lock_mode`. (4) draws v, above everything ever drawn. (5) writes m = v + n − 1, and both engines move their counter past an id
//! that is written explicitly. So [v, m] is this call's, and whoever draws later gets more,
//! whatever the increment and offset of their session. `GREATEST` is for an id that somebody
//! raised by hand on a server where `UPDATE` leaves the counter behind. (3) fails when m would be
//! above the top of `s64`, before anything is drawn; (5) fails when only the counter, not the row,
//! is so near the top, and then one value is skipped. A failure ends the text with the table
//! locked, so the connection is closed at once, and with it go lock and transaction. Both
//! servers prefer a waiting `LOCK TABLES` to all that waits to write; (1) lets only one engine at a
//! time wait there, or several busy ones would starve the original.
//!
//! `set-last` locks in the same way, compares with the greater of `MAX(id)` and what the
//! counter is at, and writes the id. `last` is the greater of both too: at least what was handed
//! out, and more by less than its increment when an original drew last from InnoDB, whose counter
//! then already stands at that session's next value.
//!
//! What this asks for: the privileges SELECT, INSERT, DELETE and LOCK TABLES (for rows: SELECT,
//! INSERT and UPDATE; CREATE to create). A transaction left open that has read the ticket table,
//! a backup for instance, holds up minting until it ends; the error is `unavailable`.
//!
//! So ticket tables are used on MyISAM, in both servers, and on InnoDB in MariaDB since 10.11.
//! Refused, because table locks or counters do not mean this there:
//!
//! - InnoDB in MySQL. When a session draws with a smaller `auto_increment_increment` than the
//!   session that used the same cached table handler last, InnoDB takes the older increment off
//!   the counter, whatever was drawn through other handlers since. A later draw, of the original's
//!   as well as of ours, then repeats integers; 8.0.15 does so within seconds when originals with
//!   increments of 1, 2 and 50 mint at once, without this engine. No client can see the sessions
//!   to come, so none can promise anything. Before 8.0 a restart sets the counter back, too.
//! - InnoDB in MariaDB before 10.11: the same was in it, and left it at some time.
//! - Galera clusters and replication groups with several primaries, whose nodes have table locks
//!   and counters of their own; other storage engines; products that only speak MySQL's language.
//!
//! # What survives (C9)
//!
//! On InnoDB, what was committed: with `innodb_flush_log_at_trx_commit=1`, the default of both
//! servers, every integer handed out survives a crash of server and machine; with 0 or 2 the last
//! second may be lost and **its integers come again**. `sync_binlog=1` does the same for replicas.
//! A failover to a replica that had not received everything, as with asynchronous replication,
//! loses integers in the same way. **MyISAM is not crash-safe**: a killed server may find the
//! table damaged, and its repair may put the counter back. On MariaDB change such a table with
//! `ALTER TABLE integers ENGINE=InnoDB`, which the original does not notice; on MySQL move the
//! sequence to a row.
//!
//! A lost reply is followed by another mint, so integers may be skipped and none repeated (C7).
//! Conflicts, lock waits, servers that restart or that are read-only for now are tried again until
//! the deadline.
//!
//! # Several hosts
//!
//! Two servers that do not share what is committed hand out the same integers. So each time a
//! connection is made, all hosts of the DSN are asked at once what they are, for half of the
//! timeout at most, and the one that is used is
//!
//! - not read-only, whoever logs in;
//! - not a replica of another one, although nobody made it read-only; nor one that replicates from
//!   somewhere while a host does not answer that may be its primary;
//! - the only one left, unless all that are left are members of one cluster: Galera, with the same
//!   state UUID and members in common; a replication group with several primaries, each of which
//!   sees the other online. Two names of one server are one.
//!
//! Two others that take writes are `denied`, both named: one of them is a primary that was replaced
//! and came back, or a replica that was cut off, and which one it is a person has to say. A kept
//! connection is not asked again; it notices when its own server becomes read-only.
//!
//! What cannot be seen: a host that does not answer, a server that the DSN does not name, and, on
//! MySQL without the privilege REPLICATION CLIENT, that a server is a replica. When the primary is
//! away and a replaced one, writable, is all that answers, only those notice who have seen a
//! greater mark. So servers should start read-only (`read_only=1` in their configuration) and be made
//! writable by whatever promotes them.
//!
//! # Clusters with several primaries
//!
//! Galera and Group Replication put changes in one order before they commit, and of two that
//! changed the same row without knowing of each other only the first one commits: the other one
//! gets an error (1213, 1180 or 3101) and is tried again on the same connection, after a pause that
//! grows. So whichever nodes they use, no two mints share an integer, and a mint that begins when
//! another one has returned, elsewhere, gets greater ones: it comes later in that order, and could
//! not commit on top of an older mark.
//!
//! What is only read needs more: a node may not have applied yet what another one committed. So
//! sessions ask their node to catch up first, which costs no round trip of theirs: on Galera with
//! `wsrep_sync_wait=7`, in a group with `group_replication_consistency='BEFORE'` (MySQL 8.0.14 and
//! later; with one primary `BEFORE_ON_PRIMARY_FAILOVER`). For changes it is not necessary, but makes
//! conflicts rarer. MySQL before 8.0.14 cannot do this: in a group with several primaries `last`
//! and a refused `set-last` may tell an older mark there.

mod catalog;
mod client;
mod connection;
mod hosts;
mod layout;
mod quote;
mod refusal;
mod reply;
mod rows;
mod server;
mod session;
mod settings;
mod survey;
mod tickets;
mod witness;

use client::Client;
use engine_guest::{Dsn, Engine, Error, Key};
use session::Operation;
use settings::Settings;

/// One sequence of one database.
struct Mysql {
    client: Client,
}

impl Engine for Mysql {
    const OFFSET: i64 = 1;
    const DSN: Option<&'static str> = None;
    const SCHEMES: &'static [&'static str] = &["mysql", "mariadb"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        Ok(Self {
            client: Client::new(Settings::read(&dsn)?, key)?,
        })
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        let mark = self.client.run(Operation::Advance(by))?;
        mark.ok_or_else(|| Error::Other("the database told no mark".into()))
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        self.client.run(Operation::Mark)
    }

    async fn raise(&mut self, to: i64) -> Result<(), Error> {
        match self.client.run(Operation::Raise(to))? {
            Some(mark) if mark > to => Err(Error::TooSmall(mark)),
            _ => Ok(()),
        }
    }
}

engine_guest::export!(Mysql);

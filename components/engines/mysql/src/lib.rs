//! Sequences in MySQL and MariaDB: in the ticket table of the original project, or in a row of this
//! engine's own table.
//!
//! DSN: `mysql://user:password@host[:3306][,host…]/database`, or the same with `mariadb://`, or in the
//! form of Go's driver: `user:password@tcp(host:3306)/database`, `user:password@/database`. The default
//! host is 127.0.0.1, the default port 3306. Of several hosts, the primary is used (see below).
//! Parameters: `timeout`, the time limit of one operation, including retries; default 2 s. The resolution
//! of host names is up to the host and is not limited by it. `tls`: `true` or `verify` (the certificate is
//! valid for the host), `verify-ca` (for whatever name), `skip-verify` (encrypts, and verifies only if the host
//! was given authorities) or `false`, the default. The host of the component does TLS; the build without the
//! feature `tls` refuses all but `false`. A server that offers no TLS gets no password.
//!
//! Users may log in with `mysql_native_password` or `caching_sha2_password`. Without TLS, the latter sends
//! the password encrypted with the public key that the server sends: on a network that can be tampered
//! with, use TLS. `ed25519`, `parsec`, LDAP and similar are not supported.
//!
//! # Where a sequence is kept
//!
//! The original program keeps one sequence in one table, named like the key: `id BIGINT UNSIGNED NOT
//! NULL AUTO_INCREMENT PRIMARY KEY, stub CHAR(1) NOT NULL DEFAULT '' UNIQUE`. It mints with `REPLACE
//! INTO integers (stub) VALUES ('a')` and `LAST_INSERT_ID()`. It knows nothing of other clients, and
//! must continue to work unchanged. So this engine checks the database on each new connection:
//!
//! | the database has | a sequence is kept |
//! | --- | --- |
//! | a table with these columns, named like the key | in it, shared with the original program |
//! | a row for the key in `artisanal_integers` | in that row |
//! | both | nowhere: an error, which names the table to rename |
//! | neither, key `integers`, MariaDB | in a ticket table that the first mint creates, on InnoDB |
//! | neither, otherwise | in a row, in a table that the first mint creates |
//!
//! Names are compared byte by byte, and keys are stored as bytes, so case and trailing spaces are
//! significant. A ticket table on a server that cannot guarantee the properties below is refused, with
//! the statements that move its sequence to a row.
//!
//! If the table or row of a known sequence is missing, that is an error as long as the engine remembers
//! the sequence, not a new sequence that counts from 1 again. A mark below one that the engine has seen
//! is an error too: nothing is minted from it until it is raised past that. A process that never saw the
//! sequence cannot know that it existed, and starts a new one.
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
//! The statements are sent together, in one round trip. The `UPDATE` locks one row, whose new value is
//! in the reply; it never inserts, so a deleted row is not created again. `set-last` sets
//! the mark if it is below the value. A sum past the top of `s64` causes the server's error 1690 and changes nothing. No
//! counter is involved, so `auto_increment_increment` does not matter. Only for a sequence that was
//! never seen, the statement is an `INSERT … ON DUPLICATE KEY UPDATE`, so that of several concurrent
//! first mints one creates the row and the others add to it.
//!
//! `read_only` stops ordinary users, but not administrators, so it is checked twice: before, so that a
//! demoted server gets no transaction of its own, and after the commit, since it may be demoted in
//! between. The result is discarded if the server is read-only after the commit.
//!
//! # A ticket table
//!
//! The original program draws from the table's AUTO_INCREMENT counter, not from the row: it takes the
//! counter's next value *before* it locks the row. Any computation from the row alone is therefore
//! wrong. Two concurrent originals can leave the smaller of their ids in the row, and one that waits for
//! the row already holds a value inside an interval that another client just computed. The counter has
//! to be advanced by n, which no single statement does:
//!
//! - `INSERT … ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(VALUES(id) + n − 1)` draws one value
//!   and then moves the counter; on InnoDB another session may draw in between. With
//!   `innodb_autoinc_lock_mode` 2, the default of MySQL 8, no lock of InnoDB prevents that.
//! - A `REPLACE` of n rows draws n values at once and costs n rows (InnoDB: quadratic, 20 ms for
//!   17 rows); with a large `auto_increment_increment` it costs two rows and skips as many
//!   integers as it mints, and n is limited.
//!
//! So a mint locks the table, with all statements sent together in one round trip:
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
//! `LOCK TABLES … WRITE` is granted when no statement or transaction of any client uses the table. Then
//! no client holds a drawn but unwritten value, and none can draw until the lock is released, on MyISAM
//! and InnoDB, whatever the `innodb_autoinc_lock_mode`. (4) draws v, which is above every value drawn
//! before. (5) writes m = v + n − 1, and both storage engines move their counter past an id that is
//! written explicitly. So [v, m] belongs to this call, and later draws get greater values, whatever the
//! increment and offset of their session. `GREATEST` covers an id that was raised by hand on a server
//! where `UPDATE` does not move the counter. (3) fails if m would be above the top of `s64`, before
//! anything is drawn; (5) fails if only the counter, not the row, is that close to the top, and then one
//! value is skipped. A failure ends the statements with the table locked, so the connection is closed at
//! once, which releases the lock and ends the transaction. Both servers prefer a waiting `LOCK TABLES`
//! to all waiting writes; (1) lets only one engine at a time wait there, since several busy ones would
//! starve the original program.
//!
//! `set-last` locks in the same way, compares with the greater of `MAX(id)` and the counter, and writes
//! the id. `last` is the greater of both too: at least the greatest integer handed out. It is more than
//! that, by less than the increment, if an original program drew last from InnoDB, whose counter is then
//! already at the next value of that session.
//!
//! Required privileges: SELECT, INSERT, DELETE and LOCK TABLES (for rows: SELECT, INSERT and UPDATE;
//! CREATE to create a table). An open transaction that has read the ticket table, such as a backup,
//! blocks minting until it ends; the error is `unavailable`.
//!
//! So ticket tables are used on MyISAM, in both servers, and on InnoDB in MariaDB since 10.11.
//! They are refused where table locks or counters do not have these properties:
//!
//! - InnoDB in MySQL. If a session draws with a smaller `auto_increment_increment` than the previous
//!   session on the same cached table handler, InnoDB subtracts the older increment from the counter,
//!   whatever was drawn through other handlers since. A later draw, by the original program or by this
//!   engine, then repeats integers; 8.0.15 does so within seconds when originals with increments of 1, 2
//!   and 50 mint concurrently, without this engine. No client can foresee later sessions, so none can
//!   guarantee anything. Before 8.0, a restart sets the counter back, too.
//! - InnoDB in MariaDB before 10.11, which had the same defect in older versions.
//! - Galera clusters and replication groups with several primaries, whose nodes have their own table
//!   locks and counters; other storage engines; other products that use MySQL's protocol.
//!
//! # What survives (C9)
//!
//! On InnoDB, every commit: with `innodb_flush_log_at_trx_commit=1`, the default of both servers, every
//! integer handed out survives a crash of the server and of the machine; with 0 or 2, the last second
//! may be lost and **its integers are minted again**. `sync_binlog=1` does the same for replicas. A
//! failover to a replica that had not received everything, as with asynchronous replication, loses
//! integers in the same way. **MyISAM is not crash-safe**: a killed server may find the table damaged,
//! and its repair may set the counter back. On MariaDB, convert such a table with `ALTER TABLE integers
//! ENGINE=InnoDB`, which does not affect the original program; on MySQL, move the sequence to a row.
//!
//! After a lost reply the engine mints again, so integers may be skipped and none is repeated (C7).
//! Conflicts, lock waits, and servers that restart or are temporarily read-only are retried until the
//! deadline.
//!
//! # Several hosts
//!
//! Two servers that do not share their commits hand out the same integers. So for each new connection,
//! all hosts of the DSN are queried concurrently for their state, for at most half of the timeout, and
//! the one that is used is
//!
//! - not read-only, even for users who may write to a read-only server;
//! - not a replica of another host, even if it is not read-only; nor a host with an unknown source
//!   while a host that may be its primary does not answer;
//! - the only one left, unless all that are left are members of one cluster: Galera, with the same
//!   state UUID and members in common; or a replication group with several primaries, each of which
//!   sees the other online. Two names of one server count as one.
//!
//! A host that does not answer is ignored, unless less than an eighth of the timeout was left for its answer.
//!
//! If two other hosts accept writes, the error is `denied` and names both: one of them is a primary that
//! was replaced and came back, or a replica that was cut off, and an operator has to decide which. A kept
//! connection is not checked again; it detects when its own server becomes read-only.
//!
//! Three cases cannot be detected: a host that does not answer, a server that is not in the DSN, and, on
//! MySQL without the privilege REPLICATION CLIENT, that a server is a replica. If the primary does not
//! answer and only a replaced, writable one does, only clients that have seen a greater mark detect that.
//! So servers should start read-only (`read_only=1` in their configuration) and be made writable by
//! whatever promotes them.
//!
//! # Clusters with several primaries
//!
//! Galera and Group Replication order changes before they commit. Of two concurrent changes of the same
//! row, only the first one commits: the other one gets an error (1213, 1180 or 3101) and is retried on
//! the same connection, with backoff. So no two mints share an integer, whichever nodes they use, and a
//! mint that begins after another one has returned on a different node gets greater integers: it comes
//! later in that order, and could not commit on top of an older mark.
//!
//! Reads need more: a node may not have applied yet what another one committed. So sessions let their
//! node catch up first, which costs them no round trip: on Galera with `wsrep_sync_wait=7`, in a group
//! with `group_replication_consistency='BEFORE'` (MySQL 8.0.14 and later; with one primary
//! `BEFORE_ON_PRIMARY_FAILOVER`). Changes do not need it, but it makes conflicts rarer. MySQL before
//! 8.0.14 cannot do this: in a group with several primaries, `last` and a refused `set-last` may return
//! an older mark there.

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

engine_guest::export!(client::Client);

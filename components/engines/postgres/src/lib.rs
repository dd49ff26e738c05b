//! Sequences in PostgreSQL: each in a row of this engine's table.
//!
//! DSN: `postgres://user:password@host[:5432][,host…]/database`, or the same with `postgresql://`, or the
//! keywords of libpq: `host=… port=… user=… password=… dbname=…`. The default host is 127.0.0.1, the default
//! port 5432. Of several hosts, the primary is used (see below). Parameters: `timeout`, the time limit of
//! one operation, including retries; default 2 s. The resolution of host names is up to the host and is
//! not limited by it. `sslmode`, as libpq's: `disable` (the default; `allow` and `prefer` mean
//! the same), `verify-full` (TLS, and the certificate is valid for the host), `verify-ca` (for whatever
//! name) and `require`, which encrypts and verifies only if the host was given authorities. The host
//! of the component does TLS; the build without the feature `tls` refuses these modes. A server that has
//! no TLS gets no password.
//!
//! Users may log in with `scram-sha-256`, `md5`, `password`, `trust` or, with a client certificate, `cert`.
//! `password` sends the password as it is: on a network that others can read, use TLS.
//!
//! # Where a sequence is kept
//!
//! In the row with its key in `artisanal_integers (name text PRIMARY KEY, mark bigint NOT NULL)`, which
//! the first mint creates if it is missing. The table is looked up in the user's `search_path` on the
//! first connection, and has its schema in all statements after that.
//!
//! ```sql
//! SET LOCAL lock_timeout = …;
//! UPDATE artisanal_integers SET mark = mark + n
//!     WHERE name = … AND mark >= (the greatest mark seen) RETURNING mark
//! ```
//!
//! Both statements are sent as one message of the simple protocol: one round trip and one transaction.
//! The `UPDATE` locks one row and returns its new value; it never inserts, so a deleted row is not
//! created again. `set-last` is the same with `GREATEST`. A sum past the top of `s64` is the server's error
//! 22003 and changes nothing. Only for a sequence that was never seen, the statement is an `INSERT … ON
//! CONFLICT … DO UPDATE`, so that of several concurrent first mints one creates the row and the others add
//! to it.
//!
//! No statement is prepared and no setting outlives its transaction, so the engine also works behind
//! poolers such as PgBouncer that lend a connection for one transaction. The key is the only text in a
//! statement; it is quoted, and integers are formatted here. `lock_timeout` is half of `timeout`: without
//! it, the server would keep a process waiting for each client that gave up waiting for a locked row.
//!
//! If the row of a known sequence is missing, that is an error as long as the engine remembers the
//! sequence, not a new sequence that counts from 1 again. A mark below one that the engine has seen is an
//! error too: nothing is minted from it until it is raised past that. A process that never saw the
//! sequence cannot know that it existed, and starts a new one.
//!
//! # Why not PostgreSQL's own sequences
//!
//! A `SEQUENCE` cannot be advanced by n in one atomic step. `nextval` advances by its fixed `INCREMENT`; n
//! calls in one statement draw n values, between which other sessions draw theirs, so they are no span.
//! `setval` after `nextval` would set back what others have drawn in between. `ALTER SEQUENCE … INCREMENT`
//! around a `nextval` is atomic, but needs the sequence's owner, waits for every transaction that has
//! called `nextval`, and makes others that begin meanwhile wait. And with `CACHE` above 1, other sessions
//! hold values that they hand out later, after greater ones, which breaks the order.
//!
//! # What survives (C9)
//!
//! Every commit, with `fsync=on` and `synchronous_commit=on`, the defaults: every integer handed out
//! survives a crash of the server and of the machine. With `synchronous_commit=off`, a crash loses the
//! latest commits, up to three times `wal_writer_delay` (0.6 s by default), and **their integers are minted
//! again**. `local`, `remote_write`, `on` and `remote_apply` differ in what a synchronous standby must
//! have: with `synchronous_standby_names`, `on` and `remote_apply` also survive a failover to that standby
//! after the loss of the primary's machine, `remote_write` unless the standby's machine crashes as well.
//! A failover to a standby that had not received everything, as with asynchronous replication, loses
//! integers, and they are minted again. An `UNLOGGED` table is emptied by a crash.
//!
//! If the wait for a synchronous standby is cancelled, the server reports a success, with a warning. The
//! engine discards the result, because that commit may be lost in a failover.
//!
//! After a lost reply the engine mints again, so integers may be skipped and none is repeated (C7).
//! Serialization failures, locks, and servers that restart, or do not accept writes at present, are
//! retried until the deadline.
//!
//! # Several hosts
//!
//! Two primaries that do not share their commits hand out the same integers. So for each new connection,
//! all hosts of the DSN are asked concurrently for their state, for at most half of the time that is left,
//! and the one that is used
//!
//! - is not in recovery, as standbys are, and does not have `default_transaction_read_only=on`;
//! - is on the latest *timeline* that any host with the same system identifier reports, or ever reported
//!   to this process, standbys included: each promotion begins a new one, so an old primary that comes back
//!   is on an earlier one;
//! - has the same system identifier as the server that this process used before. That also holds with a
//!   single host. After `pg_upgrade`, which changes the identifier, restart.
//!
//! A host that does not answer is ignored, unless less than an eighth of the timeout was left for its
//! answer: then there is no choice, since a standby that is merely slow may know of a later timeline.
//!
//! If two different servers are primaries on the same timeline, or without any relation, the error is
//! `denied` and names both; an operator has to decide. Two names of one server count as one: they have the
//! same time of start. Every user may see all of this by default; servers that hide it, or do not have it,
//! such as products that only speak PostgreSQL's protocol, are used if they are the only primary.
//!
//! A kept connection is not checked again: a primary becomes a standby only by a restart, which ends its
//! connections, and if it no longer accepts writes, the mint itself fails with 25006.
//!
//! Three cases cannot be detected: a replaced primary is all that answers, and neither this process nor a
//! standby that answers has seen the later timeline; a connection is kept to a primary that was replaced
//! while it is still running; a pooler or proxy moves from one server to another behind a kept
//! connection. In all of them, only clients that have seen a greater mark notice. So whatever
//! promotes a standby must make sure that the old primary is stopped first.

mod choice;
mod client;
mod hosts;
mod quote;
mod refusal;
mod rows;
mod session;
mod settings;
mod socket;
mod tls;
mod wire;

engine_guest::export!(client::Client);

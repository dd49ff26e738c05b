//! The engine `mysql` and the original client mint from one table concurrently.
//!
//! The original client is simulated with its own statements, `REPLACE INTO integers (stub) VALUES ('a')` and
//! `LAST_INSERT_ID()`, over a native client, in sessions with different increments and offsets.

use crate::mysql::tickets;
use crate::open;
use int_host::{Builtin, Error};
use mysql_async::prelude::Queryable;
use testbed::TestResult;
use testbed::history::{History, Record, Span};
use testbed::mariadb::MariaDb;
use testbed::runtime::run;
use testbed::{backend, clock};

/// The number of calls of each client.
const CALLS: usize = 60;

/// Mints like the original client, in a session with this increment and offset.
async fn original(dsn: String, process: u32, increment: u32, offset: u32) -> Vec<Record> {
    let pool = mysql_async::Pool::new(dsn.as_str());
    let mut session = pool.get_conn().await.expect("connected");
    let settings = format!(
        "SET SESSION auto_increment_increment = {increment}, auto_increment_offset = {offset}"
    );
    session.query_drop(settings).await.expect("set");
    let mut records = Vec::new();
    for _ in 0..CALLS {
        let begin = clock::now();
        session
            .query_drop("REPLACE INTO integers (stub) VALUES ('a')")
            .await
            .expect("replaced");
        let id: Option<i64> = session
            .query_first("SELECT LAST_INSERT_ID()")
            .await
            .expect("selected");
        records.push(Record {
            process,
            begin,
            end: clock::now(),
            span: Span::one(id.expect("an id")),
        });
    }
    drop(session);
    pool.disconnect().await.expect("closed");
    records
}

/// Mints with the engine on a new host.
async fn ours(dsn: String, process: u32, count: u32) -> Vec<Record> {
    let sequence = open(Builtin::Mysql, &dsn, "integers")
        .await
        .expect("opened");
    let mut records = Vec::new();
    let mut failed = 0;
    while records.len() < CALLS {
        match backend::mint(&sequence, process, count).await {
            Ok(record) => records.push(record),
            // Contention on the table is expected here.
            Err(Error::Unavailable(_)) if failed < CALLS => failed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    records
}

fn together(engine: &str, lock_mode: &str) -> TestResult {
    let mariadb = MariaDb::with(&[lock_mode])?;
    mariadb.sql_as_user(&tickets("integers", engine))?;
    let dsn = format!("{}?timeout=10s", mariadb.dsn());
    let native = mariadb.dsn();
    let records = run(async {
        let mut clients = tokio::task::JoinSet::new();
        for (process, increment, offset) in
            [(0, 1, 1), (1, 2, 1), (2, 2, 2), (3, 10, 7), (4, 50, 3)]
        {
            clients.spawn(original(native.clone(), process, increment, offset));
        }
        for (process, count) in [(5, 1), (6, 3), (7, 100)] {
            clients.spawn(ours(dsn.clone(), process, count));
        }
        clients.join_all().await
    });
    let history = History::from_iter(records.into_iter().flatten());
    assert_eq!(history.records().len(), 8 * CALLS);
    history.assert_clean();
    Ok(())
}

#[test]
fn no_integer_repeats_on_myisam() -> TestResult {
    together("MyISAM", "--innodb-autoinc-lock-mode=1")
}

#[test]
fn no_integer_repeats_on_innodb() -> TestResult {
    together("InnoDB", "--innodb-autoinc-lock-mode=1")
}

/// The default mode of MySQL 8, in which inserts do not lock the counter.
#[test]
fn no_integer_repeats_on_innodb_with_interleaved_counters() -> TestResult {
    together("InnoDB", "--innodb-autoinc-lock-mode=2")
}

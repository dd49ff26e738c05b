//! Eight processes mint from one sequence while its servers are killed, stall, move their leader or lose
//! replies. After each fault all processes resume by themselves, and the history satisfies the contract: no
//! duplicate, and the order holds across processes.

use int_host::Builtin;
use std::process::ExitCode;
use std::time::Duration;
use testbed::TestResult;
use testbed::clock;
use testbed::group::{GROUPS, Group};
use testbed::history::History;
use testbed::minter::{Crowd, Failure, Minter, START};
use testbed::postgres::{self, Postgres};
use testbed::proxy::{Fault, Proxy};
use testbed::scratch::Scratch;
use testbed::suite::Suite;

/// How many processes mint concurrently.
const MINTERS: u32 = 8;

/// How long processes may take to mint again after the end of a fault or the election of a new leader.
/// Elections take a second or two and engines retry within fractions of a second; the rest allows for a busy
/// machine.
const RESUMES: Duration = Duration::from_secs(30);

/// A fault of a group while a crowd mints.
type Trouble = fn(&dyn Group, &mut Crowd) -> TestResult;

fn main() -> ExitCode {
    // Each test runs nine or more processes, which mostly wait.
    let mut suite = Suite::new().threads(3);
    let troubles: [(&str, Trouble, bool); 5] = [
        ("killed", killed, false),
        ("leader_moved", leader_moved, true),
        ("restarted_one_after_another", restarted, false),
        ("frozen", frozen, false),
        ("all_dead", all_dead, false),
    ];
    let lines: [(&str, Line); 2] = [("replies_lost", replies_lost), ("stalled", stalled)];
    for (engine, start, missing) in GROUPS {
        let name = engine.about().name;
        let missing = missing();
        let has_leader = matches!(engine, Builtin::Rqlite | Builtin::Summitdb);
        for (what, trouble, needs_leader) in troubles {
            if needs_leader && !has_leader {
                continue;
            }
            suite.test_unless(missing, format!("{name}::{what}"), move || {
                // By default some engines search for a leader for a long time.
                let parameters = if what == "all_dead" {
                    "?timeout=1s"
                } else {
                    ""
                };
                in_trouble(*engine, &*start()?, parameters, trouble)
            });
        }
        for (what, trouble) in lines {
            suite.test_unless(missing, format!("{name}::{what}"), move || {
                on_a_bad_line(*engine, &*start()?, trouble)
            });
        }
    }
    suite.test("keyvalue::killed", keyvalue_killed);
    suite.test("postgres::failover", postgres_failover);
    suite.run()
}

fn crowd(engine: Builtin, dsn: &str) -> TestResult<Crowd> {
    let crowd = Crowd::start(MINTERS, |number| {
        // The counts differ, so that spans of different sizes are minted concurrently.
        let count = 1 + number % 3;
        minter(number, engine, dsn, count, None)
    })?;
    Ok(crowd)
}

fn minter(
    number: u32,
    engine: Builtin,
    dsn: &str,
    count: u32,
    data: Option<&std::path::Path>,
) -> testbed::Result<Minter> {
    let program = env!("CARGO_BIN_EXE_minter");
    Minter::start(
        program,
        number,
        engine.about().name,
        dsn,
        "faults",
        count,
        data,
    )
}

fn in_trouble(
    engine: Builtin,
    group: &dyn Group,
    parameters: &str,
    trouble: Trouble,
) -> TestResult {
    let mut crowd = crowd(engine, &format!("{}{parameters}", group.dsn()))?;
    crowd.mint_more(10)?;
    trouble(group, &mut crowd)?;
    crowd.mint_more(10)?;
    check(crowd.finish()?);
    Ok(())
}

/// Checks C1, C2 and C3, and that every error is `unavailable`.
fn check((history, failures): (History, Vec<Failure>)) {
    history.assert_clean();
    let offset = history.records()[0].span.first.rem_euclid(2);
    assert_eq!(history.off_lattice(2, offset), []);
    assert!(history.records().len() >= 20 * MINTERS as usize);
    for failure in failures {
        assert_eq!(failure.kind, "unavailable", "{}", failure.message);
    }
}

/// Waits until the crowd resumes, and prints how long that took.
fn go_on(crowd: &mut Crowd, after: &str) -> TestResult {
    let begin = clock::now();
    crowd.go_on(RESUMES)?;
    let took = Duration::from_nanos(clock::now() - begin);
    eprintln!("{after}: all {MINTERS} processes mint again after {took:.1?}");
    Ok(())
}

/// Kills the leader with SIGKILL, twice.
fn killed(group: &dyn Group, crowd: &mut Crowd) -> TestResult {
    for _ in 0..2 {
        let leader = group.leader()?;
        group.server(leader).kill();
        if group.size() > 1 {
            // The other servers elect a new leader.
            go_on(crowd, "leader killed")?;
        }
        group.server(leader).start_again()?;
        go_on(crowd, "started again")?;
        crowd.mint_more(5)?;
    }
    Ok(())
}

fn leader_moved(group: &dyn Group, crowd: &mut Crowd) -> TestResult {
    for _ in 0..3 {
        assert!(group.move_leader()?);
        go_on(crowd, "leader moved")?;
        crowd.mint_more(5)?;
    }
    Ok(())
}

/// Restarts every server in turn, like a rolling upgrade.
fn restarted(group: &dyn Group, crowd: &mut Crowd) -> TestResult {
    for index in 0..group.size() {
        group.server(index).stop()?;
        group.server(index).start_again()?;
        group.leader()?;
        go_on(crowd, "restarted")?;
    }
    Ok(())
}

/// Freezes the leader until calls have failed or another leader was elected, and then resumes it.
fn frozen(group: &dyn Group, crowd: &mut Crowd) -> TestResult {
    let leader = group.leader()?;
    group.server(leader).pause();
    if group.size() > 1 {
        go_on(crowd, "leader frozen")?;
    } else {
        crowd.wait_for_returns(1, START)?;
    }
    group.server(leader).resume();
    go_on(crowd, "leader thawed")?;
    Ok(())
}

/// Kills all servers for a while, during which the processes must not use much processor time.
fn all_dead(group: &dyn Group, crowd: &mut Crowd) -> TestResult {
    for index in 0..group.size() {
        group.server(index).kill();
    }
    // Calls that were in flight have returned after this.
    crowd.wait_for_returns(1, START)?;
    let spent = |crowd: &Crowd| -> testbed::Result<Vec<_>> {
        let minters = crowd.minters().iter();
        minters.map(Minter::processor_time).collect()
    };
    let (begin, before) = (clock::now(), spent(crowd)?);
    crowd.wait_for_returns(2, START)?;
    let waited = Duration::from_nanos(clock::now() - begin);
    for (before, after) in before.iter().zip(spent(crowd)?) {
        let share = (after - *before).as_secs_f64() / waited.as_secs_f64();
        assert!(share < 0.3, "{:.0} % of a processor", share * 100.0);
    }
    for index in 0..group.size() {
        group.server(index).launch()?;
    }
    for index in 0..group.size() {
        group.server(index).start_again()?;
    }
    go_on(crowd, "all started again")?;
    Ok(())
}

type Line = fn(&Proxy, &mut Crowd, bool) -> TestResult;

/// All processes use one server through a proxy.
fn on_a_bad_line(engine: Builtin, group: &dyn Group, trouble: Line) -> TestResult {
    let proxy = Proxy::to(group.port(group.leader()?))?;
    let dsn = format!("{}?timeout=1s", group.dsn_on(proxy.port()));
    let mut crowd = crowd(engine, &dsn)?;
    crowd.mint_more(10)?;
    trouble(&proxy, &mut crowd, group.size() > 1)?;
    crowd.mint_more(10)?;
    check(crowd.finish()?);
    Ok(())
}

/// Cuts connections after the request was executed and before its reply is forwarded.
///
/// Where the engine knows `others`, a process that has lost a reply may bypass the proxy from then on, so fewer
/// replies can be cut.
fn replies_lost(proxy: &Proxy, crowd: &mut Crowd, others: bool) -> TestResult {
    let rounds: &[usize] = if others { &[1, 1, 2] } else { &[1, 1, 5, 20] };
    for times in rounds.iter().copied() {
        let before = proxy.replies_cut();
        proxy.cut(times, b"")?;
        testbed::wait::until_true("replies are cut", START, || {
            proxy.replies_cut() >= before + times
        })?;
        proxy.set(Fault::None)?;
        go_on(crowd, "replies lost")?;
    }
    Ok(())
}

/// Stalls the connections for longer than the deadline of a call.
fn stalled(proxy: &Proxy, crowd: &mut Crowd, _: bool) -> TestResult {
    for fault in [Fault::Stall, Fault::StallReplies, Fault::Refuse] {
        proxy.set(fault.clone())?;
        crowd.wait_for_returns(1, START)?;
        proxy.set(Fault::None)?;
        go_on(crowd, &format!("{fault:?}"))?;
    }
    Ok(())
}

/// Only one process at a time can use the embedded store. Each process is killed while it mints, and the next
/// one continues the sequence.
fn keyvalue_killed() -> TestResult {
    let data = Scratch::new("killed")?;
    let mut history = History::default();
    for number in 0..6 {
        let minter = minter(number, Builtin::Keyvalue, "", 3, Some(data.path()))?;
        minter.wait_for_mints(20, START)?;
        let (records, _) = minter.kill()?;
        history.extend(records);
    }
    history.assert_clean();
    assert_eq!(history.off_lattice(2, 0), []);
    Ok(())
}

/// The primary is killed, its synchronous standby is promoted, and the old primary comes back and accepts writes.
fn postgres_failover() -> TestResult {
    let old = Postgres::hasty()?;
    let new = old.standby()?;
    old.alter_system("SET synchronous_standby_names = '*'")?;
    testbed::wait::until_or_error("the standby is synchronous", START, || {
        let state = old.sql("SELECT sync_state FROM pg_stat_replication")?;
        Ok(if state == "sync" { Ok(()) } else { Err(state) })
    })?;
    let ports = [old.port(), new.port()];
    let dsn = postgres::dsn(postgres::USER, postgres::PASSWORD, &ports);
    let mut crowd = crowd(Builtin::Postgres, &dsn)?;
    crowd.mint_more(10)?;
    old.kill();
    new.promote()?;
    go_on(&mut crowd, "standby promoted")?;

    old.start_again()?;
    old.alter_system("RESET synchronous_standby_names")?;
    let mark = "SELECT mark FROM artisanal_integers";
    let left_at = old.sql(mark)?;
    // All processes connect again while both servers accept writes.
    new.kill();
    crowd.wait_for_returns(1, START)?;
    new.start_again()?;
    go_on(&mut crowd, "both are there")?;
    crowd.mint_more(10)?;
    assert_eq!(
        old.sql(mark)?,
        left_at,
        "nothing was minted from the old primary"
    );
    check(crowd.finish()?);
    Ok(())
}

//! The engine `summitdb` against mocks of the nodes of a group: servers that speak the Redis protocol and whose
//! replies come from a script. Real groups are in the tests of the contract and of faults, where a
//! `summitdb-server` is installed.

use crate::{assert_fails, mint, mint_allowing, open};
use int_host::Builtin;
use rustix::process::Signal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use testbed::TestResult;
use testbed::cli::{Place, run as run_command};
use testbed::contract::kind;
use testbed::history::{History, Record};
use testbed::minter::{Minter, START};
use testbed::runtime::run;
use testbed::stand_in::{Reply, StandIn};
use testbed::wait;

const SUMMITDB: Builtin = Builtin::Summitdb;

/// Another loopback address, which the host treats as another machine. Linux has all of 127.0.0.0/8.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The state that the mock nodes of a group share.
#[derive(Default)]
struct Group {
    mark: i64,
    leader: Option<SocketAddr>,
    peers: Vec<SocketAddr>,
    /// How many commands that need the leader were sent to any node.
    asked: usize,
    /// How many of the next mints are executed without a reply.
    lose: usize,
}

/// The reply of a node of the group.
fn node(group: &Mutex<Group>, own: Option<SocketAddr>, words: &[String]) -> Reply {
    let mut group = group.lock().expect("no panic in scripts");
    if words[0] == "RAFTPEERS" {
        let peers = group.peers.iter();
        return Reply::List(
            peers
                .flat_map(|p| [p.to_string(), "Follower".into()])
                .collect(),
        );
    }
    group.asked += 1;
    match group.leader {
        None => return Reply::Error("ERR leader not known".into()),
        Some(leader) if own != Some(leader) => return Reply::Error(format!("TRY {leader}")),
        Some(_) => {}
    }
    let number = |at: usize| words[at].parse::<i64>().expect("a number");
    // A mint is INCRBY, which wraps, or a script with the number and two bounds. A script with two
    // arguments repairs a mark that wrapped.
    let (by, as_text) = match (words[0].as_str(), words.len()) {
        ("INCRBY", 3) => (number(2), false),
        ("EVAL", 7) if group.mark > number(5) => return Reply::Nil,
        ("EVAL", 7) => (number(4), true),
        ("EVAL", 6) if group.mark <= -number(5) => {
            group.mark = number(4);
            return Reply::Nil;
        }
        _ => return Reply::Text(group.mark.to_string()),
    };
    group.mark = group.mark.wrapping_add(by);
    if group.lose > 0 {
        group.lose -= 1;
        return Reply::Close;
    }
    if as_text {
        Reply::Text(group.mark.to_string())
    } else {
        Reply::Integer(group.mark)
    }
}

/// Starts one node on each of these addresses. None leads yet.
fn group(addresses: &[Ipv4Addr]) -> TestResult<(Arc<Mutex<Group>>, Vec<StandIn>)> {
    let group = Arc::new(Mutex::new(Group::default()));
    let nodes: TestResult<Vec<_>> = addresses
        .iter()
        .map(|ip| {
            let server = StandIn::on(IpAddr::from(*ip), |_| Reply::Close)?;
            let (shared, own) = (Arc::clone(&group), Some(server.address()));
            server.play(move |words| node(&shared, own, words));
            Ok(server)
        })
        .collect();
    let nodes = nodes?;
    group.lock().expect("new").peers = nodes.iter().map(StandIn::address).collect();
    Ok((group, nodes))
}

fn lead(group: &Mutex<Group>, node: &StandIn) {
    group.lock().expect("no panic in scripts").leader = Some(node.address());
}

fn dsn(node: &StandIn) -> String {
    format!("redis://{}?timeout=5s", node.address())
}

#[test]
fn try_is_followed_and_told_as_the_original_did() -> TestResult {
    let (group, nodes) = group(&[Ipv4Addr::LOCALHOST; 3])?;
    lead(&group, &nodes[2]);
    let place = Place::new()?;
    let outcome = place.run(&["--engine", "summitdb", "--dsn", &dsn(&nodes[0])])?;
    assert_eq!(outcome.integers(), [2]);
    let told = format!(
        "summitdb told me to try redis://{} instead, so here we go...",
        nodes[2].address()
    );
    assert!(
        outcome.stderr.lines().any(|line| line == told),
        "{outcome:?}"
    );
    Ok(())
}

#[test]
fn while_nobody_leads_it_is_told_as_the_original_did() -> TestResult {
    let (group, nodes) = group(&[Ipv4Addr::LOCALHOST; 3])?;
    let place = Place::new()?;
    let slow = format!("redis://{}?timeout=1s", nodes[0].address());
    let outcome = place.run(&["--engine", "summitdb", "--dsn", &slow])?;
    outcome.assert_failed(
        6,
        &["couldn't connect to leader so trying to see if the peers are rebalancing themselves (1/200)..."],
    );
    // Three nodes are polled every 200 ms, so there is no busy loop.
    let asked = group.lock().expect("no panic").asked;
    assert!((2..100).contains(&asked), "{asked} commands in a second");
    Ok(())
}

#[test]
fn a_leader_on_another_host_needs_permission() -> TestResult {
    let (group, nodes) = group(&[Ipv4Addr::LOCALHOST, ELSEWHERE])?;
    lead(&group, &nodes[1]);
    let leader = nodes[1].address().to_string();
    let hint = format!("--allow-host {leader}");
    assert_fails(mint(SUMMITDB, &dsn(&nodes[0]), "k"), "denied", &[&hint]);
    assert_eq!(nodes[1].accepted(), 0, "nobody came");
    assert_eq!(mint_allowing(SUMMITDB, &dsn(&nodes[0]), &leader), Ok(2));
    assert_eq!(mint_allowing(SUMMITDB, &dsn(&nodes[0]), "127.0.0.2"), Ok(4));
    assert_fails(
        mint_allowing(SUMMITDB, &dsn(&nodes[0]), "127.0.0.2:9"),
        "denied",
        &[&hint],
    );
    // The same with the command-line option, and with the environment variable.
    let place = Place::new()?;
    let dsn = dsn(&nodes[0]);
    let line = ["--engine", "summitdb", "--dsn", &dsn];
    place.run(&line)?.assert_failed(5, &[&hint]);
    let allowing = [
        "--engine",
        "summitdb",
        "--dsn",
        &dsn,
        "--allow-host",
        &leader,
    ];
    assert_eq!(place.mint(&allowing)?, [6]);
    let mut command = place.command(&line)?;
    command.env("ARTISANAL_ALLOW_HOST", format!("10.0.0.1,{leader}"));
    assert_eq!(run_command(command)?.integers(), [8]);
    Ok(())
}

#[test]
fn a_leader_that_moves_at_will_is_followed_without_a_repeat() -> TestResult {
    let (group, nodes) = group(&[Ipv4Addr::LOCALHOST; 3])?;
    lead(&group, &nodes[0]);
    let mut history = History::default();
    run(async {
        let sequence = open(SUMMITDB, &dsn(&nodes[0]), "k").await.expect("opened");
        for turn in 0..30 {
            lead(&group, &nodes[turn % 3]);
            // Sometimes a reply is lost after the mint was executed.
            group.lock().expect("no panic").lose = usize::from(turn % 4 == 1);
            let minted = sequence.next(1 + turn as u32 % 3).await.expect("minted");
            let time = turn as u64;
            history.push(Record {
                process: 0,
                begin: 2 * time,
                end: 2 * time + 1,
                span: minted.into(),
            });
        }
    });
    history.assert_clean();
    Ok(())
}

/// Like the original client, it prints that it waits, and continues.
#[test]
fn continuous_waits_for_a_leader_and_goes_on() -> TestResult {
    let (group, nodes) = group(&[Ipv4Addr::LOCALHOST; 3])?;
    lead(&group, &nodes[0]);
    let place = Place::new()?;
    let log = place.file("stderr");
    let dsn = format!("redis://{}", nodes[0].address());
    let mut command = place.command(&["-engine", "summitdb", "-dsn", &dsn, "-continuous"])?;
    command.stderr(std::fs::File::create(&log).expect("a file"));
    let mut minter = Minter::printing(command, 0)?;
    minter.wait_for_mints(10, START)?;
    for (heir, tries) in [(1, 2), (2, 3)] {
        group.lock().expect("no panic in scripts").leader = None;
        std::fs::File::create(&log).expect("emptied");
        let waits = format!(
            "couldn't connect to leader so trying to see if the peers are rebalancing \
             themselves ({tries}/200)..."
        );
        wait::until_true(&waits, START, || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains(&waits))
        })?;
        let before = minter.minted();
        lead(&group, &nodes[heir]);
        minter.wait_for_mints(before + 10, START)?;
    }
    minter.process().signal(Signal::INT);
    let (status, records) = minter.end()?;
    assert_eq!(status.code(), Some(0));
    let integers: Vec<_> = records.iter().map(|record| record.span.first).collect();
    assert!(integers.is_sorted_by(|a, b| a < b), "{integers:?}");
    Ok(())
}

/// SummitDB's counter wraps around at the top of `s64`; the engine must not.
#[test]
fn a_counter_that_wraps_is_exhausted_and_stays_so() -> TestResult {
    let (group, nodes) = group(&[Ipv4Addr::LOCALHOST; 2])?;
    lead(&group, &nodes[1]);
    run(async {
        let sequence = open(SUMMITDB, &dsn(&nodes[0]), "k").await.expect("opened");
        assert_eq!(sequence.next(1).await.expect("minted").first(), 2);
        // Another client raises the mark to just below the top, unknown to this sequence.
        group.lock().expect("no panic in scripts").mark = i64::MAX - 3;
        for _ in 0..2 {
            let error = sequence.next(100).await.expect_err("there are no hundred");
            assert_eq!(kind(&error), "exhausted", "{error}");
        }
        assert_eq!(sequence.last().await, Ok(Some(i64::MAX)));
    });
    assert_eq!(group.lock().expect("no panic in scripts").mark, i64::MAX);
    assert_fails(mint(SUMMITDB, &dsn(&nodes[0]), "k"), "exhausted", &[]);
    Ok(())
}

#[test]
fn nodes_that_send_each_other_on_are_left_at_the_deadline() -> TestResult {
    let (group, nodes) = group(&[Ipv4Addr::LOCALHOST; 2])?;
    for (node, other) in [(0, 1), (1, 0)] {
        let answer = format!("TRY {}", nodes[other].address());
        let shared = Arc::clone(&group);
        nodes[node].play(move |words| {
            shared.lock().expect("no panic").asked += 1;
            match words[0].as_str() {
                "RAFTPEERS" => Reply::List(Vec::new()),
                _ => Reply::Error(answer.clone()),
            }
        });
    }
    let short = format!("redis://{}?timeout=1s", nodes[0].address());
    assert_fails(mint(SUMMITDB, &short, "k"), "unavailable", &[]);
    let asked = group.lock().expect("no panic").asked;
    assert!(asked < 200, "{asked} commands in a second");
    Ok(())
}

#[test]
fn nodes_that_are_dead_silent_or_strange_are_skipped() -> TestResult {
    let closed = SocketAddr::from((Ipv4Addr::LOCALHOST, testbed::port::free()?));
    for habit in [Some(Reply::Silence), Some(Reply::Close), None] {
        let (group, nodes) = group(&[Ipv4Addr::LOCALHOST; 2])?;
        lead(&group, &nodes[1]);
        let first = match &habit {
            Some(reply) => {
                let reply = reply.clone();
                nodes[0].play(move |_| reply.clone());
                nodes[0].address()
            }
            None => closed,
        };
        let dsn = format!("redis://{first},{}?timeout=5s", nodes[1].address());
        assert_eq!(mint(SUMMITDB, &dsn, "k"), Ok(2), "{habit:?}");
    }
    Ok(())
}

#[test]
fn a_leader_that_dies_is_replaced_by_a_peer_that_only_it_named() -> TestResult {
    let (group, mut nodes) = group(&[Ipv4Addr::LOCALHOST; 3])?;
    lead(&group, &nodes[0]);
    run(async {
        // The DSN lists one node only.
        let sequence = open(SUMMITDB, &dsn(&nodes[0]), "k").await.expect("opened");
        assert_eq!(sequence.next(1).await.expect("minted").first(), 2);
        nodes[0].play(|_| Reply::Close);
        drop(nodes.remove(0));
        lead(&group, &nodes[1]);
        assert_eq!(sequence.next(1).await.expect("minted").first(), 4);
    });
    Ok(())
}

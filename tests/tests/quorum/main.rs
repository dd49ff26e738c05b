//! The engine `quorum` on real nodes: what a group survives, and which errors say what it does not.

mod databases;
mod lost;

use int_host::{Builtin, Error, Host, Sequence};
use std::ops::RangeInclusive;
use std::time::Duration;
use testbed::contract::{assert_fails, kind};
use testbed::history::History;
use testbed::proxy::Fault;
use testbed::quorum::{Options, Quorum};
use testbed::redis::Redis;
use testbed::runtime::run;
use testbed::{TestResult, backend, wait};

async fn open(host: &Host, dsn: &str, key: &str) -> Sequence {
    let opened = backend::open(host, &Builtin::Quorum.into(), dsn, key).await;
    opened.expect("opened")
}

/// Mints once from the quorum, by a process that has not heard of it before.
fn mint(quorum: &Quorum) -> Result<i64, Error> {
    let host = backend::host(None).expect("a host");
    run(async {
        let sequence = open(&host, &format!("{}?timeout=3s", quorum.dsn()), "k").await;
        Ok(sequence.next(1).await?.first())
    })
}

#[test]
fn a_minority_may_fail_and_a_majority_may_not() -> TestResult {
    let quorum = Quorum::start()?;
    assert_eq!(mint(&quorum), Ok(2));
    quorum.server(0).kill();
    assert_eq!(mint(&quorum), Ok(4));
    quorum.server(1).kill();
    let first = format!("127.0.0.1:{}", quorum.port(0));
    let second = format!("127.0.0.1:{}", quorum.port(1));
    assert_fails(mint(&quorum), "unavailable", &[&first, &second]);
    // The node that is left has accepted claims that nobody got.
    quorum.server(0).start_again()?;
    let next = mint(&quorum).expect("a majority is there");
    assert!(next > 4, "{next}");
    // The other majority, of which one node missed all of that.
    quorum.server(1).start_again()?;
    quorum.server(2).kill();
    let last = mint(&quorum).expect("a majority is there");
    assert!(last > next, "{last} after {next}");
    Ok(())
}

#[test]
fn a_frozen_node_is_not_waited_for_and_gets_one_request_at_a_time() -> TestResult {
    let quorum = Quorum::start_behind_proxies()?;
    let host = backend::host(None)?;
    let frozen = quorum.proxy(2).expect("a proxy");
    let sequence = run(open(&host, &format!("{}?timeout=30s", quorum.dsn()), "k"));
    let mint = |turns: RangeInclusive<i64>| {
        run(async {
            for turn in turns {
                let minted = sequence.next(1).await.expect("minted").first();
                assert_eq!(minted, 2 * turn);
            }
        });
    };
    mint(1..=3);
    quorum.server(2).pause();
    let before = frozen.accepted();
    mint(4..=40);
    // At most the request that it did not answer and, if the others were slow for a moment, a few in its place.
    let connections = frozen.accepted() - before;
    assert!(connections < 10, "{connections}");
    quorum.server(2).resume();
    Ok(())
}

/// That node would accept what all others refuse.
#[test]
fn a_refused_claim_has_no_effect_on_a_node_that_is_behind() -> TestResult {
    let quorum = Quorum::start_behind_proxies()?;
    let behind = quorum.proxy(2).expect("a proxy");
    let host = backend::host(None)?;
    let dsn = format!("{}?timeout=20s", quorum.dsn());
    let raiser = run(open(&host, &dsn, "k"));
    behind.set(Fault::Refuse)?;
    assert_eq!(run(raiser.set_last(100)), Ok(()));
    behind.set(Fault::None)?;
    let claimer = run(open(&host, &dsn, "k"));
    for (first, last) in [(100, i64::MAX), (7, 1_000)] {
        let refused = run(claimer.claim(first, last));
        assert_eq!(refused, Err(Error::TooSmall(100)), "{first} to {last}");
    }
    // The node that was behind is needed now.
    quorum.server(0).kill();
    assert_eq!(run(claimer.last()), Ok(Some(100)));
    assert_eq!(run(claimer.claim(101, 1_000)), Ok(()));
    assert_eq!(run(claimer.last()), Ok(Some(1_000)));
    Ok(())
}

/// Its refusal is not the client's: the others are a majority, and the token is right.
#[test]
fn a_node_whose_backend_denies_access_is_a_missing_one() -> TestResult {
    let redis = Redis::start()?;
    let engine = ["--engine", "redis", "--dsn"].map(str::to_owned);
    let quorum = Quorum::with(Options {
        token: Some("s3cret".into()),
        nodes: vec![
            [&engine[..], &[redis.dsn()]].concat(),
            Vec::new(),
            Vec::new(),
        ],
    })?;
    assert_eq!(mint(&quorum), Ok(2));
    redis.query::<String>(&["ACL", "SETUSER", "default", "-@all"])?;
    assert_eq!(mint(&quorum), Ok(4));
    quorum.server(2).kill();
    let failed = mint(&quorum);
    assert_fails(failed.clone(), "unavailable", &["Redis", "NOPERM"]);
    let told = failed.expect_err("no majority").to_string();
    assert!(!told.contains("token"), "{told}");
    Ok(())
}

/// A DSN that lists one by mistake, or after it was replaced and has become a member of another group.
#[test]
fn a_member_of_another_group_that_answers_first_is_not_counted() -> TestResult {
    let quorum = Quorum::start_behind_proxies()?;
    let other = Quorum::start_behind_proxies()?;
    let host = backend::host(None)?;
    let elsewhere = run(open(&host, &other.dsn(), "k"));
    assert_eq!(run(elsewhere.set_last(1_000)), Ok(()));
    let dsn = format!(
        "quorum://{},{},{}?timeout=20s",
        other.address(0),
        quorum.address(0),
        quorum.address(1)
    );
    let members = [0, 1].map(|index| quorum.proxy(index).expect("a proxy"));
    let stranger = other.proxy(0).expect("a proxy");
    for member in members {
        member.set(Fault::StallReplies)?;
    }
    let before = stranger.round_trips();
    let sequence = run(open(&host, &dsn, "k"));
    let minted = std::thread::scope(|scope| {
        let minting = scope.spawn(|| run(sequence.next(1)));
        wait::until_true("the stranger answers", Duration::from_secs(20), || {
            stranger.round_trips() > before
        })?;
        for member in members {
            member.set(Fault::None)?;
        }
        Ok::<_, testbed::Error>(minting.join().expect("no panic").expect("minted").first())
    })?;
    assert!(minted < 1_000, "{minted} is above the mark of the stranger");
    assert_eq!(run(sequence.last()), Ok(Some(minted)));
    assert_eq!(run(elsewhere.next(1)).expect("minted").first(), 1_002);
    Ok(())
}

#[test]
fn wrong_tokens_groups_and_lists_are_told() -> TestResult {
    let quorum = Quorum::with(Options {
        token: Some("s3cret".into()),
        nodes: vec![Vec::new(); 3],
    })?;
    let host = backend::host(None)?;
    let nodes = quorum.dsn().replace("quorum://s3cret@", "");
    let next = |dsn: String| run(async { open(&host, &dsn, "k").await.next(1).await });
    assert_eq!(next(quorum.dsn()).expect("minted").first(), 2);
    for login in ["", "wr0ng@"] {
        let result = next(format!("quorum://{login}{nodes}"));
        let error = result.expect_err("it needs the token");
        assert_eq!(kind(&error), "denied", "{error}");
        assert!(!error.to_string().contains("wr0ng"), "{error}");
    }
    // A member of another group in place of one of the nodes: the other two are enough, and the third is not
    // counted.
    let other = Quorum::with(Options {
        token: Some("s3cret".into()),
        nodes: vec![Vec::new()],
    })?;
    let list: Vec<&str> = nodes.split(',').collect();
    let foreign = format!("127.0.0.1:{}", other.port(0));
    let mixed = next(format!("quorum://s3cret@{},{},{foreign}", list[0], list[1]));
    assert!(mixed.expect("minted").first() > 2);
    let alone = next(format!("quorum://s3cret@{},{foreign},127.0.0.1:1", list[0]));
    assert_fails(alone.map(drop), "denied", &["one group", "1 members"]);
    // Too few of the members.
    let one = next(format!("quorum://s3cret@{}", list[0]));
    assert_fails(one.map(drop), "denied", &["3 members", "1 nodes"]);
    // A group is made once.
    let again = quorum.manage(&["node".into(), "init".into(), list[0].into()]);
    let refused = again.expect_err("it is a member already").to_string();
    assert!(refused.contains("already"), "{refused}");
    // A request that is not a claim.
    let url = format!("http://{}/v1/sequences/k/claim", list[0]);
    let token = [("authorization", "Bearer s3cret")];
    for (body, status, says) in [
        ("{\"first\":5,\"last\":4}", 400, "interval"),
        ("{\"first\":5}", 400, "last"),
        ("", 400, "JSON"),
        ("{\"first\":1,\"last\":1}", 409, "\"accepted\":false"),
    ] {
        let answer = testbed::http::request("POST", &url, &token, body)?;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.body.contains(says), "{body}: {}", answer.body);
    }
    let reserved = url.replace("/k/", "/~node%2Fidentity/");
    let answer = testbed::http::request("POST", &reserved, &token, "{\"first\":1,\"last\":9}")?;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert_eq!(testbed::http::request("POST", &url, &[], "{}")?.status, 401);
    Ok(())
}

#[test]
fn a_file_may_name_the_members_and_a_path_the_key_at_the_nodes() -> TestResult {
    let quorum = Quorum::start()?;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("members").display().to_string();
    let write = |text: String| std::fs::write(&file, text).expect("written");
    let members = (0..quorum.size()).map(|index| quorum.address(index));
    let lines = members.collect::<Vec<_>>().join("\n# the next one\n");
    write(format!("{lines}\n"));
    let mint = |key: &str| {
        let line = ["--engine", "quorum", "--dsn-file", &file, "--key", key];
        quorum.manage(&line.map(str::to_owned))
    };
    assert_eq!(mint("orders")?, "2\n");
    write(format!("quorum://\n{lines}/shop-*?timeout=3s"));
    assert_eq!(mint("orders")?, "2\n");
    assert_eq!(mint("shop-orders")?, "2\n");
    write(format!("quorum://\n{lines}/shop-orders"));
    assert_eq!(mint("orders")?, "4\n");
    Ok(())
}

#[test]
fn a_node_hands_out_what_comes_next_as_if_it_had_been_claimed() -> TestResult {
    let quorum = Quorum::start()?;
    let post = |path: &str, body: &str| {
        let url = format!("http://{}/v1/sequences/k/{path}", quorum.address(0));
        testbed::http::request("POST", &url, &[], body)
    };
    for (path, body, status, says) in [
        (
            "advance",
            "{\"count\":5}",
            200,
            "\"accepted\":true,\"mark\":5",
        ),
        ("claim", "{\"first\":5,\"last\":9}", 409, "\"mark\":5"),
        // Told whoever is accepted next.
        (
            "claim",
            "{\"first\":6,\"last\":9}",
            200,
            "\"accepted\":true,\"contended\":true,\"mark\":9",
        ),
        (
            "advance",
            "{\"count\":1,\"epoch\":1}",
            200,
            "\"accepted\":true,\"mark\":10",
        ),
        (
            "advance",
            "{\"count\":1,\"epoch\":2}",
            409,
            "\"accepted\":false,\"incarnation\"",
        ),
        ("advance", "{\"count\":0}", 400, "count"),
        ("advance", "{\"count\":100001}", 400, "100000"),
        ("advance", "{\"count\":-1}", 400, "JSON"),
        ("advance", "{\"first\":1,\"last\":2}", 400, "JSON"),
        (
            "claim",
            "{\"first\":9223372036854775807,\"last\":9223372036854775807}",
            200,
            "accepted",
        ),
        ("advance", "{\"count\":1}", 507, "exhausted"),
    ] {
        let answer = post(path, body)?;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.body);
        assert!(answer.body.contains(says), "{path} {body}: {}", answer.body);
    }
    let url = format!("http://{}/v1/sequences/k/advance", quorum.address(0));
    let answer = testbed::http::get(&url)?;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    Ok(())
}

#[test]
fn clients_that_mint_at_the_same_time_all_get_through() -> TestResult {
    const CLIENTS: u32 = 8;
    const MINTS: u32 = 40;
    let quorum = Quorum::start()?;
    let dsn = format!("{}?timeout=20s", quorum.dsn());
    let mint = &|process| {
        let host = backend::host(None).expect("a host");
        run(async {
            let sequence = open(&host, &dsn, "k").await;
            let mut records = Vec::new();
            for _ in 0..MINTS {
                let minted = backend::mint(&sequence, process, 1).await;
                records.push(minted.expect("minted"));
            }
            records
        })
    };
    let mut history = History::default();
    std::thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|process| scope.spawn(move || mint(process)));
        for client in clients.collect::<Vec<_>>() {
            let records = client.join().expect("it minted");
            records.into_iter().for_each(|record| history.push(record));
        }
    });
    assert_eq!(history.check(), []);
    assert_eq!(history.integers(), u64::from(CLIENTS * MINTS));
    Ok(())
}

//! What a node notices about its own data: lost, restored from a copy, or of another node.

use super::databases::{redis_with, with_third_on};
use super::mint;
use serde_json::Value;
use testbed::TestResult;
use testbed::contract::assert_fails;
use testbed::quorum::Quorum;

pub(super) fn state(status: &Value) -> &str {
    status["state"].as_str().unwrap_or_default()
}

#[test]
fn a_node_that_lost_its_data_takes_no_part_until_it_has_joined() -> TestResult {
    let quorum = Quorum::start()?;
    assert_eq!(mint(&quorum), Ok(2));
    quorum.server(0).kill();
    // The others move on while it is away.
    assert_eq!(mint(&quorum), Ok(4));
    quorum.wipe(0)?;
    quorum.server(0).start_again()?;
    assert_eq!(state(&quorum.status(0)?), "new");
    // With one other node it would be a majority, which has forgotten everything.
    quorum.server(1).kill();
    assert_fails(mint(&quorum), "unavailable", &["no group"]);
    let refused = quorum.join(0, 2).expect_err("it needs both others");
    assert!(refused.to_string().contains("2 other members"), "{refused}");
    assert_eq!(state(&quorum.status(0)?), "lost");
    quorum.server(1).start_again()?;
    let said = quorum.join(0, 2)?;
    assert!(said.contains("incarnation 2"), "{said}");
    // Now it has the marks, and counts.
    quorum.server(2).kill();
    let minted = mint(&quorum).expect("a majority is there");
    assert!(minted > 4, "{minted}");
    // It remembers its place after a restart.
    quorum.server(0).kill();
    quorum.server(0).start_again()?;
    let status = quorum.status(0)?;
    assert_eq!(
        (state(&status), &status["incarnation"]),
        ("serving", &Value::from(2))
    );
    let next = mint(&quorum).expect("a majority is there");
    assert!(next > minted, "{next} after {minted}");
    Ok(())
}

/// If it stopped taking part, the one that is lost could not join either.
#[test]
fn a_node_that_takes_part_is_not_made_to_join() -> TestResult {
    let redis = redis_with(["--appendfsync", "no"])?;
    let quorum = with_third_on("redis", &redis.dsn())?;
    assert_eq!(mint(&quorum), Ok(2));
    quorum.server(0).kill();
    quorum.wipe(0)?;
    quorum.server(0).start_again()?;
    for node in [1, 2] {
        let said = quorum.join(node, 3 - node)?;
        assert!(said.contains("takes part already"), "{said}");
        let status = quorum.status(node)?;
        assert_eq!(
            (state(&status), &status["incarnation"]),
            ("serving", &Value::from(1))
        );
    }
    let said = quorum.join(0, 1)?;
    assert!(said.contains("incarnation 2"), "{said}");
    assert_eq!(mint(&quorum), Ok(4));
    // Its Redis may have lost writes, but no claim has shown it yet.
    redis.kill();
    redis.start_again()?;
    assert_eq!(state(&quorum.status(2)?), "serving");
    let said = quorum.join(2, 0)?;
    assert!(said.contains("incarnation 2"), "{said}");
    quorum.server(1).kill();
    let minted = mint(&quorum).expect("a majority is there");
    assert!(minted > 4, "{minted}");
    Ok(())
}

#[test]
fn a_backend_that_is_not_what_it_was_is_noticed() -> TestResult {
    let quorum = Quorum::start()?;
    assert_eq!(mint(&quorum), Ok(2));
    // An older copy of the store comes back: it has fewer starts of the node.
    quorum.server(0).stop()?;
    let copy = quorum.copy_store(0)?;
    quorum.server(0).start_again()?;
    quorum.server(0).stop()?;
    quorum.restore_store(0, &copy)?;
    quorum.server(0).start_again()?;
    let status = quorum.status(0)?;
    assert_eq!(state(&status), "lost");
    assert!(
        status["reason"].to_string().contains("older copy"),
        "{status}"
    );
    // However often it starts.
    for _ in 0..3 {
        quorum.server(0).kill();
        quorum.server(0).start_again()?;
        assert_eq!(state(&quorum.status(0)?), "lost");
    }
    // The store of another node.
    quorum.server(1).stop()?;
    let other = quorum.copy_store(1)?;
    quorum.server(1).start_again()?;
    quorum.server(0).stop()?;
    quorum.restore_store(0, &other)?;
    quorum.server(0).start_again()?;
    let status = quorum.status(0)?;
    assert_eq!(state(&status), "lost");
    assert!(
        status["reason"].to_string().contains("belongs to node"),
        "{status}"
    );
    let refused = quorum.join(0, 1).expect_err("the store is another node's");
    assert!(refused.to_string().contains("empty one"), "{refused}");
    // An empty store, and the node's own file: it may join.
    quorum.server(0).stop()?;
    quorum.remove_store(0)?;
    quorum.server(0).start_again()?;
    assert_eq!(state(&quorum.status(0)?), "lost");
    quorum.join(0, 1)?;
    assert_eq!(state(&quorum.status(0)?), "serving");
    assert_eq!(mint(&quorum), Ok(4));
    // A copy from before it was emptied, when the node had been started more often than after it.
    for _ in 0..9 {
        quorum.server(0).kill();
        quorum.server(0).start_again()?;
    }
    quorum.server(0).stop()?;
    let copy = quorum.copy_store(0)?;
    quorum.remove_store(0)?;
    quorum.server(0).start_again()?;
    quorum.join(0, 1)?;
    assert_eq!(state(&quorum.status(0)?), "serving");
    quorum.server(0).stop()?;
    quorum.restore_store(0, &copy)?;
    quorum.server(0).start_again()?;
    let status = quorum.status(0)?;
    assert_eq!(state(&status), "lost", "{status}");
    Ok(())
}

/// The numbers by which a copy is recognised begin anew when a node has lost everything. The incarnation does not.
#[test]
fn a_copy_from_before_everything_was_lost_is_noticed() -> TestResult {
    let quorum = Quorum::start()?;
    assert_eq!(mint(&quorum), Ok(2));
    // So that the copy very likely has the greatest number of a process.
    for _ in 0..8 {
        quorum.server(0).kill();
        quorum.server(0).start_again()?;
    }
    quorum.server(0).stop()?;
    let copy = quorum.copy_store(0)?;
    quorum.wipe(0)?;
    quorum.server(0).start_again()?;
    let said = quorum.join(0, 1)?;
    assert!(said.contains("incarnation 2"), "{said}");
    assert_eq!(mint(&quorum), Ok(4));
    quorum.server(0).stop()?;
    quorum.restore_store(0, &copy)?;
    for _ in 0..3 {
        quorum.server(0).start_again()?;
        let status = quorum.status(0)?;
        assert_eq!(state(&status), "lost", "{status}");
        let reason = status["reason"].to_string();
        assert!(reason.contains("older copy"), "{status}");
        quorum.server(0).kill();
    }
    quorum.server(0).start_again()?;
    let said = quorum.join(0, 1)?;
    assert!(said.contains("incarnation 3"), "{said}");
    quorum.server(1).kill();
    let minted = mint(&quorum).expect("a majority is there");
    assert!(minted > 4, "{minted}");
    Ok(())
}

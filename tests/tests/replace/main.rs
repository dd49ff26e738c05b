//! `int-host node replace` on real nodes: members are replaced while clients mint, also when the command is interrupted or
//! others do the same.

mod clients;
mod interrupted;
mod new_members;
mod old_members;
mod rivals;

use artisanal_quorum::{Change, Claim, Describe, List, Member, Step};
use clients::{Clients, mint_on};
use int_host::node::{Asked, Node, Peers};
use int_host::{Builtin, Error, Host, Sequence};
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use testbed::contract::kind;
use testbed::history::{History, Record};
use testbed::quorum::{self, Options, Quorum};
use testbed::runtime::run;
use testbed::{TestResult, backend, http};

const LIMIT: Duration = Duration::from_secs(60);
const TOKEN: &str = "s3cret";

fn group() -> testbed::Result<Quorum> {
    Quorum::with(Options {
        token: Some(TOKEN.into()),
        nodes: vec![Vec::new(); 3],
    })
}

/// A node that belongs to no group.
fn newcomer() -> testbed::Result<Quorum> {
    Quorum::without_group(Options {
        token: Some(TOKEN.into()),
        nodes: vec![Vec::new()],
    })
}

fn dsn(addresses: &[&str]) -> String {
    format!("quorum://{TOKEN}@{}?timeout=5s", addresses.join(","))
}

async fn open(host: &Host, dsn: &str, key: &str) -> Sequence {
    let opened = backend::open(host, &Builtin::Quorum.into(), dsn, key).await;
    opened.expect("opened")
}

/// Mints once, by a process that has not heard of the group before.
fn mint(addresses: &[&str]) -> Result<i64, Error> {
    let host = backend::host(None).expect("a host");
    run(async {
        let sequence = open(&host, &dsn(addresses), "k").await;
        Ok(sequence.next(1).await?.first())
    })
}

fn arguments(old: &str, new: &str, via: &str) -> Vec<String> {
    ["node", "replace", old, new, "--via", via]
        .map(str::to_owned)
        .to_vec()
}

fn post(address: &str, path: &str, body: &Value) -> testbed::Result<http::Answer> {
    http::request(
        "POST",
        &format!("http://{address}{path}"),
        &[("authorization", &format!("Bearer {TOKEN}"))],
        &body.to_string(),
    )
}

fn status(address: &str) -> testbed::Result<Value> {
    quorum::status(address, TOKEN)
}

/// Sends a step of a change to a node.
fn step(address: &str, group: &Value, step: &Value) -> TestResult<Value> {
    let node = &status(address)?["node"];
    let message = json!({"group": group, "node": node, "step": step});
    let answer = post(address, "/v1/node/change", &message)?;
    assert_eq!(answer.status, 200, "{step}: {}", answer.body);
    Ok(answer.json())
}

/// The list in force at a node, and the one in which `new` has the place of `old`.
fn lists(via: &str, old: &str, new: &str, epoch: u64) -> TestResult<(Value, Value, Value)> {
    let known = status(via)?;
    let newcomer = status(new)?;
    let mut members = known["members"].clone();
    for member in members.as_array_mut().expect("members") {
        if member["address"] == old {
            *member = json!({"node": newcomer["node"], "address": new});
        }
    }
    let base = json!({"epoch": known["epoch"], "members": known["members"]});
    let next = json!({"epoch": epoch, "members": members});
    Ok((known["group"].clone(), base, next))
}

fn await_status(address: &str, field: &str, wanted: &Value) -> testbed::Result {
    quorum::await_status(address, TOKEN, field, wanted)
}

/// Three members; the third is killed and replaced, then the first is killed, all while clients mint with the old list,
/// and then with the new one.
#[test]
fn a_dead_member_is_replaced_while_clients_mint() -> TestResult {
    let group = group()?;
    let new = newcomer()?;
    let old: Vec<String> = (0..3).map(|index| group.address(index)).collect();
    let old: Vec<&str> = old.iter().map(String::as_str).collect();
    let fourth = new.address(0);
    let (old_dsn, new_dsn) = (dsn(&old), dsn(&[old[0], old[1], &fourth]));
    let history = run(async {
        let (old_clients, new_clients) = (Clients::default(), Clients::default());
        let mut minters = tokio::task::JoinSet::new();
        for (process, count) in (0..).zip([1, 7, 1000, 3]) {
            let host = backend::host(None).expect("a host");
            let clients = old_clients.clone();
            minters.spawn(mint_on(host, old_dsn.clone(), process, count, clients));
        }
        old_clients.mint(8).await;
        group.server(2).kill();
        old_clients.mint(4).await;
        let said = group
            .manage(&arguments(old[2], &fourth, old[0]))
            .expect("replaced");
        assert!(
            said.contains("(list 2)") && said.contains(&fourth),
            "{said}"
        );
        for (process, count) in (4..).zip([1, 7, 1000]) {
            let host = backend::host(None).expect("a host");
            let clients = new_clients.clone();
            minters.spawn(mint_on(host, new_dsn.clone(), process, count, clients));
        }
        // The old list has two members of the new one.
        old_clients.mint(4).await;
        new_clients.mint(4).await;
        // The one that was replaced comes back.
        group.server(2).start_again().expect("started");
        old_clients.mint(4).await;
        new_clients.mint(4).await;
        // The new member counts.
        group.server(0).kill();
        new_clients.mint(8).await;
        old_clients.stop.store(true, Ordering::Relaxed);
        new_clients.stop.store(true, Ordering::Relaxed);
        let mut history = History::default();
        for records in minters.join_all().await {
            history.extend(records);
        }
        history
    });
    history.assert_clean();
    await_status(old[2], "state", &json!("replaced"))?;
    // One member of the new list is all that the old one can reach.
    let alone = mint(&old).expect_err("no majority");
    assert_eq!(kind(&alone), "unavailable", "{alone}");
    let members = format!("{},{},{fourth}", old[0], old[1]);
    assert!(alone.to_string().contains(&members), "{alone}");
    Ok(())
}

#[test]
fn what_cannot_be_is_refused() -> TestResult {
    let group = group()?;
    let [first, second, third] = [0, 1, 2].map(|index| group.address(index));
    let new = newcomer()?;
    let fourth = new.address(0);
    let other = Quorum::with(Options {
        token: Some(TOKEN.into()),
        nodes: vec![Vec::new()],
    })?;
    let foreign = other.address(0);
    let none = "127.0.0.1:1";
    for (old, new, via, says) in [
        (&*third, &*foreign, &*first, "already"),
        (&third, &second, &first, "a member of the group already"),
        (&foreign, &fourth, &first, "no member at"),
        (&third, &fourth, &fourth, "belongs to no group"),
        (&third, none, &first, "127.0.0.1:1 does not answer"),
        (&third, &fourth, none, "does not answer"),
    ] {
        let refused = group.manage(&arguments(old, new, via));
        let refused = refused.expect_err(says).to_string();
        assert!(refused.contains(says), "no {says:?} in {refused}");
    }
    let wrong = Quorum::without_group(Options {
        token: Some("wr0ng".into()),
        nodes: Vec::new(),
    })?;
    let refused = wrong.manage(&arguments(&third, &fourth, &first));
    let refused = refused.expect_err("the wrong token").to_string();
    assert!(
        refused.contains("token") && !refused.contains("wr0ng"),
        "{refused}"
    );
    // Too few members: nothing has changed, and the command can be repeated when they are back.
    let (id, base, next) = lists(&first, &third, &fourth, 2)?;
    let member = &status(&first)?["node"];
    for (step, code) in [
        (json!({"begin": {"base": base, "next": base}}), 400),
        (
            json!({"begin": {"base": base, "next": {"epoch": 2, "members": []}}}),
            400,
        ),
        (
            json!({"raise": {"epoch": 1, "marks": [["~node/epoch", 9]]}}),
            400,
        ),
        (json!({"propose": {"epoch": u64::MAX}}), 400),
        (json!({"erase": {}}), 400),
    ] {
        let message = json!({"group": id, "node": member, "step": step});
        let answer = post(&first, "/v1/node/change", &message)?;
        assert_eq!(answer.status, code, "{step}: {}", answer.body);
    }
    for (group, node) in [(&json!(1), member), (&id, &json!(1))] {
        let step = json!({"finish": {"next": next}});
        let message = json!({"group": group, "node": node, "step": step});
        let answer = post(&first, "/v1/node/change", &message)?;
        assert_eq!(answer.status, 403, "{}", answer.body);
    }
    assert_eq!(mint(&[&first, &second, &third]), Ok(2));
    Ok(())
}

//! `int-host node replace` on real nodes: members are replaced while clients mint, also when the command is interrupted or
//! others do the same.

use artisanal_quorum::{Change, Claim, Describe, List, Member, Step};
use int_host::node::{Asked, Node, Peers};
use int_host::{Builtin, Config, Error, Host, Sequence};
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use testbed::contract::kind;
use testbed::history::{History, Record, Span};
use testbed::quorum::{Options, Quorum};
use testbed::runtime::run;
use testbed::{TestResult, backend, clock, http, wait};

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
    let config = Config {
        dsn: dsn.to_owned(),
        key: key.to_owned(),
        ..Config::default()
    };
    host.open(Builtin::Quorum, config).await.expect("opened")
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
    let answer = http::request(
        "GET",
        &format!("http://{address}/v1/node"),
        &[("authorization", &format!("Bearer {TOKEN}"))],
        "",
    )?;
    Ok(answer.json())
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

fn await_status(address: &str, field: &str, wanted: &Value) -> TestResult {
    wait::until(&format!("{address} has {field} {wanted}"), LIMIT, || {
        let status = status(address).map_err(|error| error.to_string())?;
        if status[field] == *wanted {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })?;
    Ok(())
}

/// What clients and the test share.
#[derive(Clone, Default)]
struct Clients {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Clients {
    /// Waits until so many further calls of these clients have succeeded.
    async fn mint(&self, further: usize) {
        let goal = self.calls.load(Ordering::Relaxed) + further;
        let minted = async {
            while self.calls.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let minted = tokio::time::timeout(LIMIT, minted).await;
        minted.expect("clients mint");
    }
}

/// Mints until it is stopped; a call may fail while too few members are reached.
async fn mint_on(
    host: Host,
    dsn: String,
    process: u32,
    count: u32,
    clients: Clients,
) -> Vec<Record> {
    let sequence = open(&host, &dsn, "k").await;
    let mut records = Vec::new();
    while !clients.stop.load(Ordering::Relaxed) {
        let begin = clock::now();
        match sequence.next(count).await {
            Ok(span) => {
                records.push(Record {
                    process,
                    begin,
                    end: clock::now(),
                    span: Span {
                        first: span.first(),
                        step: span.step(),
                        count: span.count(),
                    },
                });
                clients.calls.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => assert_eq!(kind(&error), "unavailable", "{error}"),
        }
    }
    records
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

/// One group whose members are replaced again and again, each time after somebody else has sent some of the messages and
/// gone.
#[test]
fn an_interrupted_replacement_goes_on() -> TestResult {
    let group = group()?;
    let mut members: Vec<String> = (0..3).map(|index| group.address(index)).collect();
    let mut newcomers = Vec::new();
    let mut last = 0;
    for round in 0..7_usize {
        let new = newcomer()?;
        let fourth = new.address(0);
        newcomers.push(new);
        let (old, first, second) = (
            members[round % 3].clone(),
            members[(round + 1) % 3].clone(),
            members[(round + 2) % 3].clone(),
        );
        let epoch = status(&first)?["epoch"].as_u64().expect("an epoch") + 1;
        let (id, base, next) = lists(&first, &old, &fourth, epoch)?;
        let begin = json!({"begin": {"base": base, "next": next}});
        let propose = json!({"propose": {"epoch": epoch}});
        let raise = json!({"raise": {"epoch": epoch, "marks": [["k", last]]}});
        let finish = json!({"finish": {"next": next}});
        let messages = [
            (&first, &propose),
            (&first, &begin),
            (&fourth, &begin),
            (&second, &begin),
            (&fourth, &raise),
            (&fourth, &finish),
        ];
        for (address, message) in messages.iter().take(round) {
            let answer = step(address, &id, message)?;
            assert_eq!(answer["accepted"], true, "round {round}: {answer}");
        }
        let all = [&*first, &*second, &*fourth];
        if (4..=5).contains(&round) {
            // A majority has refused older epochs, and nobody has heard that the next one is in force.
            let refused = mint(&all).expect_err("not in force");
            assert_eq!(kind(&refused), "unavailable", "{refused}");
            assert!(refused.to_string().contains("under way"), "{refused}");
        }
        let said = group.manage(&arguments(&old, &fourth, &first))?;
        assert!(
            said.contains(&format!("(list {}", epoch)) || round == 1,
            "{said}"
        );
        // Once more changes nothing.
        let again = group.manage(&arguments(&old, &fourth, &first))?;
        assert_eq!(again.lines().next(), said.lines().next());
        members[round % 3].clone_from(&fourth);
        for address in &members {
            let status = status(address)?;
            assert_eq!(status["state"], "serving", "round {round}: {status}");
            assert_eq!(status["open"], Value::Null, "round {round}: {status}");
        }
        let minted = mint(&all).expect("minted");
        assert!(minted > last, "round {round}: {minted} after {last}");
        last = minted;
    }
    // None of the first members is left.
    let first: Vec<String> = (0..3).map(|index| group.address(index)).collect();
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let error = mint(&first).expect_err("all were replaced").to_string();
    assert!(error.contains("taken its place"), "{error}");
    Ok(())
}

/// The command is killed after some time, whatever it does then, while clients mint.
#[test]
fn a_killed_command_is_repeated() -> TestResult {
    let group = group()?;
    let addresses: Vec<String> = (0..3).map(|index| group.address(index)).collect();
    // Further sequences, which make the replacement take longer.
    for number in 0..300 {
        for address in &addresses[..2] {
            let claim = json!({"first": 1, "last": number + 1});
            post(
                address,
                &format!("/v1/sequences/more{number}/claim"),
                &claim,
            )?;
        }
    }
    let all = dsn(&addresses.iter().map(String::as_str).collect::<Vec<_>>());
    let new: Vec<Quorum> = (0..2).map(|_| newcomer()).collect::<Result<_, _>>()?;
    let history = run(async {
        let clients = Clients::default();
        let mut minters = tokio::task::JoinSet::new();
        for (process, count) in (0..).zip([1, 7, 1000]) {
            let host = backend::host(None).expect("a host");
            minters.spawn(mint_on(host, all.clone(), process, count, clients.clone()));
        }
        let mut old = addresses[2].clone();
        for (turn, new) in new.iter().enumerate() {
            let fourth = new.address(0);
            let arguments = arguments(&old, &fourth, &addresses[0]);
            for pause in [5, 10, 20, 40, 80] {
                let mut command = group.command(&arguments).expect("the program");
                let mut child = command
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("started");
                tokio::time::sleep(Duration::from_millis(pause + 7 * turn as u64)).await;
                child.kill().expect("killed");
                child.wait().expect("it has ended");
            }
            group.manage(&arguments).expect("replaced");
            clients.mint(4).await;
            old = fourth;
        }
        clients.stop.store(true, Ordering::Relaxed);
        let mut history = History::default();
        for records in minters.join_all().await {
            history.extend(records);
        }
        history
    });
    history.assert_clean();
    // The new member has all sequences.
    let fourth = new[1].address(0);
    for number in [0, 150, 299] {
        let read = json!({"keys": [format!("more{number}")]});
        let answer = post(&fourth, "/v1/node/read", &read)?;
        assert_eq!(
            answer.json()["marks"],
            json!([number + 1]),
            "{}",
            answer.body
        );
    }
    Ok(())
}

/// As if the first command had been killed before it gave the new member the marks that two others have.
#[test]
fn a_repeated_command_gives_the_new_member_what_it_lacks() -> TestResult {
    let group = group()?;
    let [first, second, third] = [0, 1, 2].map(|index| group.address(index));
    let new = newcomer()?;
    let fourth = new.address(0);
    let arguments = arguments(&third, &fourth, &first);
    group.manage(&arguments)?;
    let epoch = status(&fourth)?["epoch"].clone();
    for address in [&first, &second] {
        let claim = json!({"first": 1, "last": 70, "epoch": epoch});
        let answer = post(address, "/v1/sequences/later/claim", &claim)?;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let marks = || -> TestResult<Value> {
        let answer = post(&fourth, "/v1/node/read", &json!({"keys": ["later"]}))?;
        Ok(answer.json()["marks"].clone())
    };
    assert_eq!(marks()?, json!([null]));
    group.manage(&arguments)?;
    assert_eq!(marks()?, json!([70]));
    Ok(())
}

#[test]
fn of_two_replacements_one_wins() -> TestResult {
    let group = group()?;
    let [first, second, third] = [0, 1, 2].map(|index| group.address(index));
    let new: Vec<Quorum> = (0..2).map(|_| newcomer()).collect::<Result<_, _>>()?;
    group.server(2).kill();
    let commands: Vec<_> = new
        .iter()
        .map(|new| {
            let arguments = arguments(&third, &new.address(0), &first);
            let mut command = group.command(&arguments).expect("the program");
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("started")
        })
        .collect();
    let outcomes: Vec<_> = commands
        .into_iter()
        .map(|child| child.wait_with_output().expect("it has ended"))
        .collect();
    let winner = outcomes.iter().position(|outcome| outcome.status.success());
    let winner = winner.expect("one of them wins");
    let loser = &outcomes[1 - winner];
    let said = String::from_utf8_lossy(&loser.stderr);
    assert!(!loser.status.success(), "{said}");
    let gone = said.contains("no member at");
    assert!(gone || said.contains("another change"), "{said}");
    let fourth = new[winner].address(0);
    assert!(mint(&[&first, &second, &fourth]).is_ok());
    for address in [&first, &second, &fourth] {
        let addresses: Vec<Value> = status(address)?["members"]
            .as_array()
            .expect("members")
            .iter()
            .map(|member| member["address"].clone())
            .collect();
        assert_eq!(addresses, [&*first, &*second, &*fourth]);
    }
    Ok(())
}

/// Two replacements have each begun at one of the two members that are left. Neither can go on as it is; the one with
/// the greater number can be finished.
#[test]
fn two_that_block_each_other_are_resolved() -> TestResult {
    let group = group()?;
    let [first, second, third] = [0, 1, 2].map(|index| group.address(index));
    assert_eq!(mint(&[&first, &second, &third]), Ok(2));
    let new: Vec<Quorum> = (0..2).map(|_| newcomer()).collect::<Result<_, _>>()?;
    let [fourth, fifth] = [0, 1].map(|index: usize| new[index].address(0));
    let mut begun = Vec::new();
    for (at, new, epoch) in [(&first, &fourth, 2), (&second, &fifth, 3)] {
        let (id, base, next) = lists(&third, &third, new, epoch)?;
        let begin = json!({"begin": {"base": base, "next": next}});
        assert_eq!(step(at, &id, &begin)?["accepted"], true);
        begun.push((id, begin, json!({"finish": {"next": next}})));
    }
    group.server(2).kill();
    let refused = group.manage(&arguments(&third, &fourth, &first));
    let refused = refused
        .expect_err("the other has the greater number")
        .to_string();
    assert!(
        refused.contains(&format!("replace {third} {fifth}")),
        "{refused}"
    );
    let said = group.manage(&arguments(&third, &fifth, &first))?;
    assert!(said.contains(&fifth), "{said}");
    let minted = mint(&[&first, &second, &fifth]).expect("minted");
    assert!(minted > 2, "{minted}");
    // Messages of the one that lost arrive late.
    let (id, begin, finish) = &begun[0];
    for address in [&first, &second] {
        for late in [begin, finish] {
            assert_eq!(step(address, id, late)?["accepted"], false, "{late}");
        }
    }
    let (id, begin, finish) = &begun[1];
    assert_eq!(step(&first, id, begin)?["accepted"], false);
    assert_eq!(step(&first, id, finish)?["accepted"], true);
    let next = mint(&[&first, &second, &fifth]).expect("minted");
    assert!(next > minted, "{next} after {minted}");
    Ok(())
}

#[test]
fn a_replaced_node_takes_no_part() -> TestResult {
    let group = group()?;
    let new = newcomer()?;
    let [first, second, third] = [0, 1, 2].map(|index| group.address(index));
    let fourth = new.address(0);
    assert_eq!(mint(&[&first, &second, &third]), Ok(2));
    group.server(2).kill();
    group.manage(&arguments(&third, &fourth, &first))?;
    // It has heard nothing while it was away. The others refuse what it would accept.
    group.server(0).pause();
    group.server(1).pause();
    group.server(2).start_again()?;
    let claim = json!({"first": 100, "last": 100});
    let path = "/v1/sequences/k/claim";
    let accepted = post(&third, path, &claim)?;
    assert_eq!(accepted.status, 200, "{}", accepted.body);
    group.server(0).resume();
    group.server(1).resume();
    let refused = post(&first, path, &claim)?;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert_eq!(refused.json()["epoch"], 2);
    assert_eq!(
        refused.json()["addresses"],
        json!([first, second, fourth]),
        "the new list"
    );
    // Two of the old list are no majority without another member of the new one.
    await_status(&third, "state", &json!("replaced"))?;
    let refused = post(&third, path, &claim)?;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.body.contains(&fourth), "{}", refused.body);
    group.server(1).kill();
    let error = mint(&[&first, &second, &third]).expect_err("one member");
    assert_eq!(kind(&error), "unavailable", "{error}");
    group.server(1).start_again()?;
    // It stays so, and cannot join.
    group.server(2).kill();
    group.server(2).start_again()?;
    assert_eq!(status(&third)?["state"], "replaced");
    let refused = group.join(2, 0).expect_err("it is no member").to_string();
    assert!(refused.contains("no member"), "{refused}");
    let again = arguments(&second, &third, &first);
    let refused = group.manage(&again).expect_err("it is not empty");
    assert!(refused.to_string().contains("empty"), "{refused}");
    // With empty data it is a new node.
    group.server(2).kill();
    group.wipe(2)?;
    group.server(2).start_again()?;
    group.manage(&again)?;
    let minted = mint(&[&first, &third, &fourth]).expect("minted");
    assert!(minted > 2, "{minted}");
    Ok(())
}

/// It has stored the change, and may not hear for long that the next list is in force. Clients that already use that list
/// would take it for a node of another group.
#[test]
fn a_member_that_leaves_takes_no_claims_for_the_next_list() {
    let host = backend::host(None).expect("a host");
    for leaves in [false, true] {
        let directory = tempfile::tempdir().expect("a directory");
        run(async {
            let source = Builtin::Memory.into();
            let peers = Peers::new(None);
            let opened = Node::open(&host, &source, String::new(), directory.path(), peers).await;
            let node = opened.expect("opened");
            let own = node.status().node;
            let list = |epoch, nodes: [u64; 3]| List {
                epoch,
                members: nodes
                    .map(|node| Member {
                        node,
                        address: format!("n{node}:1"),
                    })
                    .into(),
            };
            let base = list(1, [own, 1, 2]);
            let described = Describe {
                node: own,
                group: 7,
                epoch: 1,
                members: base.members.clone(),
            };
            node.init(described).await.expect("a member");
            let next = list(2, if leaves { [3, 1, 2] } else { [own, 1, 3] });
            let begin = Change {
                group: 7,
                node: own,
                step: Step::Begin { base, next },
            };
            assert!(node.change(&begin).await.expect("begun").accepted);
            let claim = Claim {
                first: 5,
                last: 5,
                epoch: 2,
            };
            match node.claim("k", Asked::Claim(&claim)).await {
                Ok(answer) => assert!(answer.accepted && !leaves, "{answer:?}"),
                Err(error) => {
                    assert!(leaves, "{error}");
                    assert_eq!(kind(&error), "unavailable", "{error}");
                    assert!(error.to_string().contains("under way"), "{error}");
                }
            }
        });
    }
}

/// A node that was away during the replacement hears of it from the others.
#[test]
fn a_member_that_was_away_catches_up() -> TestResult {
    let group = group()?;
    let new = newcomer()?;
    let [first, second, third] = [0, 1, 2].map(|index| group.address(index));
    let fourth = new.address(0);
    assert_eq!(mint(&[&first, &second, &third]), Ok(2));
    group.server(1).kill();
    // The third is up, and leaves: the first and the third are a majority of the old list.
    let said = group.manage(&arguments(&third, &fourth, &first))?;
    assert!(said.contains(&format!("{second} has not heard")), "{said}");
    await_status(&third, "state", &json!("replaced"))?;
    group.server(1).start_again()?;
    await_status(&second, "epoch", &json!(2))?;
    group.server(0).kill();
    let minted = mint(&[&first, &second, &fourth]).expect("minted");
    assert!(minted > 2, "{minted}");
    Ok(())
}

#[test]
fn a_join_waits_until_the_change_has_ended() -> TestResult {
    let group = group()?;
    let new = newcomer()?;
    let [first, second, third] = [0, 1, 2].map(|index| group.address(index));
    let fourth = new.address(0);
    assert_eq!(mint(&[&first, &second, &third]), Ok(2));
    let (id, base, next) = lists(&first, &third, &fourth, 2)?;
    step(&first, &id, &json!({"begin": {"base": base, "next": next}}))?;
    group.server(1).kill();
    group.wipe(1)?;
    group.server(1).start_again()?;
    let refused = group.join(1, 0).expect_err("a change is open").to_string();
    assert!(refused.contains("under way"), "{refused}");
    // The second one has lost its place, and is not needed.
    group.manage(&arguments(&third, &fourth, &first))?;
    let said = group.join(1, 0)?;
    assert!(said.contains("incarnation 2, member list 2"), "{said}");
    group.server(0).kill();
    let minted = mint(&[&first, &second, &fourth]).expect("minted");
    assert!(minted > 2, "{minted}");
    Ok(())
}

/// A new member that missed its replacement has nothing to forget: it needs no majority to take its place. Otherwise it and
/// a member that lost its data would wait for each other.
#[test]
fn a_new_member_that_missed_its_replacement_takes_its_place() -> TestResult {
    let group = group()?;
    let new = newcomer()?;
    let [first, second, third] = [0, 1, 2].map(|index| group.address(index));
    let fourth = new.address(0);
    assert_eq!(mint(&[&first, &second, &third]), Ok(2));
    let (id, base, next) = lists(&first, &third, &fourth, 2)?;
    let begin = json!({"begin": {"base": base, "next": next}});
    let finish = json!({"finish": {"next": next}});
    for (address, message) in [
        (&first, &json!({"propose": {"epoch": 2}})),
        (&second, &json!({"propose": {"epoch": 2}})),
        (&first, &begin),
        (&second, &begin),
        (&first, &finish),
        (&second, &finish),
    ] {
        let answer = step(address, &id, message)?;
        assert_eq!(answer["accepted"], true, "{message}: {answer}");
    }
    let second_minted = mint(&[&first, &second, &fourth]).expect("minted");
    assert!(second_minted > 2, "{second_minted}");
    group.server(1).kill();
    group.wipe(1)?;
    group.server(1).start_again()?;
    let refused = group.join(1, 0).expect_err("it needs both others");
    assert!(refused.to_string().contains("2 other members"), "{refused}");
    let join = || {
        let arguments = ["node", "join", &fourth, "--via", &first].map(str::to_owned);
        group.manage(&arguments)
    };
    // Nobody confirms the list while the only member that is left does not answer.
    let described = json!({"node": status(&fourth)?["node"], "group": id, "epoch": 2, "members": next["members"]});
    group.server(0).kill();
    let failed = post(&fourth, "/v1/node/join", &described)?;
    assert_eq!(failed.status, 503, "{}", failed.body);
    let waiting = status(&fourth)?;
    assert_eq!(waiting["state"], "new", "{waiting}");
    assert_eq!(waiting["node"], described["node"]);
    group.server(0).start_again()?;
    let said = join()?;
    assert!(said.contains("incarnation 1, member list 2"), "{said}");
    let said = group.join(1, 0)?;
    assert!(said.contains("incarnation 2, member list 2"), "{said}");
    group.server(0).kill();
    let minted = mint(&[&first, &second, &fourth]).expect("minted");
    assert!(minted > second_minted, "{minted} after {second_minted}");
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

/// A node whose file with the member list is an older copy, though its backend is not, would take claims for the old list.
#[test]
fn an_older_member_list_is_noticed() -> TestResult {
    let group = group()?;
    let new = newcomer()?;
    let [first, second, third] = [0, 1, 2].map(|index| group.address(index));
    let fourth = new.address(0);
    assert_eq!(mint(&[&first, &second, &third]), Ok(2));
    let file = group.data(0).join("node.json");
    let copy = std::fs::read(&file).expect("read");
    group.manage(&arguments(&third, &fourth, &first))?;
    group.server(0).stop()?;
    std::fs::write(&file, copy).expect("written");
    group.server(0).start_again()?;
    let lost = status(&first)?;
    assert_eq!(lost["state"], "lost", "{lost}");
    assert!(lost["reason"].to_string().contains("older copy"), "{lost}");
    let said = group.join(0, 1)?;
    assert!(said.contains("incarnation 2, member list 2"), "{said}");
    group.server(1).kill();
    let minted = mint(&[&first, &second, &fourth]).expect("minted");
    assert!(minted > 2, "{minted}");
    Ok(())
}

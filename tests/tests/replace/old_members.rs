//! Members that leave, and members that were away.

use super::*;

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

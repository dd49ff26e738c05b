//! Nodes that come to a group.

use super::*;

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

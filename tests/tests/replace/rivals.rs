//! Two replacements at the same time.

use super::*;

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

//! A replacement that was interrupted is repeated.

use super::*;
use testbed::proxy::{Fault, Proxy};

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

/// The new member is told first. While its answers are lost, the others have heard of nothing, and the group goes on.
#[test]
fn a_new_member_that_does_not_answer_holds_nobody_up() -> TestResult {
    let group = group()?;
    let [first, second, third] = [0, 1, 2].map(|index| group.address(index));
    let new = newcomer()?;
    let proxy = Proxy::to(new.port(0))?;
    let fourth = format!("127.0.0.1:{}", proxy.port());
    proxy.set(Fault::CutReplies(b"begin".to_vec()))?;
    let arguments = arguments(&third, &fourth, &first);
    let refused = group.manage(&arguments);
    let refused = refused.expect_err("it does not answer").to_string();
    assert!(
        refused.contains("the new member has to answer") && refused.contains(&fourth),
        "{refused}"
    );
    assert!(proxy.replies_cut() > 0);
    for address in [&first, &second, &third] {
        assert_eq!(status(address)?["open"], Value::Null);
    }
    assert_eq!(mint(&[&first, &second, &third]), Ok(2));
    // It has stored the change, so a restart does not make it another node.
    proxy.set(Fault::None)?;
    let node = status(&fourth)?["node"].clone();
    new.server(0).kill();
    new.server(0).start_again()?;
    assert_eq!(status(&fourth)?["node"], node);
    group.manage(&arguments)?;
    let minted = mint(&[&first, &second, &fourth]).expect("minted");
    assert!(minted > 2, "{minted}");
    Ok(())
}

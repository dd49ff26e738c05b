//! `int-host node status` on real nodes: the marks of sequences and how far nodes lag.

use int_host::{Builtin, Config, Error, Host};
use testbed::backend;
use testbed::cli;
use testbed::quorum::{Options, Quorum};
use testbed::runtime::run;
use testbed::{TestResult, http};

/// Mints so many integers of a sequence, each of 1.
fn mint(host: &Host, quorum: &Quorum, key: &str, count: u32) -> Result<i64, Error> {
    let config = Config {
        dsn: format!("{}?timeout=5s", quorum.dsn()),
        key: key.to_owned(),
        increment: Some(1),
        offset: Some(0),
    };
    run(async {
        let sequence = host.open(Builtin::Quorum, config).await?;
        Ok(sequence.next(count).await?.last())
    })
}

/// The part of the text about the marks, with the nodes' addresses as `0`, `1`, `2`.
fn marks(quorum: &Quorum, more: &[&str]) -> TestResult<String> {
    let mut arguments = vec!["node".to_owned(), "status".to_owned()];
    arguments.extend((0..quorum.size()).map(|index| quorum.address(index)));
    arguments.extend(more.iter().map(|text| (*text).to_owned()));
    let mut text = quorum.manage(&arguments)?;
    let nodes: Vec<&str> = text.lines().take(quorum.size()).collect();
    text = text.split_off(nodes.join("\n").len() + 1);
    for index in 0..quorum.size() {
        text = text.replace(&quorum.address(index), &index.to_string());
    }
    Ok(text)
}

/// A claim at one node alone, as of a client that nobody else hears of.
fn claim(quorum: &Quorum, index: usize, key: &str, first: i64, last: i64) -> TestResult {
    let url = format!("http://{}/v1/sequences/{key}/claim", quorum.address(index));
    let answer = http::request(
        "POST",
        &url,
        &[("authorization", "Bearer s3cret")],
        &format!("{{\"first\":{first},\"last\":{last}}}"),
    )?;
    assert_eq!(answer.status, 200, "{}", answer.body);
    Ok(())
}

#[test]
fn marks_and_lags_are_shown() -> TestResult {
    let quorum = Quorum::with(Options {
        token: Some("s3cret".into()),
        nodes: vec![Vec::new(); 3],
    })?;
    assert_eq!(marks(&quorum, &[])?, "");
    claim(&quorum, 0, "a", 1, 10)?;
    claim(&quorum, 1, "a", 1, 7)?;
    claim(&quorum, 2, "b%20%2F", 1, i64::MAX)?;
    let a = "sequence a\n  0  mark 10, lag 0\n  1  mark 7, lag 3\n  2  no mark, lag 10\n";
    let b = "sequence b /\n  0  no mark, lag 9223372036854775807\n  \
             1  no mark, lag 9223372036854775807\n  2  mark 9223372036854775807, lag 0\n";
    assert_eq!(marks(&quorum, &[])?, format!("{a}{b}"));
    assert_eq!(marks(&quorum, &["--key", "a"])?, a);
    assert_eq!(marks(&quorum, &["--key", "b /"])?, b);
    let further = "1 more sequences (--keys COUNT shows more of them, --key KEY one of them)\n";
    assert_eq!(marks(&quorum, &["--keys", "1"])?, format!("{a}{further}"));
    assert_eq!(marks(&quorum, &["--keys", "0"])?, "");
    // The greatest mark is that of the nodes that answer.
    quorum.server(0).kill();
    assert_eq!(
        marks(&quorum, &["--key", "a"])?,
        "sequence a\n  1  mark 7, lag 0\n  2  no mark, lag 7\n"
    );
    // A key that clients cannot use.
    let reserved = marks(&quorum, &["--key", "~node/epoch"])?;
    assert!(
        reserved.contains("1  mark unknown: it says: keys that begin with"),
        "{reserved}"
    );
    Ok(())
}

/// `status` names each address once.
#[test]
fn a_command_without_the_token_is_told_how_to_give_it() -> TestResult {
    let quorum = Quorum::with(Options {
        token: Some("s3cret".into()),
        nodes: vec![Vec::new(); 1],
    })?;
    let address = quorum.address(0);
    let one = address.as_str();
    let give = "give the nodes' token with --node-token or ARTISANAL_NODE_TOKEN\n";
    for (token, fault) in [
        (None, "needs the nodes' token"),
        (Some("wr0ng"), "has another token than the one given"),
    ] {
        for (command, before) in [
            (vec!["status", one], "no node reports its status: "),
            (vec!["init", one], ""),
            (vec!["join", one, "--via", one], ""),
            (vec!["replace", one, "localhost:1", "--via", one], ""),
        ] {
            let says = format!("int-host: {before}{one} {fault}; {give}");
            let mut program = quorum.command(&["node".to_owned()])?;
            program
                .args(&command)
                .env_remove("ARTISANAL_NODE_TOKEN")
                .envs(token.map(|token| ("ARTISANAL_NODE_TOKEN", token)));
            let outcome = cli::run(program)?;
            assert_eq!(
                (outcome.code, outcome.stderr),
                (Some(5), says),
                "{command:?}"
            );
        }
    }
    quorum.server(0).kill();
    let outcome = cli::run(quorum.command(&["node".into(), "status".into(), one.into()])?)?;
    assert_eq!(outcome.code, Some(6), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains(&format!(": {one} does not answer: ")),
        "{}",
        outcome.stderr
    );
    Ok(())
}

/// More keys than fit into one message: they are counted, and a node that lost its data gets all of them.
#[test]
fn many_sequences_are_counted_and_joined() -> TestResult {
    const KEYS: usize = 520;
    let quorum = Quorum::with(Options {
        token: Some("s3cret".into()),
        nodes: vec![Vec::new(); 3],
    })?;
    // Each of the longest size, so that the whole list is longer than any message may be.
    let key = |number: usize| format!("{number:0>128}");
    let (quorum_of_all, key_of) = (&quorum, &key);
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for number in (part..KEYS).step_by(4) {
                    let last = i64::try_from(number).expect("a small number") + 1;
                    claim(quorum_of_all, 1, &key_of(number), 1, last).expect("claimed");
                }
            });
        }
    });
    let text = marks(&quorum, &["--keys", "2"])?;
    assert!(text.contains(&format!("sequence {}\n", key(1))), "{text}");
    assert!(text.ends_with(
        "518 more sequences (--keys COUNT shows more of them, --key KEY one of them)\n"
    ));
    assert_eq!(
        marks(&quorum, &["--keys", "1000"])?
            .matches("sequence ")
            .count(),
        KEYS
    );
    quorum.server(0).kill();
    quorum.wipe(0)?;
    quorum.server(0).start_again()?;
    quorum.join(0, 1)?;
    for number in [0, 255, 256, 511, KEYS - 1] {
        let text = marks(&quorum, &["--key", &key(number)])?;
        let mark = number + 1;
        assert!(
            text.contains(&format!("  0  mark {mark}, lag 0\n")),
            "{text}"
        );
        assert!(
            text.contains(&format!("  2  no mark, lag {mark}\n")),
            "{text}"
        );
    }
    let host = backend::host(None)?;
    assert_eq!(mint(&host, &quorum, &key(9), 5), Ok(15));
    Ok(())
}

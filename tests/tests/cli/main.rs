//! `int-host` on the command line: its output, errors and interruption.

mod components;
mod continuous;

use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use testbed::TestResult;
use testbed::cli::{Place, run, within_shell};
use testbed::history::{History, Record, Span};
use testbed::mariadb::PASSWORD;
use testbed::minter::{Minter, START};
use testbed::process::Process;
use testbed::proxy::{Fault, Proxy};
use testbed::redis::{Options, Redis};
use testbed::{port, target, wait};

#[test]
fn a_newcomer_mints_without_any_option() -> TestResult {
    let place = Place::new()?;
    assert_eq!(place.mint(&[])?, [2]);
    assert_eq!(place.mint(&[])?, [4]);
    assert_eq!(place.mint(&["--count", "3"])?, [6, 8, 10]);
    assert_eq!(place.mint(&["last"])?, [10]);
    assert_eq!(place.mint(&["--key", "other"])?, [2]);
    assert!(
        place.data().is_dir(),
        "the store is where it was told to be"
    );
    Ok(())
}

#[test]
fn last_of_nothing_is_told_as_that() -> TestResult {
    let place = Place::new()?;
    let outcome = place.run(&["last"])?;
    outcome.assert_failed(1, &["no integer has been minted"]);
    assert_eq!(place.mint(&[])?, [2], "asking mints nothing");
    Ok(())
}

#[test]
fn flags_stand_before_or_after_the_subcommand() -> TestResult {
    let place = Place::new()?;
    place.mint(&["--key", "a", "--count", "5"])?;
    for line in [
        ["--key", "a", "last"],
        ["last", "--key", "a"],
        ["last", "-key", "a"],
    ] {
        assert_eq!(place.mint(&line)?, [10], "{line:?}");
    }
    assert_eq!(place.mint(&["--key=a", "last"])?, [10]);
    Ok(())
}

#[test]
fn increment_and_offset_have_two_names_each() -> TestResult {
    let place = Place::new()?;
    let mint = |key: &str, flags: &[&str]| {
        let mut line = vec!["--key", key, "--count", "2"];
        line.extend(flags);
        TestResult::Ok(place.mint(&line)?)
    };
    assert_eq!(mint("a", &["--set-increment", "10"])?, [10, 20]);
    assert_eq!(mint("b", &["--increment", "10"])?, [10, 20]);
    assert_eq!(mint("c", &["--increment", "10", "--offset", "3"])?, [3, 13]);
    assert_eq!(
        mint("d", &["-set-increment=10", "-set-offset=13"])?,
        [3, 13]
    );
    assert_eq!(mint("e", &["--set-offset", "1"])?, [1, 3]);
    Ok(())
}

#[test]
fn the_environment_counts_and_flags_win() -> TestResult {
    let place = Place::new()?;
    let mint = |environment: &[(&str, &str)], line: &[&str]| {
        let mut command = place.command(line)?;
        command.envs(environment.iter().copied());
        TestResult::Ok(run(command)?.integers())
    };
    let settings = [
        ("ARTISANAL_ENGINE", "memory"),
        ("ARTISANAL_INCREMENT", "5"),
        ("ARTISANAL_OFFSET", "1"),
        ("ARTISANAL_COUNT", "2"),
        ("ARTISANAL_LAST_INT", "100"),
    ];
    assert_eq!(mint(&settings, &[])?, [101, 106]);
    assert_eq!(
        mint(&settings, &["--count", "1", "--increment", "7"])?,
        [106],
        "106 = 1 + 15 * 7"
    );
    assert_eq!(mint(&[("ARTISANAL_KEY", "k")], &[])?, [2]);
    assert_eq!(place.mint(&["--key", "k"])?, [4]);
    let redis = Redis::start()?;
    let environment = [
        ("ARTISANAL_ENGINE", "redis"),
        ("ARTISANAL_DSN", &redis.dsn()),
    ];
    assert_eq!(mint(&environment, &[])?, [2]);
    assert_eq!(mint(&environment, &["last"])?, [2]);
    assert_eq!(redis.query::<i64>(&["GET", "integers"])?, 2);
    Ok(())
}

#[test]
fn a_file_with_the_dsn_is_read_only_by_commands_that_use_one() -> TestResult {
    let place = Place::new()?;
    let file = place.file("dsn");
    std::fs::write(&file, "# in memory\nmemory://\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    assert_eq!(
        place.mint(&["--engine", "memory", "--dsn-file", file])?,
        [2]
    );
    place
        .run(&["--dsn-file", "/dev/null"])?
        .assert_failed(2, &["the file /dev/null has no DSN"]);
    let missing = &["--dsn-file", "/dev/null/dsn"][..];
    for command in [&[][..], &["last"], &["serve"], &["node"]] {
        place
            .run(&[missing, command].concat())?
            .assert_failed(8, &["cannot read the DSN from /dev/null/dsn"]);
    }
    for command in [&["engines"][..], &["completions", "bash"]] {
        let outcome = place.run(&[missing, command].concat())?;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
    Ok(())
}

#[test]
fn set_last_int_raises_and_refuses_to_lower() -> TestResult {
    let place = Place::new()?;
    assert_eq!(place.mint(&["--set-last-int", "1000"])?, [1002]);
    assert_eq!(place.mint(&["--last-int", "2000"])?, [2002]);
    let outcome = place.run(&["--set-last-int", "50"])?;
    outcome.assert_failed(3, &["2002"]);
    assert_eq!(place.mint(&["last"])?, [2002]);
    Ok(())
}

#[test]
fn many_integers_are_many_lines() -> TestResult {
    let place = Place::new()?;
    // More than the maximum count of one call.
    let integers = place.mint(&["--count", "250000", "--engine", "memory"])?;
    assert_eq!(integers.len(), 250_000);
    assert!(integers.iter().zip((2..).step_by(2)).all(|(n, m)| *n == m));
    Ok(())
}

#[test]
fn every_way_to_fail_has_its_code() -> TestResult {
    let place = Place::new()?;
    let redis = Redis::with(Options {
        password: Some("right".to_owned()),
        ..Options::default()
    })?;
    let closed = format!("redis://127.0.0.1:{}?timeout=300ms", port::free()?);
    let wrong = format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.port());
    let component = target::component("misbehaving")?;
    let component = component.to_str().expect("a path in UTF-8");
    let missing = place.file("missing.wasm");
    let missing = missing.to_str().expect("a path in UTF-8");
    let top = i64::MAX.to_string();
    let cases: &[(i32, &[&str], &[&str])] = &[
        (2, &["--engine", "oracle"], &["oracle", "redis", "mysql"]),
        (2, &["--count", "0"], &["0", "count"]),
        (2, &["--count", "many"], &["many"]),
        (2, &["--no-such-flag"], &["--no-such-flag"]),
        (2, &["no-such-command"], &["no-such-command"]),
        (2, &["--key", ""], &["key is empty"]),
        (2, &["--increment", "0"], &["increment is 0"]),
        (2, &["--offset", "-1"], &["offset is -1"]),
        (2, &["--set-last-int", "-1"], &["last integer is -1"]),
        (2, &["--engine", "redis"], &["redis://"]),
        (2, &["--dsn", "redis://h"], &["--engine redis"]),
        (
            2,
            &["--engine", "redis", "--dsn", "mysql://h/"],
            &["redis://"],
        ),
        (
            2,
            &["--engine", "redis", "--dsn", "redis://h?tmeout=1s"],
            &["tmeout", "timeout"],
        ),
        (
            4,
            &["--engine", "memory", "--set-last-int", &top],
            &["close to", &top],
        ),
        (5, &["--engine", "redis", "--dsn", &wrong], &["password"]),
        (6, &["--engine", "redis", "--dsn", &closed], &["127.0.0.1"]),
        (
            7,
            &["--component", component, "--dsn", "misbehaving:///traps"],
            &["trapped"],
        ),
        (8, &["--component", missing], &["missing.wasm"]),
        (8, &["--data", "/dev/null/x"], &["/dev/null/x", "--data"]),
        (8, &["inspect", missing], &["missing.wasm"]),
    ];
    for (code, line, says) in cases {
        let outcome = place.run(line)?;
        outcome.assert_failed(*code, says);
        assert!(!outcome.stderr.contains(PASSWORD), "{outcome:?}");
        assert!(!outcome.stderr.contains("panicked at host/"), "{outcome:?}");
        // A component that traps may print its own message as well.
        if !matches!(code, 2 | 7) {
            assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        }
    }
    Ok(())
}

#[test]
fn no_password_is_printed_wherever_it_was_put() -> TestResult {
    let place = Place::new()?;
    let dsn = format!(
        "redis://user:{PASSWORD}@127.0.0.1:{}?timeout=300ms",
        port::free()?
    );
    let lines: [&[&str]; 7] = [
        &["--engine", "redis", "--dsn", &dsn],
        &["--engine", "mysql", "--dsn", &dsn],
        &["--engine", "redis", &dsn],
        &["--engine", &dsn],
        &["--key", &dsn, "--dsn"],
        &["--count", &dsn],
        &["last", &dsn],
    ];
    for line in lines {
        let mut command = place.command(line)?;
        // The empty cache makes the host compile, which adds many lines to the log.
        command.env("RUST_LOG", "trace");
        command.env("ARTISANAL_CACHE", place.file("cache"));
        let outcome = run(command)?;
        assert_ne!(outcome.code, Some(0), "{line:?}");
        let shown = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!shown.contains(PASSWORD), "{line:?}: {shown}");
    }
    let mut command = place.command(&["--help"])?;
    command.env("ARTISANAL_DSN", &dsn);
    command.env("ARTISANAL_ADMIN_TOKEN", PASSWORD);
    let outcome = run(command)?;
    assert!(!outcome.stdout.contains(PASSWORD), "{}", outcome.stdout);
    Ok(())
}

#[test]
fn two_processes_do_not_share_a_data_directory() -> TestResult {
    let place = Place::new()?;
    let minter = Minter::printing(place.command(&["--continuous"])?, 0)?;
    minter.wait_for_mints(3, START)?;
    let outcome = place.run(&[])?;
    outcome.assert_failed(8, &["in use by another process", "--data"]);
    let (records, _) = minter.kill()?;
    let greatest = records.iter().map(|r| r.span.last()).max();
    // The killed process left an intact store and no lock.
    let next = place.mint(&[])?;
    assert!(Some(i128::from(next[0])) > greatest);
    Ok(())
}

/// C3 for users of the command: a process that starts after another one has ended gets greater integers, on any
/// machine.
#[test]
fn processes_one_after_another_count_up_on_one_server() -> TestResult {
    let redis = Redis::start()?;
    let places = [Place::new()?, Place::new()?];
    let mut history = History::default();
    for (process, place) in (0..).zip(places.iter().cycle().take(8)) {
        let begin = testbed::clock::now();
        let dsn = redis.dsn();
        let minted = place.mint(&["--engine", "redis", "--dsn", &dsn, "--count", "2"])?;
        let end = testbed::clock::now();
        for integer in minted {
            let span = Span::one(integer);
            history.push(Record {
                process,
                begin,
                end,
                span,
            });
        }
    }
    history.assert_clean();
    assert_eq!(history.integers(), 16);
    Ok(())
}

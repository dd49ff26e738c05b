//! `int-host` on the command line: its output, errors and interruption.

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

/// Checks that each integer was printed once, in ascending order.
fn assert_counts_up(records: &[Record]) {
    let history = History::from_iter(records.iter().copied());
    history.assert_clean();
    let rising = records
        .windows(2)
        .all(|two| two[0].span.first < two[1].span.first);
    assert!(rising, "integers are printed in the order they were minted");
}

#[test]
fn continuous_mints_until_it_is_interrupted() -> TestResult {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::new()?;
        let mut minter = Minter::printing(place.command(&["--continuous"])?, 0)?;
        minter.wait_for_mints(10, START)?;
        minter.process().signal(signal);
        let (status, records) = minter.end()?;
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert_counts_up(&records);
        let last = place.mint(&["last"])?;
        let printed = records.last().map(|r| r.span.first);
        assert!(Some(last[0]) >= printed);
    }
    Ok(())
}

#[test]
fn continuous_goes_on_after_the_server_was_away() -> TestResult {
    let place = Place::new()?;
    let redis = Redis::start()?;
    let dsn = format!("{}?timeout=300ms", redis.dsn());
    let log = place.file("stderr");
    let mut command = place.command(&["--continuous", "--engine", "redis", "--dsn", &dsn])?;
    command.stderr(std::fs::File::create(&log).expect("a file"));
    let mut minter = Minter::printing(command, 0)?;
    minter.wait_for_mints(10, START)?;
    for _ in 0..2 {
        redis.kill();
        wait::until_true("it logs a retry", START, || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains("trying again"))
        })?;
        redis.start_again()?;
        minter.wait_for_mints(minter.minted() + 10, START)?;
    }
    minter.process().signal(Signal::INT);
    let (status, records) = minter.end()?;
    assert_eq!(status.code(), Some(0));
    assert_counts_up(&records);
    let greatest = records.last().map(|r| r.span.last());
    let mark: i64 = redis.query(&["GET", "integers"])?;
    assert!(Some(i128::from(mark)) >= greatest);
    Ok(())
}

/// A value whose digits are in no request except the raise.
const RAISED: i64 = 987_654_321;

/// The command with `--continuous --set-last-int`, and the path of its standard error.
fn continuous_raise(
    place: &Place,
    proxy: &Proxy,
) -> TestResult<(std::process::Command, std::path::PathBuf)> {
    let dsn = format!("redis://127.0.0.1:{}?timeout=300ms", proxy.port());
    let value = RAISED.to_string();
    let mut command = place.command(&["--continuous", "--engine", "redis", "--dsn", &dsn])?;
    command.args(["--set-last-int", &value]);
    let log = place.file("stderr");
    command.stderr(std::fs::File::create(&log).expect("a file"));
    Ok((command, log))
}

fn wait_for_retry(log: &Path) -> TestResult {
    wait::until_true("it logs a retry", START, || {
        std::fs::read_to_string(log).is_ok_and(|text| text.contains("trying again"))
    })?;
    Ok(())
}

/// The raise is executed but its reply is late, and another client mints after it. The retry finds the sequence
/// beyond the value, which counts as success.
#[test]
fn continuous_goes_on_after_a_raise_whose_reply_was_lost() -> TestResult {
    let place = Place::new()?;
    let redis = Redis::start()?;
    let proxy = Proxy::to(redis.port())?;
    proxy.set(Fault::StallRepliesTo(RAISED.to_string().into_bytes()))?;
    let (command, log) = continuous_raise(&place, &proxy)?;
    let mut minter = Minter::printing(command, 0)?;
    wait_for_retry(&log)?;
    assert_eq!(redis.query::<i64>(&["GET", "integers"])?, RAISED);
    let mark: i64 = redis.query(&["INCRBY", "integers", "100"])?;
    proxy.set(Fault::None)?;
    minter.wait_for_mints(3, START)?;
    minter.process().signal(Signal::INT);
    let (status, records) = minter.end()?;
    assert_eq!(status.code(), Some(0));
    assert!(records[0].span.first > mark, "{:?}", records[0]);
    Ok(())
}

/// If no raise was sent before, a sequence beyond the value is an error as usual.
#[test]
fn a_server_that_was_away_does_not_hide_that_the_sequence_is_past_the_value() -> TestResult {
    let place = Place::new()?;
    let redis = Redis::start()?;
    redis.query::<()>(&["SET", "integers", "987654399"])?;
    let proxy = Proxy::to(redis.port())?;
    proxy.set(Fault::Refuse)?;
    let (mut command, log) = continuous_raise(&place, &proxy)?;
    command.stdout(Stdio::null());
    let mut process = Process::spawn(command)?;
    wait_for_retry(&log)?;
    proxy.set(Fault::None)?;
    assert_eq!(process.wait(START)?.code(), Some(3));
    assert_eq!(redis.query::<i64>(&["GET", "integers"])?, 987_654_399);
    Ok(())
}

#[test]
fn a_reader_that_goes_away_is_no_error() -> TestResult {
    let place = Place::new()?;
    for line in [
        &["--count", "1000000", "--engine", "memory"][..],
        &["--continuous", "--engine", "memory"],
    ] {
        let mut command = place.command(line)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(command)?;
        let stdout = process.child().stdout.take().expect("piped");
        let mut first = String::new();
        BufReader::new(stdout)
            .read_line(&mut first)
            .expect("a line");
        // The pipe's reading end is closed by now.
        assert_eq!(first, "2\n");
        let status = process.wait(START)?;
        assert_eq!(status.code(), Some(0), "{line:?}");
        let mut complaint = String::new();
        std::io::Read::read_to_string(
            &mut process.child().stderr.take().expect("piped"),
            &mut complaint,
        )
        .expect("text");
        assert_eq!(complaint, "");
    }
    Ok(())
}

#[test]
fn a_full_disk_is_an_error() -> TestResult {
    let place = Place::new()?;
    let mut command = place.command(&["--count", "100000", "--engine", "memory"])?;
    command.stdout(
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("exists"),
    );
    command.stderr(Stdio::piped());
    let mut process = Process::spawn(command)?;
    assert_eq!(process.wait(START)?.code(), Some(1));
    Ok(())
}

#[test]
fn the_engines_are_listed() -> TestResult {
    let place = Place::new()?;
    let outcome = place.run(&["engines"])?;
    assert_eq!(outcome.code, Some(0));
    let help = place.run(&["--help"])?.stdout;
    for engine in int_host::Builtin::ALL {
        let about = engine.about();
        for form in about.dsn {
            assert!(help.contains(form), "no {form:?} in {help}");
        }
        for text in about
            .dsn
            .iter()
            .chain(&[about.name, about.counts(), about.survives])
        {
            assert!(
                outcome.stdout.contains(text),
                "no {text:?} in {}",
                outcome.stdout
            );
        }
    }
    Ok(())
}

#[test]
fn components_are_inspected_and_composed() -> TestResult {
    let place = Place::new()?;
    let file = target::component("misbehaving")?;
    let outcome = place.run(&["inspect", file.to_str().expect("UTF-8")])?;
    assert_eq!(outcome.code, Some(0));
    for text in [
        "artisanal:integers/engine@0.1.0",
        "engine-provider",
        "wasi:sockets/",
    ] {
        assert!(outcome.stdout.contains(text), "{}", outcome.stdout);
    }
    // Flakes with a given node number are not composed: see `flake.rs`.
    let counting = |engine: &int_host::Builtin| !engine.about().clock;
    for engine in int_host::Builtin::ALL.into_iter().filter(counting) {
        let name = engine.about().name;
        let composed = place.file(&format!("intd-{name}.wasm"));
        let composed = composed.to_str().expect("UTF-8");
        let outcome = place.run(&["compose", "--engine", name, "-o", composed])?;
        assert_eq!(outcome.code, Some(0), "{name}: {outcome:?}");
        let outcome = place.run(&["inspect", composed])?;
        let (exports, imports) = outcome
            .stdout
            .split_once("imports:")
            .unwrap_or_else(|| panic!("{outcome:?}"));
        assert!(
            exports.contains("wasi:http/handler@0.3.0"),
            "{name}: {exports}"
        );
        assert!(
            !imports.contains("artisanal:integers/engine"),
            "{name}: {imports}"
        );
        assert!(imports.contains("wasi:config/store"), "{name}: {imports}");
        // The composed component is not an engine, and minting with it fails with an explanation.
        let outcome = place.run(&["--component", composed])?;
        outcome.assert_failed(8, &["does not export artisanal:integers/engine"]);
    }
    let outcome = place.run(&["compose", "--engine", "memory", "-o", "/dev/null/x.wasm"])?;
    outcome.assert_failed(8, &["/dev/null/x.wasm"]);
    Ok(())
}

#[test]
fn a_component_file_mints_like_a_built_in_engine() -> TestResult {
    let place = Place::new()?;
    let file = place.file("memory.wasm");
    std::fs::write(&file, int_host::Builtin::Memory.wasm()).expect("written");
    let file = file.to_str().expect("UTF-8");
    assert_eq!(place.mint(&["--component", file, "--count", "2"])?, [2, 4]);
    Ok(())
}

#[test]
fn completions_are_scripts_of_the_shell() -> TestResult {
    let place = Place::new()?;
    for (shell, text) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef"),
        ("fish", "complete -c"),
    ] {
        let outcome = place.run(&["completions", shell])?;
        assert_eq!(outcome.code, Some(0));
        assert!(outcome.stdout.contains(text), "{shell}");
        assert!(outcome.stdout.contains("continuous"), "{shell}");
    }
    assert_eq!(place.run(&["completions", "cmd.exe"])?.code, Some(2));
    Ok(())
}

#[test]
fn help_tells_every_flag_and_code() -> TestResult {
    let place = Place::new()?;
    let outcome = place.run(&["--help"])?;
    assert_eq!(outcome.code, Some(0));
    for text in [
        "--engine",
        "--dsn",
        "--key",
        "--count",
        "--continuous",
        "--set-last-int",
        "--set-increment",
        "--set-offset",
        "--data",
        "--component",
        "--allow-host",
        "ARTISANAL_DSN",
        "last",
        "serve",
        "engines",
        "inspect",
        "compose",
        "completions",
        "Exit codes",
    ] {
        assert!(
            outcome.stdout.contains(text),
            "no {text} in {}",
            outcome.stdout
        );
    }
    let outcome = place.run(&["--version"])?;
    assert_eq!(
        outcome.stdout.trim(),
        concat!("int-host ", env!("CARGO_PKG_VERSION"))
    );
    Ok(())
}

#[test]
fn components_are_compiled_once_and_damage_to_the_cache_costs_only_time() -> TestResult {
    let place = Place::new()?;
    let cache = place.file("cache");
    let mint = || {
        let mut command = place.command(&["--engine", "memory"])?;
        command.env("ARTISANAL_CACHE", &cache);
        TestResult::Ok(run(command)?.integers())
    };
    let entries = || {
        let mut found: Vec<_> = std::fs::read_dir(&cache)
            .expect("the cache")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| {
                let written = path.metadata().and_then(|about| about.modified());
                (path, written.expect("a time"))
            })
            .collect();
        found.sort();
        found
    };
    assert_eq!(mint()?, [2]);
    let first = entries();
    assert_eq!(first.len(), 1, "one component, one entry: {first:?}");
    assert_eq!(mint()?, [2]);
    assert_eq!(entries(), first, "the entry was used, not made anew");
    // The entry is truncated, emptied, overwritten, and replaced by a folder.
    let file = &first[0].0;
    let whole = std::fs::read(file).expect("read");
    for damage in [&whole[..whole.len() / 2], b"", b"something else"] {
        std::fs::write(file, damage).expect("written");
        assert_eq!(mint()?, [2]);
        assert_eq!(std::fs::read(file).expect("read"), whole, "made anew");
    }
    std::fs::remove_file(file).expect("removed");
    std::fs::create_dir(file).expect("made");
    assert_eq!(mint()?, [2]);
    let mut command = place.command(&["--engine", "memory", "--no-cache"])?;
    command.env_remove("ARTISANAL_CACHE");
    command.env("XDG_CACHE_HOME", place.file("unused"));
    assert_eq!(run(command)?.integers(), [2]);
    assert!(!place.file("unused").exists());
    Ok(())
}

/// Any problem with the cache costs only time.
#[test]
fn a_cache_that_cannot_be_used_is_not_fatal() -> TestResult {
    let place = Place::new()?;
    let with = |cache: &Path| {
        let mut command = place.command(&["--engine", "memory"])?;
        command.env("ARTISANAL_CACHE", cache);
        TestResult::Ok(command)
    };
    // A folder that others can write to is neither read nor written.
    let open = place.file("open");
    std::fs::create_dir(&open).expect("made");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).expect("set");
    let outcome = run(with(&open)?)?;
    assert_eq!(outcome.integers(), [2]);
    assert!(outcome.stderr.contains("--cache"), "{}", outcome.stderr);
    assert_eq!(std::fs::read_dir(&open).expect("read").count(), 0);
    // The path of the cache, or of its parent, is a file.
    let file = place.file("file");
    std::fs::write(&file, "").expect("written");
    assert_eq!(run(with(&file)?)?.integers(), [2]);
    assert_eq!(run(with(&file.join("below"))?)?.integers(), [2]);
    // The disk is full in the middle of the entry. (A much lower limit would also prevent the runtime from
    // creating linear memories.)
    let small = place.file("small");
    let command = with(&small)?;
    let script = "trap '' XFSZ && ulimit -f 256 && exec \"$@\"";
    let outcome = run(within_shell(script, &command))?;
    assert_eq!(outcome.integers(), [2]);
    assert_eq!(std::fs::read_dir(&small).expect("read").count(), 0);
    assert_eq!(run(with(&small)?)?.integers(), [2]);
    assert_eq!(std::fs::read_dir(&small).expect("read").count(), 1);
    Ok(())
}

/// All processes find an empty cache, compile, and write the same entry.
#[test]
fn processes_may_fill_the_cache_at_once() -> TestResult {
    let place = Place::new()?;
    let cache = place.file("cache");
    let minted: TestResult<Vec<_>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut command = place.command(&["--engine", "memory"])?;
                    command.env("ARTISANAL_CACHE", &cache);
                    TestResult::Ok(run(command)?.integers())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert_eq!(minted?, [[2]; 4]);
    assert_eq!(std::fs::read_dir(&cache).expect("read").count(), 1);
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

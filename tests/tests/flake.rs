//! Flakes in real processes: the engine `flake`, `--flake` on another engine, and a clock that is set back.

use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use testbed::TestResult;
use testbed::cli::{Place, Serving};
use testbed::crowd::mint_at_once;
use testbed::history::History;
use testbed::redis::Redis;

/// 2026-01-01, as the time since the Unix epoch.
const EPOCH: Duration = Duration::from_millis(1_767_225_600_000);

/// The milliseconds from the epoch of the layouts to the present.
fn now() -> i64 {
    let unix = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("it is past 1970");
    i64::try_from((unix - EPOCH).as_millis()).expect("it is not that late")
}

fn node(integer: i64) -> i64 {
    integer & 1023
}

fn serve_leased(redis: &Redis) -> TestResult<Serving> {
    Ok(Place::new()?.serve(&["--engine", "redis", "--dsn", &redis.dsn(), "--flake"])?)
}

#[test]
fn an_integer_tells_its_time_and_node() -> TestResult {
    let before = now();
    let arguments = ["--engine", "flake", "--dsn", "flake://5", "--count", "3"];
    let minted = Place::new()?.mint(&arguments)?;
    let after = now();
    assert_eq!(minted.len(), 3);
    for integer in &minted {
        assert_eq!(node(*integer), 5, "{minted:?}");
        assert!((before..=after).contains(&(integer >> 22)), "{minted:?}");
    }
    assert!(minted.is_sorted_by(|a, b| a < b), "{minted:?}");
    let exact = Place::new()?.mint(&[
        "--engine",
        "flake",
        "--dsn",
        "flake://31?layout=javascript",
        "--count",
        "1000",
    ])?;
    assert!(exact.iter().all(|n| *n < 1 << 53 && n & 31 == 31));
    assert!(exact.is_sorted_by(|a, b| a < b));
    Ok(())
}

#[test]
fn many_at_once_are_in_order() -> TestResult {
    let server = Place::new()?.serve(&["--engine", "flake", "--dsn", "flake://0"])?;
    let history = mint_at_once(&[&server], 200)?;
    history.assert_clean();
    assert_eq!(history.integers(), 1600);
    assert_eq!(history.off_lattice(1024, 0), []);
    let answer = server.get("/?count=100000")?;
    let mut before = history.greatest().expect("some");
    let mut count = 0;
    for line in answer.body.lines() {
        let integer: i128 = line.parse().expect("an integer");
        assert!(integer > before);
        (before, count) = (integer, count + 1);
    }
    assert_eq!(count, 100_000);
    assert_eq!(i128::from(server.get("/last")?.integer()), before);
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused() -> TestResult {
    let place = Place::new()?;
    let flake = |dsn: &str, more: &[&str]| {
        let mut arguments = vec!["--engine", "flake", "--dsn", dsn];
        arguments.extend(more);
        place.run(&arguments)
    };
    for (dsn, says) in [
        ("flake://", "`flake://NODE` with a number from 0 to 1023"),
        ("flake://x", "a number from 0 to 1023"),
        ("flake://1024", "must be 0 to 1023"),
        ("flake://32?layout=javascript", "must be 0 to 31"),
        ("flake://1?layout=twitter", "`standard`, `javascript`"),
        ("flake://1:80", "`flake://NODE`"),
        ("flake://1,2", "`flake://NODE`"),
        ("flake://1/x", "`flake://NODE`"),
        ("flake://1?worker=2", "worker"),
    ] {
        flake(dsn, &[])?.assert_failed(2, &[says]);
    }
    place
        .run(&["--engine", "flake"])?
        .assert_failed(2, &["needs one"]);
    let dsn = "flake://1";
    flake(dsn, &["--set-increment", "2"])?.assert_failed(2, &["follow from their layout"]);
    let future = ((now() + 3_600_000) << 22).to_string();
    let refused = flake(dsn, &["--set-last-int", &future])?;
    assert_eq!(
        (refused.code == Some(0), refused.stdout.as_str()),
        (false, "")
    );
    assert!(refused.stderr.contains("of the future"), "{refused:?}");
    let past = ((now() - 3_600_000) << 22).to_string();
    let raised = flake(dsn, &["--set-last-int", &past])?.integers();
    assert!(raised[0] >> 22 > now() - 60_000);
    // A layout that has ended.
    let ended = flake("flake://1?layout=20-12-10:2020-01-01", &[])?;
    assert!(ended.stderr.contains("was 2020-01-01"), "{ended:?}");
    assert_ne!(ended.code, Some(0));
    // Each instance of a composed component would have the number.
    place
        .run(&["compose", "--engine", "flake", "-o", "x.wasm"])?
        .assert_failed(2, &["several instances", "--flake"]);
    place
        .run(&["--flake", "--lease", "10"])?
        .assert_failed(2, &["--lease"]);
    Ok(())
}

#[test]
fn the_list_of_engines_tells_when_the_layouts_end() -> TestResult {
    let listed = Place::new()?.run(&["engines"])?.stdout;
    assert!(
        listed.contains("2095-09-07 with layout=standard, which is 41-12-10:2026-01-01"),
        "{listed}"
    );
    assert!(
        listed.contains("2095-09-07 with layout=javascript"),
        "{listed}"
    );
    Ok(())
}

#[test]
fn servers_lease_different_numbers() -> TestResult {
    let redis = Redis::start()?;
    let servers = [
        serve_leased(&redis)?,
        serve_leased(&redis)?,
        serve_leased(&redis)?,
    ];
    let history = mint_at_once(&[&servers[0], &servers[1], &servers[2]], 100)?;
    history.assert_clean_by_process();
    assert_eq!(history.integers(), 800);
    let mut nodes = Vec::new();
    for server in &servers {
        nodes.push(node(server.get("/")?.integer()));
    }
    nodes.sort_unstable();
    nodes.dedup();
    assert_eq!(nodes.len(), 3, "each has its own");
    // The backend has the layout and three numbers, and none of the integers.
    let keys: Vec<String> = redis.query(&["KEYS", "*"])?;
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("flake-")), "{keys:?}");
    let other = Place::new()?.run(&[
        "--engine",
        "redis",
        "--dsn",
        &format!("{}?flake=javascript", redis.dsn()),
        "--flake",
    ])?;
    assert!(other.stderr.contains("begun with another"), "{other:?}");
    assert_eq!(other.stdout, "");
    Ok(())
}

#[test]
fn killed_servers_repeat_nothing() -> TestResult {
    let redis = Redis::start()?;
    let mut all = History::default();
    for process in 0..5 {
        let server = serve_leased(&redis)?;
        for mut record in mint_at_once(&[&server], 30)?.records().iter().copied() {
            record.process = process;
            all.push(record);
        }
        server.signal(Signal::KILL);
        server.end()?;
    }
    // One after the other on one clock, so the order holds among them, too.
    all.assert_clean();
    assert_eq!(all.integers(), 5 * 240);
    Ok(())
}

#[test]
fn a_number_is_refused_while_another_process_holds_it() -> TestResult {
    let redis = Redis::start()?;
    let dsn = format!("{}?flake-node=9", redis.dsn());
    let arguments = ["--engine", "redis", "--dsn", &dsn, "--flake"];
    let holder = Place::new()?.serve(&arguments)?;
    assert_eq!(node(holder.get("/")?.integer()), 9);
    let second = Place::new()?.run(&arguments)?;
    assert!(
        second.stderr.contains("the node number 9 is held"),
        "{second:?}"
    );
    assert_eq!(
        (second.code == Some(0), second.stdout.as_str()),
        (false, "")
    );
    Ok(())
}

#[test]
fn minting_goes_on_without_the_backend_until_the_lease_ends() -> TestResult {
    let redis = Redis::start()?;
    let server = serve_leased(&redis)?;
    let mut before = server.get("/")?.integer();
    redis.kill();
    let mut minted = 0;
    let refused = loop {
        let answer = server.get("/")?;
        if answer.status != 200 {
            break answer;
        }
        assert!(answer.integer() > before);
        (before, minted) = (answer.integer(), minted + 1);
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(minted > 1, "the backend is not needed for each integer");
    redis.start_again()?;
    testbed::wait::until("it mints again", Duration::from_secs(30), || {
        let answer = server.get("/").map_err(|error| error.to_string())?;
        match answer.status {
            200 if answer.integer() > before => Ok(()),
            _ => Err(answer.body),
        }
    })?;
    Ok(())
}

#[test]
fn a_composed_endpoint_makes_flakes() -> TestResult {
    let redis = Redis::start()?;
    let place = Place::new()?;
    let file = place.file("flake.wasm");
    let file = file.to_str().expect("a path in UTF-8");
    place
        .run(&["compose", "--flake", "--engine", "redis", "-o", file])?
        .integers();
    let server = place.serve(&["--component", file, "--dsn", &redis.dsn()])?;
    let history = mint_at_once(&[&server], 50)?;
    history.assert_clean();
    assert_eq!(history.integers(), 400);
    let integer = server.get("/")?.integer();
    assert!((now() - 60_000..=now()).contains(&(integer >> 22)));
    Ok(())
}

/// A library that shows a process another time, as a file says.
fn libfaketime() -> Option<PathBuf> {
    std::fs::read_dir("/usr/lib")
        .ok()?
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|file| file.is_file())
}

/// Moves the clock of a server by so many seconds.
fn set_clock(file: &Path, by: &str) {
    // In one step: the library must not read an empty file.
    let next = file.with_extension("next");
    std::fs::write(&next, by).expect("written");
    std::fs::rename(&next, file).expect("renamed");
}

/// A server whose clock is moved by what is in the file.
fn serve_with_clock(place: &Place, arguments: &[&str]) -> TestResult<(Serving, PathBuf)> {
    let library =
        libfaketime().expect("install the package libfaketime, for example with `make servers`");
    let file = place.file("clock");
    set_clock(&file, "+0");
    let mut all = vec!["serve", "--port", "0", "--host", "127.0.0.1"];
    all.extend(arguments);
    let mut command = place.command(&all)?;
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Ok((Serving::start(command)?, file))
}

#[test]
fn a_clock_that_is_set_back_stops_the_mints_until_it_has_caught_up() -> TestResult {
    let place = Place::new()?;
    let arguments = ["--engine", "flake", "--dsn", "flake://1"];
    let (server, file) = serve_with_clock(&place, &arguments)?;
    let first = server.get("/")?.integer();
    set_clock(&file, "-3600");
    for _ in 0..3 {
        let refused = server.get("/")?;
        assert_eq!(refused.status, 503, "{}", refused.body);
    }
    assert!(
        server.log().contains("the clock went back by 3"),
        "{}",
        server.log()
    );
    set_clock(&file, "+0");
    let second = server.get("/")?.integer();
    assert!(second > first);
    // Ahead is no error, and going back from there is one again.
    set_clock(&file, "+86400");
    let ahead = server.get("/")?.integer();
    assert!(ahead >> 22 > now() + 80_000_000);
    set_clock(&file, "+0");
    assert_eq!(server.get("/")?.status, 503);
    Ok(())
}

/// With a number on lease, a restart after the clock was set back repeats nothing: the times that the number was
/// held for are the backend's.
#[test]
fn a_restart_with_an_earlier_clock_takes_another_number() -> TestResult {
    let redis = Redis::start()?;
    let place = Place::new()?;
    let dsn = format!("{}?flake=41-12-1", redis.dsn());
    let arguments = ["--engine", "redis", "--dsn", &dsn, "--flake"];
    let mut all = History::default();
    // Both numbers are held until the clock is where it was.
    for process in 0..3 {
        let (server, file) = serve_with_clock(&place, &arguments)?;
        set_clock(&file, &format!("-{}", process * 2));
        if process < 2 {
            for mut record in mint_at_once(&[&server], 20)?.records().iter().copied() {
                record.process = process;
                all.push(record);
            }
        } else {
            let refused = server.get("/")?;
            assert_eq!(refused.status, 503, "{}", refused.body);
            assert!(server.log().contains("all are held"), "{}", server.log());
        }
        server.signal(Signal::KILL);
        server.end()?;
    }
    all.assert_clean_by_process();
    assert_eq!(all.integers(), 2 * 160);
    Ok(())
}

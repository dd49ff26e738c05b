//! Leases in real processes: `int-host --lease`, `serve --lease`, and the middleware in a composed endpoint.

use rustix::process::Signal;
use testbed::TestResult;
use testbed::backend;
use testbed::cli::{Place, Serving};
use testbed::crowd::mint_at_once;
use testbed::history::History;
use testbed::redis::Redis;
use testbed::runtime::run;

const TOKEN: &str = "an-admin-token-of-some-length";

fn serve(redis: &Redis, lease: &str) -> TestResult<Serving> {
    Ok(Place::new()?.serve(&[
        "--engine",
        "redis",
        "--dsn",
        &redis.dsn(),
        "--lease",
        lease,
        "--admin-token",
        TOKEN,
    ])?)
}

fn mark(redis: &Redis) -> TestResult<i64> {
    Ok(redis.query(&["GET", "integers"])?)
}

#[test]
fn two_servers_on_one_redis_share_no_integer() -> TestResult {
    let redis = Redis::start()?;
    let servers = [serve(&redis, "50")?, serve(&redis, "1000")?];
    let history = mint_at_once(&[&servers[0], &servers[1]], 250)?;
    // Unique among both, and in order for each.
    history.assert_clean_by_process();
    assert_eq!(history.off_lattice(2, 0), []);
    assert_eq!(history.integers(), 2000);
    let mark = mark(&redis)?;
    assert!(Some(i128::from(mark)) >= history.greatest());
    // Both can tell how much of it is a gap.
    let minted: i64 = 2 * 2000;
    let mut gap = 0;
    for server in servers {
        let (status, log) = server.stop()?;
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("NOT in order"), "{log}");
        gap += ["held=", "skipped="]
            .map(|name| number(&log, name))
            .iter()
            .sum::<i64>();
    }
    assert_eq!(minted + 2 * gap, mark, "{gap} integers are a gap");
    Ok(())
}

/// A number in the log; 0 if it is not there.
fn number(log: &str, name: &str) -> i64 {
    let Some((_, rest)) = log.rsplit_once(name) else {
        return 0;
    };
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..digits].parse().expect("a number")
}

#[test]
fn a_killed_server_leaves_a_gap_and_nothing_else() -> TestResult {
    let redis = Redis::start()?;
    let mut all = History::default();
    for process in 0..3 {
        let server = serve(&redis, "1000")?;
        for mut record in mint_at_once(&[&server], 40)?.records().iter().copied() {
            record.process = process;
            all.push(record);
        }
        server.signal(Signal::KILL);
        server.end()?;
    }
    // One after the other, so the order holds among them, too.
    all.assert_clean();
    assert_eq!(all.integers(), 3 * 320);
    let mark = mark(&redis)?;
    assert!(Some(i128::from(mark)) > all.greatest(), "the rest is a gap");
    let direct = Place::new()?.mint(&["--engine", "redis", "--dsn", &redis.dsn()])?;
    assert_eq!(direct, [mark + 2]);
    Ok(())
}

#[test]
fn a_raise_through_the_holder_is_obeyed_at_once() -> TestResult {
    let redis = Redis::start()?;
    let server = serve(&redis, "1000")?;
    let bearer = format!("Bearer {TOKEN}");
    mint_at_once(&[&server], 100)?;
    for value in [100_000, 200_001, 300_000] {
        let answer = server.request(
            "PUT",
            "/v1/sequences/integers",
            &[
                ("authorization", &bearer),
                ("content-type", "application/json"),
            ],
            &format!("{{\"last\":{value}}}"),
        )?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let first = server.get("/")?.integer();
        assert!(first > value, "{first} after a raise to {value}");
        mint_at_once(&[&server], 20)?;
    }
    // `last` is the mark of the backend: never below what was handed out.
    let minted = server.get("/")?.integer();
    let last = server.get("/last")?.integer();
    assert_eq!(last, mark(&redis)?);
    assert!(last >= minted);
    Ok(())
}

#[test]
fn a_backend_that_is_away_is_noticed_when_the_integers_are_used_up() -> TestResult {
    let redis = Redis::start()?;
    let dsn = format!("{}?timeout=2s", redis.dsn());
    let place = Place::new()?;
    let server = place.serve(&["--engine", "redis", "--dsn", &dsn, "--lease", "64"])?;
    // More than one span of the full size.
    mint_at_once(&[&server], 50)?;
    let taken = mark(&redis)?;
    redis.kill();
    let mut before = 0;
    let refused = loop {
        let answer = server.get("/")?;
        if answer.status != 200 {
            break answer;
        }
        let integer = answer.integer();
        assert!(integer > before && integer <= taken);
        before = integer;
    };
    assert_eq!((refused.status, before), (503, taken), "all were used");
    assert!(refused.body.contains("unavailable"), "{}", refused.body);
    redis.start_again()?;
    testbed::wait::until("it mints again", std::time::Duration::from_secs(30), || {
        let answer = server.get("/").map_err(|error| error.to_string())?;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.body),
        }
    })?;
    Ok(())
}

#[test]
fn the_command_line_takes_no_more_than_it_prints() -> TestResult {
    let place = Place::new()?;
    assert_eq!(place.mint(&["--lease", "1000"])?, [2]);
    assert_eq!(place.mint(&["--lease", "1000", "--count", "3"])?, [4, 6, 8]);
    assert_eq!(place.mint(&["last", "--lease", "1000"])?, [8]);
    let raised = place.mint(&["--lease", "1000", "--set-last-int", "100"])?;
    assert_eq!(raised, [102]);
    for bad in ["0", "100001", "many"] {
        place.run(&["--lease", bad])?.assert_failed(2, &["--lease"]);
    }
    let mut command = place.command(&[])?;
    command.env("ARTISANAL_LEASE", "5");
    assert_eq!(testbed::cli::run(command)?.integers(), [104]);
    Ok(())
}

#[test]
fn help_and_document_say_what_is_given_up() -> TestResult {
    let help = Place::new()?.run(&["--help"])?.stdout;
    assert!(help.contains("gives up the order"), "{help}");
    let server = Place::new()?.serve(&["--lease", "10"])?;
    let document = server.get("/openapi.json")?.body;
    assert!(document.contains("--lease"), "{document}");
    Ok(())
}

#[test]
fn a_composed_endpoint_with_leases_serves() -> TestResult {
    let redis = Redis::start()?;
    let place = Place::new()?;
    let file = place.file("leased.wasm");
    let file = file.to_str().expect("a path in UTF-8");
    place
        .run(&["compose", "--leased", "--engine", "redis", "-o", file])?
        .integers();
    let dsn = format!("{}?lease=100", redis.dsn());
    let server = place.serve(&["--component", file, "--dsn", &dsn, "--admin-token", TOKEN])?;
    let history = mint_at_once(&[&server], 100)?;
    history.assert_clean();
    assert_eq!(history.integers(), 800);
    let minted = server.get("/")?.integer();
    assert!(mark(&redis)? >= minted);
    let refused = place.serve(&["--component", file, "--lease", "5"]).err();
    let refused = refused.map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("--lease has no effect"), "{refused}");
    Ok(())
}

/// Threads of one program take from one holder.
#[test]
fn many_threads_of_a_program_share_a_holder() -> TestResult {
    let redis = Redis::start()?;
    let host = backend::host(None)?;
    let source = int_host::Builtin::Redis.into();
    let opened = run(backend::open(&host, &source, &redis.dsn(), "integers"))?;
    let leased = opened.lease(1000)?;
    assert_eq!(opened.take(1), None, "it has no leases");
    let mut all: Vec<i64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let leased = leased.clone();
                scope.spawn(move || {
                    let mut minted: Vec<i64> = Vec::new();
                    for _ in 0..25_000 {
                        let taken = leased.take(1);
                        let span = taken.unwrap_or_else(|| run(leased.next(1)).expect("minted"));
                        assert!(minted.last().is_none_or(|last| *last < span.first()));
                        minted.push(span.first());
                    }
                    minted
                })
            })
            .collect();
        let minted = threads.into_iter().map(|t| t.join().expect("no panic"));
        minted.flatten().collect()
    });
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 100_000, "every integer is there once");
    assert!(Some(mark(&redis)?) >= all.last().copied());
    let fetched = u64::try_from(mark(&redis)?).expect("positive") / 2;
    assert!(fetched <= 100_000 + leased.held() + leased.skipped() + 1000);
    Ok(())
}

//! `--continuous`, and output that cannot be written.

use super::*;

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

/// The command with `--continuous --set-last-int`, and the path of its standard error.
/// A value whose digits are in no request except the raise.
const RAISED: i64 = 987_654_321;

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

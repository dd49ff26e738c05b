//! Limits of memory, computing, waiting and callers.

use super::*;
use std::pin::Pin;

/// The time limit of every wait for room, far above the usual duration.
const PATIENCE: Duration = Duration::from_secs(60);

/// The current resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

#[test]
fn memory_has_a_limit() {
    run(async {
        let hog = open("hog").await;
        let before = resident();
        for _ in 0..3 {
            assert_broken(&failure(&hog).await, "trapped");
        }
        let grown = resident().saturating_sub(before);
        // The limit leaves room for the tests that run concurrently in this process.
        assert!(grown < 400 << 20, "{grown} bytes more than before");
    });
}

#[test]
fn computing_has_a_limit_and_disturbs_nobody() {
    // Everything runs on one thread, so the instance that computes must yield to the others.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let spins = open("spins").await;
        let behaves = open("behaves").await;
        let spinning = tokio::spawn(async move { failure(&spins).await });
        let minting = tokio::spawn(async move {
            let mut minted = 0;
            while !spinning.is_finished() {
                behaves.next(1).await.expect("minted");
                minted += 1;
            }
            (minted, spinning.await.expect("no panic"))
        });
        let (minted, error) = minting.await.expect("no panic");
        assert_broken(&error, "computed for longer than its limit");
        assert!(minted > 1, "{minted} mints beside the one that computed");
    });
    run(async {
        let opened = open_with(options(), "misbehaving:///spins?in=open").await;
        let error = opened.err().expect("it never opens");
        assert_broken(&error, "computed for longer than its limit");
    });
}

/// The limit applies to an instance that gets only a quarter of the thread's time.
#[test]
fn computing_in_turn_has_a_limit() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut options = options();
        options.call_timeout = Duration::from_secs(30);
        let host = Host::new(options).expect("a host");
        let mut spinning = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let config = Config {
                dsn: "misbehaving:///spins".to_owned(),
                ..Config::default()
            };
            let sequence = host.open(component(), config).await.expect("open");
            spinning.spawn(async move { failure(&sequence).await });
        }
        for error in spinning.join_all().await {
            assert_broken(&error, "computed for longer than its limit");
        }
    });
}

#[test]
fn waiting_has_a_limit() {
    run(async {
        let error = failure(&open("waits").await).await;
        assert_broken(&error, "did not answer within 3 s");
        let opened = open_with(options(), "misbehaving:///waits?in=open").await;
        assert_broken(&opened.err().expect("it never opens"), "did not answer");
    });
}

#[test]
fn callers_beyond_the_queue_are_turned_away_at_once() {
    run(async {
        let mut options = options();
        options.queue = 10;
        let sequence = open_with(options, "misbehaving:///waits")
            .await
            .expect("open");
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let sequence = sequence.clone();
            callers.spawn(async move { failure(&sequence).await });
        }
        let errors = callers.join_all().await;
        let busy = errors.iter().filter(|e| **e == Error::Busy).count();
        // Either one call was in flight and ten waited; or the first one was among the ten that waited; or,
        // if all arrived together, one was in flight with a batch of ten, and ten more waited.
        assert!((79..=90).contains(&busy), "{busy} of 100 were turned away");
        assert!(errors.iter().all(|e| matches!(kind(e), "busy" | "broken")));
    });
}

/// Opens more keys than there are instances, and returns two sequences that share one: `bad` and `good`.
async fn open_two(options: Options, habit: &str) -> [Sequence; 2] {
    let others = (1..Sequence::INSTANCES).map(|n| format!("k{n}"));
    let keys = ["bad".to_owned()].into_iter().chain(others);
    let config = Config {
        dsn: format!("misbehaving:///{habit}"),
        ..Config::default()
    };
    let host = Host::new(options).expect("a host");
    let keys = keys.chain(["good".to_owned()]);
    let opened = host.open_keys(component(), config, keys).await;
    let mut opened = opened.unwrap_or_else(|e| panic!("{habit}: {e}"));
    [opened.swap_remove(0), opened.swap_remove(0)]
}

#[test]
fn a_key_that_fails_does_not_fail_others_of_its_instance() {
    run(async {
        let [bad, good] = open_two(options(), "one-fails").await;
        for first in [2, 4] {
            let (failed, minted) = tokio::join!(biased; bad.next(1), good.next(1));
            let error = failed.expect_err("it cannot be served");
            assert_eq!(kind(&error), "unavailable", "{error}");
            assert!(error.to_string().contains("cannot be served"), "{error}");
            assert_eq!(minted.expect("it waited, and was served").first(), first);
        }
    });
}

#[test]
fn waiting_for_others_of_the_instance_has_a_limit() {
    run(async {
        let mut options = options();
        options.wait = Duration::from_millis(200);
        let [bad, good] = open_two(options, "one-waits").await;
        let (failed, waited) = tokio::join!(biased; bad.next(1), good.next(1));
        assert_broken(&failed.expect_err("it waits"), "did not answer within 3 s");
        let error = waited.expect_err("it does not wait for that");
        assert_eq!(kind(&error), "unavailable", "{error}");
        assert!(error.to_string().contains("longer than 200ms"), "{error}");
        assert_eq!(good.next(1).await.expect("its turn").first(), 2);
    });
}

/// Sends a request to the endpoint that is composed with the component, and returns the status.
async fn call(endpoint: &Endpoint, path: &str) -> Result<u16, Error> {
    let body = Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    let request = http::Request::builder().uri(format!("http://x{path}"));
    let request = request.body(body).expect("a request");
    Ok(endpoint.call(request).await?.status().as_u16())
}

/// Starts a request that never gets a response.
async fn in_flight(endpoint: &Endpoint) -> Pin<Box<dyn Future<Output = Result<u16, Error>> + '_>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut request = Box::pin(call(endpoint, "/"));
        match tokio::time::timeout(Duration::ZERO, &mut request).await {
            Err(_) => return request,
            Ok(answer) => assert_eq!(answer, Err(Error::Busy)),
        }
        assert!(Instant::now() < end, "it is still busy");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The status of a request that the component answers at once, as soon as there is room for it: a request
/// counts for a moment after its response.
async fn ping(endpoint: &Endpoint) -> Result<u16, Error> {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = call(endpoint, "/ping").await;
        if answer != Err(Error::Busy) || Instant::now() > end {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn requests_that_went_away_count_until_the_component_is_done_with_them() -> TestResult {
    const REQUESTS: usize = 10;
    let Source::File(file) = component() else {
        panic!("it is a file");
    };
    let engine = std::fs::read(file).expect("a component");
    let scratch = Scratch::new("composed")?;
    let file = scratch.join("composed.wasm");
    let composed = compose(&engine, Target::Spin).expect("composed");
    std::fs::write(&file, composed).expect("written");
    run(async {
        let mut settings = EndpointOptions::default();
        let dsn = "misbehaving:///waits".to_owned();
        settings.settings = BTreeMap::from([("dsn".to_owned(), dsn)]);
        settings.requests = REQUESTS;
        settings.request_timeout = Duration::from_secs(5);
        let host = Host::new(options()).expect("a host");
        let endpoint = host.endpoint(&Source::File(file), settings);
        let endpoint = endpoint.expect("an endpoint");
        for _ in 1..REQUESTS {
            let abandoned = in_flight(&endpoint).await;
            // Requests start in order of arrival, so after this one the other one has started too.
            assert_eq!(ping(&endpoint).await, Ok(200));
            drop(abandoned);
        }
        let _last = in_flight(&endpoint).await;
        assert_eq!(call(&endpoint, "/ping").await, Err(Error::Busy));
        // Abandoned requests do not count forever.
        assert_eq!(ping(&endpoint).await, Ok(200));
    });
    Ok(())
}

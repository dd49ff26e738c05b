//! Several concurrent calls of one sequence to the backend.

use int_host::{Builtin, Config, Error, Host, Options};
use std::collections::BTreeSet;
use std::time::Duration;
use testbed::TestResult;
use testbed::cli::Place;
use testbed::http::Client;
use testbed::redis::Redis;
use testbed::runtime::run;
use tokio::task::JoinSet;

/// Long enough for sent requests to be in flight, and shorter than their deadline.
const SENT: Duration = Duration::from_millis(500);

#[test]
fn each_call_has_a_connection() -> TestResult {
    let redis = Redis::start()?;
    let dsn = format!("{}?timeout=30s", redis.dsn());
    let serving = Place::new()?.serve(&["--engine", "redis", "--dsn", &dsn, "--calls", "3"])?;
    assert_eq!(serving.get("/")?.body, "2");
    redis.pause();
    let integers: TestResult<BTreeSet<i64>> = run(async {
        let client = Client::default();
        let mut requests = JoinSet::new();
        // The first request gets its own call, and the others do not wait until it returns.
        for others in [1, 19] {
            for _ in 0..others {
                let (client, url) = (client.clone(), serving.url("/"));
                requests.spawn(async move { client.send("GET", &url, &[], "").await });
            }
            tokio::time::sleep(SENT).await;
        }
        redis.resume();
        let answers = requests.join_all().await.into_iter();
        answers.map(|answer| Ok(answer?.integer())).collect()
    });
    assert!(integers?.into_iter().eq((2..=21).map(|n| 2 * n)));
    let clients: String = redis.query(&["CLIENT", "LIST"])?;
    // One client is the connection of this query.
    let connections = clients.lines().count() - 1;
    assert!((2..=3).contains(&connections), "{clients}");
    Ok(())
}

/// An engine that keeps its sequence in its own memory has a separate sequence in each instance. Running
/// several instances of it is a configuration mistake, which must not cause duplicates.
#[test]
fn instances_that_do_not_share_their_state_never_repeat() {
    let mut options = Options::default();
    options.calls = Some(4);
    options.cache = None;
    let host = Host::new(options).expect("a host");
    let (integers, refused) = run(async {
        let memory = Builtin::Memory;
        let sequence = host.open(memory, Config::default()).await.expect("memory");
        let mut tasks = JoinSet::new();
        for _ in 0..64 {
            let sequence = sequence.clone();
            tasks.spawn(async move {
                let mut got = Vec::new();
                for _ in 0..200 {
                    got.push(sequence.next(1).await.map(|span| span.first()));
                    tokio::task::yield_now().await;
                }
                got
            });
        }
        let (good, bad): (Vec<_>, Vec<_>) = tasks
            .join_all()
            .await
            .into_iter()
            .flatten()
            .partition(Result::is_ok);
        let good: Vec<i64> = good.into_iter().filter_map(Result::ok).collect();
        let bad: Vec<Error> = bad.into_iter().filter_map(Result::err).collect();
        (good, bad)
    });
    let different: BTreeSet<_> = integers.iter().collect();
    assert_eq!(different.len(), integers.len(), "duplicates");
    for error in refused {
        assert!(matches!(error, Error::Broken(_)), "{error:?}");
    }
}

//! The ledger and servers that publish to it, as processes.

mod backup;
mod disk;
mod grpc;
mod members;
mod publish;
mod publisher;
mod questions;
mod reducers;
mod repeat;
mod sockets;
mod stream;
mod stream_options;
mod stream_sharing;
mod tokens;
mod unfinished;

use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testbed::TestResult;
use testbed::cli::{Place, Serving};
use testbed::http::get;
use testbed::ledger::Ledger;

/// The time limit of every wait.
const LIMIT: Duration = Duration::from_secs(60);

fn serve(place: &Place, ledger: &Ledger, policy: &str) -> TestResult<Serving> {
    let url = ledger.url();
    Ok(place.serve(&["--ledger", &url, "--ledger-policy", policy])?)
}

/// The integers that events say were handed out, by the number of their event. Checks that none comes twice.
fn integers(events: &[Value]) -> BTreeMap<i64, u64> {
    let mut all = BTreeMap::new();
    for event in events.iter().filter(|event| event["kind"] == "mint") {
        let span = &event["payload"];
        let number = |name: &str| span[name].as_i64().expect("a number");
        for index in 0..number("count") {
            let integer = number("first") + index * number("step");
            let before = all.insert(integer, event["number"].as_u64().expect("a number"));
            assert_eq!(before, None, "{integer} is in two events");
        }
    }
    all
}

/// Clients that mint until they are told to end, whatever happens to the server; what they got.
fn mint_while(
    url: &str,
    scenario: impl FnOnce(&dyn Fn() -> usize) -> TestResult,
) -> TestResult<Vec<i64>> {
    let over = AtomicBool::new(false);
    let minted = Mutex::new(Vec::new());
    let count = || minted.lock().expect("not poisoned").len();
    std::thread::scope(|scope| -> TestResult {
        for client in 1..=4 {
            let (over, minted) = (&over, &minted);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    match get(&format!("{url}?count={client}")) {
                        Ok(answer) if answer.status == 200 => {
                            minted.lock().expect("not poisoned").extend(
                                answer
                                    .body
                                    .lines()
                                    .map(|line| line.parse::<i64>().expect("an integer")),
                            )
                        }
                        _ => std::thread::sleep(Duration::from_millis(20)),
                    }
                }
            });
        }
        let done = scenario(&count);
        over.store(true, Ordering::Relaxed);
        done
    })?;
    Ok(minted.into_inner().expect("not poisoned"))
}

//! The embedded store on a disk with temporary failures.

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testbed::TestResult;
use testbed::cli::{Place, Serving, within_shell};
use testbed::http::{Answer, get};
use testbed::wait;

/// The time limit of every wait.
const LIMIT: Duration = Duration::from_secs(60);

/// A file length that the journal of the store soon reaches, in the middle of a commit, and that no new one can have.
const LITTLE: u64 = 4096;

/// The number of clients that mint continuously.
const CLIENTS: usize = 3;

/// Limits the length of files that the server can write, which simulates a full disk; None removes the limit.
fn limit_files(serving: &Serving, length: Option<u64>) {
    let id = i32::try_from(serving.id()).expect("process ids are positive i32");
    let limit = Rlimit {
        current: length,
        maximum: None,
    };
    prlimit(Pid::from_raw(id), Resource::Fsize, limit).expect("the limit can be set");
}

/// Starts a server whose writes above the limit fail with an error, instead of a fatal signal.
fn serve(place: &Place) -> TestResult<Serving> {
    let command = place.command(&["serve", "--port", "0"])?;
    Ok(Serving::start(within_shell(
        "trap '' XFSZ; exec \"$@\"",
        &command,
    ))?)
}

/// Asks the clients to end on drop, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wait_for(serving: &Serving, path: &str, status: u16) -> testbed::Result<Answer> {
    let what = format!("GET {path} returns {status}");
    wait::until_or_error(&what, LIMIT, || {
        let answer = serving.get(path)?;
        Ok((answer.status == status)
            .then_some(answer)
            .ok_or("another status"))
    })
}

#[test]
fn minting_goes_on_when_the_disk_does() -> TestResult {
    let place = Place::new()?;
    let serving = serve(&place)?;
    let url = serving.url("/");
    let integers = Mutex::new(Vec::new());
    let minted = || integers.lock().expect("not poisoned").len();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| -> TestResult {
        let end = Over(&over);
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let answer = get(&url).expect("an answer");
                    match answer.status {
                        200 => integers
                            .lock()
                            .expect("not poisoned")
                            .push(answer.integer()),
                        _ => std::thread::sleep(Duration::from_millis(20)),
                    }
                }
            });
        }
        for _ in 0..3 {
            let before = minted();
            wait::until_true("integers are minted", LIMIT, || minted() >= before + 20)?;

            limit_files(&serving, Some(LITTLE));
            let refused = wait_for(&serving, "/", 503)?;
            assert_eq!(refused.json()["code"], "unavailable", "{}", refused.body);
            // The health check reports the failure too, although it writes nothing.
            wait_for(&serving, "/healthz", 503)?;
            wait_for(&serving, "/last", 503)?;

            limit_files(&serving, None);
            let integer = wait_for(&serving, "/", 200)?.integer();
            integers.lock().expect("not poisoned").push(integer);
            wait_for(&serving, "/healthz", 200)?;
        }
        drop(end);
        Ok(())
    })?;
    serving.signal(Signal::KILL);
    serving.end()?;
    let mut integers = integers.into_inner().expect("not poisoned");
    let next = serve(&place)?.get("/")?.integer();
    integers.push(next);
    integers.sort_unstable();
    assert_eq!(integers.last(), Some(&next), "nothing was forgotten");
    let count = integers.len();
    integers.dedup();
    assert_eq!(integers.len(), count, "every integer was handed out once");
    Ok(())
}

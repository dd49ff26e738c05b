//! Connects to the hosts of the DSN: if there are several, to all concurrently, to choose one.

use crate::connection::Connection;
use crate::settings::{PORT, Settings};
use crate::survey::{Sight, Verdict, Witness, judge};
use crate::witness;
use engine_dsn::Address;
use engine_guest::failover::Fault;
use engine_guest::hosts::{Search, resolve, silent};
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// The result of querying one host.
type Answer = Result<(Connection, Witness), Fault>;

/// Connects to a host, whatever its state.
pub(crate) fn dial(
    runtime: &Runtime,
    limit: Duration,
    node: &Address,
    settings: &Settings,
) -> Result<Connection, Fault> {
    let (to, ips) = resolve(node, PORT)?;
    let dialled = block_on(runtime, limit, Connection::open(&to, ips, settings));
    dialled.unwrap_or_else(|| Err(silent(&to)))
}

/// Connects to all hosts concurrently and chooses one that may be used for minting: the one with the
/// number `at`, or else the next one. Hosts that do not answer in time are ignored, unless the search is short.
pub(crate) fn choose(
    runtime: &Runtime,
    search: Search,
    at: usize,
    settings: &Settings,
) -> Result<(usize, Connection), Fault> {
    let sign = random();
    let signs: Vec<_> = (0..settings.nodes.len())
        .map(|number| format!("artisanal {sign:016x} {number}"))
        .collect();
    let found: Vec<_> = settings
        .nodes
        .iter()
        .map(|node| resolve(node, PORT))
        .collect();
    let asking = found.iter().zip(&signs).map(|(found, sign)| async move {
        let (to, ips) = found.clone()?;
        let mut connection = Connection::open(&to, ips, settings).await?;
        let witness = witness::ask(&mut connection, sign, settings)
            .await
            .map_err(Fault::while_dialling)?;
        Ok((connection, witness))
    });
    let mut answers: Vec<Answer> = Vec::new();
    let mut late = false;
    for (answer, found) in all(runtime, search.limit, asking).into_iter().zip(&found) {
        late |= answer.is_none();
        answers.push(match (answer, found) {
            (Some(answer), _) => answer,
            (None, Ok((to, _))) => Err(silent(to)),
            (None, Err(fault)) => Err(fault.clone()),
        });
    }
    tell_apart(runtime, search.limit, &mut answers, &signs, settings);

    let mut connections = Vec::new();
    let mut sights = Vec::new();
    let mut refused = None;
    for answer in answers {
        match answer {
            Ok((connection, witness)) => {
                connections.push(Some(connection));
                sights.push(Sight::Seen(witness));
            }
            Err(fault) => {
                connections.push(None);
                sights.push(Sight::Silent(fault.to_string()));
                if matches!(fault, Fault::Final(_)) {
                    refused.get_or_insert(fault);
                }
            }
        }
    }
    match (judge(&sights), refused) {
        (Verdict::Use(_), _) if late && search.is_short => Err(Fault::Slow(search.undecided())),
        (Verdict::Use(usable), _) => {
            let number = usable
                .iter()
                .find(|number| **number >= at)
                .or(usable.first());
            let chosen = number.and_then(|n| Some((*n, connections.get_mut(*n)?.take()?)));
            chosen.ok_or_else(|| Fault::Elsewhere("no host can be used".into()))
        }
        (Verdict::Refuse(why), _) => Err(Fault::Contested(why)),
        // An error that needs an operator is more useful than the reason why the others cannot be used.
        (Verdict::Wait(_), Some(fault)) => Err(fault),
        // With more time the result might have been different.
        (Verdict::Wait(why), None) if late => Err(Fault::Slow(why)),
        (Verdict::Wait(why), None) => Err(Fault::Elsewhere(why)),
    }
}

/// Determines which of the hosts that accept writes are the same server under another name.
fn tell_apart(
    runtime: &Runtime,
    limit: Duration,
    answers: &mut [Answer],
    signs: &[String],
    settings: &Settings,
) {
    let signed = |answer: &Answer| {
        matches!(answer, Ok((connection, witness))
            if !witness.read_only && !connection.server.galera)
    };
    if answers.iter().filter(|answer| signed(answer)).count() < 2 {
        return;
    }
    let looking = answers
        .iter_mut()
        .enumerate()
        .filter(|(_, answer)| signed(answer))
        .filter_map(|(number, answer)| Some((number, answer.as_mut().ok()?)))
        .map(|(number, (connection, witness))| async move {
            let seen = witness::recognise(connection, signs, settings).await;
            // Without an answer it counts as a separate server: at worst, two names of one are refused.
            witness.same_as = seen.unwrap_or_default();
            witness.same_as.remove(&number);
        });
    all(runtime, limit, looking);
}

/// Runs the work to its end, or for at most `limit`. None if that was not enough.
///
/// The component's thread blocks meanwhile. Unfinished work is dropped outside of the runtime.
pub(crate) fn block_on<T>(
    runtime: &Runtime,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work: Pin<Box<_>> = Box::pin(work);
    let done = runtime.block_on(async { timeout(limit, work.as_mut()).await });
    drop(work);
    done.ok()
}

/// Runs all work concurrently, for at most `limit`. None for work that did not finish.
fn all<T>(
    runtime: &Runtime,
    limit: Duration,
    work: impl IntoIterator<Item = impl Future<Output = T>>,
) -> Vec<Option<T>> {
    let mut work: Vec<_> = work.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = work.iter().map(|_| None).collect();
    block_on(
        runtime,
        limit,
        std::future::poll_fn(|context| {
            for (work, done) in work.iter_mut().zip(&mut done) {
                if done.is_none()
                    && let Poll::Ready(output) = work.as_mut().poll(context)
                {
                    *done = Some(output);
                }
            }
            if done.iter().all(Option::is_some) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }),
    );
    done
}

/// A random number. The standard library seeds its hashers from the system.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::runtime::Builder;

    #[test]
    fn who_does_not_answer_holds_nobody_up() {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let work = [None, Some(1), None, Some(2)].map(|answer| async move {
            match answer {
                Some(number) => number,
                None => std::future::pending().await,
            }
        });
        let done = all(&runtime, Duration::from_millis(10), work);
        assert_eq!(done, [None, Some(1), None, Some(2)]);
    }
}

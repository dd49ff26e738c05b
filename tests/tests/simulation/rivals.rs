//! Clients that mint from one sequence all the time, with different counts, while nothing fails: all of them get through.

use crate::clock::Clock;
use crate::history::{History, Returned};
use crate::machine::KEY;
use crate::network::Weather;
use crate::random::Random;
use crate::run::{group, in_a_world};
use crate::world::{clocked, host};
use artisanal_quorum::List;
use int_host::{Builtin, Config, Error};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How many integers each client mints at a time. Those with great counts move the mark farther than others leave room for.
const COUNTS: [u32; 8] = [1, 7, 1000, 1250, 1, 7, 1000, 1250];

/// How long the clients mint, in virtual time.
const LASTS: Duration = Duration::from_secs(10);

/// After how many calls a client is started anew.
const CALLS: usize = 50;

/// What came of one client.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// How many calls returned integers.
    pub(crate) calls: usize,
    /// Why others failed.
    pub(crate) failed: Vec<String>,
}

/// Lets all clients mint from a group whose nodes are near or far, and fast or slow; returns what came of each.
pub(crate) fn compete(seed: u64) -> Vec<Share> {
    in_a_world(seed, None, false, async |network| {
        let history = &network.history;
        let mut random = Random::new(seed, 0);
        let size = random.of(&[3, 5]);
        let (machines, list) = group(size, network, &mut random).await.expect("a group");
        let mut slow = BTreeMap::new();
        for machine in &machines {
            let most = random.of(&[0, 0, 1, 5, 20]);
            let distance = random.within(most);
            for number in 0..COUNTS.len() {
                let (client, node) = (format!("c{number}"), machine.address().to_owned());
                slow.insert((client.clone(), node.clone()), distance);
                slow.insert((node, client), distance);
            }
        }
        network.slow_down(slow);
        network.set_weather(Weather {
            late: random.of(&[0, 0, 50]),
            latest: random.of(&[5, 20]),
            slow_backend: random.of(&[0, 20, 500, 1000]),
            ..Weather::default()
        });
        let mut clients = JoinSet::new();
        for (number, count) in (0..).zip(COUNTS) {
            let rival = Rival {
                number,
                count,
                list: list.clone(),
                history: Arc::clone(history),
            };
            clients.spawn(async move { (number, rival.run().await) });
        }
        let shares: BTreeMap<_, _> = clients.join_all().await.into_iter().collect();
        assert_eq!(history.faults(), [""; 0], "with the seed {seed}");
        shares.into_values().collect()
    })
}

/// A client.
struct Rival {
    number: u32,
    count: u32,
    list: List,
    history: Arc<History>,
}

impl Rival {
    async fn run(self) -> Share {
        let Self {
            number,
            count,
            list,
            history,
        } = self;
        let clock = Clock::default();
        let mut share = Share::default();
        let end = Instant::now() + LASTS;
        while Instant::now() < end {
            let config = Config {
                dsn: format!("quorum://c{number}@{}?timeout=2s", list.addresses()),
                key: KEY.to_owned(),
                ..Config::default()
            };
            let opened = clocked(&clock, host().open(Builtin::Quorum, config)).await;
            let sequence = opened.expect("opened");
            for _ in 0..CALLS {
                if Instant::now() >= end {
                    break;
                }
                let begin = history.tell(format_args!("c{number} mints {count}"));
                match sequence.next(count).await {
                    Ok(span) => {
                        history.returned(number, begin, Returned::Minted(span));
                        share.calls += 1;
                    }
                    Err(Error::Unavailable(why)) => share.failed.push(why),
                    Err(error) => history.fault(format_args!("c{number}: {error:?}")),
                }
            }
        }
        share
    }
}

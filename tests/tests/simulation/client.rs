//! Clients that mint, read and raise one sequence, each as a program of its own.

use crate::clock::Clock;
use crate::history::{History, Returned};
use crate::machine::KEY;
use crate::mistake::Mistake;
use crate::random::Random;
use crate::world::{clocked, host};
use artisanal_quorum::List;
use int_host::{Builtin, Config, Error, Sequence};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::sleep;

/// The lists of members that DSNs have, the newest last.
#[derive(Default)]
pub(crate) struct Lists(Mutex<Vec<List>>);

/// How many lists are in use at a time. Of three members, one may be replaced for each change of the DSN.
const USED: u64 = 2;

impl Lists {
    /// Adds a list unless there is a newer one.
    pub(crate) fn add(&self, list: &List) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.last().is_none_or(|last| last.epoch < list.epoch) {
            lists.push(list.clone());
        }
    }

    /// The addresses of one of the newest.
    fn addresses(&self, before: u64) -> String {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::try_from(before).unwrap_or(0) + 1;
        let list = lists.get(lists.len().saturating_sub(place));
        list.map(List::addresses).unwrap_or_default()
    }

    /// The addresses of the newest.
    fn newest(&self) -> String {
        self.addresses(0)
    }

    /// The addresses of one that clients use, mostly the newest.
    fn any(&self, random: &mut Random) -> String {
        let before = random.below(USED);
        self.addresses(if random.is(500) { before } else { 0 })
    }
}

/// A client.
pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) lists: Arc<Lists>,
    pub(crate) clock: Clock,
    pub(crate) mistake: Option<Mistake>,
    pub(crate) history: Arc<History>,
    pub(crate) random: Random,
}

impl Client {
    /// A sequence that has not heard of anything.
    async fn open(&mut self, nodes: &str) -> Result<Sequence, Error> {
        let timeout = match self.mistake {
            // Shorter than the time that nodes wait.
            Some(Mistake::TrustsClocks) => "1s",
            _ => self.random.of(&["300ms", "2s", "5s"]),
        };
        let config = Config {
            dsn: format!("quorum://c{}@{nodes}?timeout={timeout}", self.number),
            key: KEY.to_owned(),
            increment: Some(self.random.of(&[1, 2, 3])),
            ..Config::default()
        };
        clocked(&self.clock, host().open(Builtin::Quorum, config)).await
    }

    /// Makes calls until it is told to stop.
    pub(crate) async fn run(mut self, stop: Arc<AtomicBool>) {
        let mut sequence = None;
        while !stop.load(Ordering::Relaxed) {
            let open = match sequence.take() {
                Some(open) => open,
                None => {
                    let nodes = self.lists.any(&mut self.random);
                    match self.open(&nodes).await {
                        Ok(open) => open,
                        Err(error) => {
                            return self.history.fault(format_args!("not opened: {error}"));
                        }
                    }
                }
            };
            self.call(&open).await;
            // Now and then the program is started anew.
            sequence = (!self.random.is(150)).then_some(open);
            let pause = self.random.of(&[0, 0, 20, 200, 400]);
            sleep(self.random.within(pause)).await;
        }
    }

    async fn call(&mut self, sequence: &Sequence) {
        let Self {
            number,
            history,
            random,
            ..
        } = self;
        let what = random.below(10);
        let result = match what {
            0 => {
                let begin = history.tell(format_args!("c{number} asks for the last"));
                let last = sequence.last().await;
                last.map(|last| history.returned(*number, begin, Returned::Last(last)))
            }
            1 if random.is(500) => {
                let least = sequence.last().await.ok().flatten().unwrap_or(0);
                let value = least + i64::try_from(random.below(100)).unwrap_or(0);
                let begin = history.tell(format_args!("c{number} raises to {value}"));
                let raised = sequence.set_last(value).await;
                raised.map(|()| history.returned(*number, begin, Returned::Raised(value)))
            }
            _ => {
                let count = random.of(&[1, 1, 7, 1000]);
                let begin = history.tell(format_args!("c{number} mints {count}"));
                let span = sequence.next(count).await;
                span.map(|span| history.returned(*number, begin, Returned::Minted(span)))
            }
        };
        match result {
            Ok(()) => {}
            Err(error @ (Error::Unavailable(_) | Error::TooSmall(_))) => {
                history.tell(format_args!("c{number} failed: {error}"));
            }
            Err(error) => history.fault(format_args!("c{number}: {error:?}")),
        }
    }

    /// Mints once from the newest members, with so many tries.
    pub(crate) async fn mint(mut self, tries: u32) -> Result<(), Error> {
        let nodes = self.lists.newest();
        let sequence = self.open(&nodes).await?;
        let mut result = Ok(());
        for _ in 0..tries {
            let begin = self.history.tell("the last mint begins");
            result = match sequence.next(1).await {
                Ok(span) => {
                    let minted = Returned::Minted(span);
                    self.history.returned(self.number, begin, minted);
                    return Ok(());
                }
                Err(error) => Err(error),
            };
        }
        result
    }
}

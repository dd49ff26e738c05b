//! Clients that mint, read and raise one sequence, each as a program of its own.

use crate::history::{History, Returned};
use crate::machine::KEY;
use crate::random::Random;
use int_host::{Builtin, Config, Error, Host, Sequence};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::sleep;

/// A client.
pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) host: Host,
    /// The addresses of the nodes.
    pub(crate) nodes: String,
    pub(crate) history: Arc<History>,
    pub(crate) random: Random,
}

impl Client {
    /// A sequence that has not heard of anything.
    async fn open(&mut self) -> Result<Sequence, Error> {
        let timeout = self.random.of(&["300ms", "2s", "5s"]);
        let config = Config {
            dsn: format!("quorum://c{}@{}?timeout={timeout}", self.number, self.nodes),
            key: KEY.to_owned(),
            increment: Some(self.random.of(&[1, 2, 3])),
            ..Config::default()
        };
        self.host.open(Builtin::Quorum, config).await
    }

    /// Makes calls until it is told to stop.
    pub(crate) async fn run(mut self, stop: Arc<AtomicBool>) {
        let mut sequence = None;
        while !stop.load(Ordering::Relaxed) {
            let open = match sequence.take() {
                Some(open) => open,
                None => match self.open().await {
                    Ok(open) => open,
                    Err(error) => return self.history.fault(format_args!("not opened: {error}")),
                },
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

    /// Mints once, with so many tries.
    pub(crate) async fn mint(&mut self, tries: u32) -> Result<(), Error> {
        let sequence = self.open().await?;
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

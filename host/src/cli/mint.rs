//! `int-host` without a command: mints integers and prints them.

use super::exit::one_line;
use super::flags::Flags;
use super::interrupt::interrupted;
use super::lines::{Lines, stdout};
use super::{Failure, one_thread};
use crate::{Error, Host, Sequence};
use std::io::Write;
use std::time::Duration;

/// The maximum number of integers per call.
const MOST: u32 = artisanal_core::MAX_COUNT;

/// The backoff: the pause after the first of consecutive failures, doubled after each, and the maximum.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// Mints and prints integers.
#[derive(Debug)]
pub(super) struct Mint {
    count: u64,
    continuous: bool,
}

impl Mint {
    pub(super) fn new(flags: &Flags) -> Self {
        Self {
            count: flags.count,
            continuous: flags.continuous,
        }
    }

    /// An integer is printed only after it was minted for good; one that was minted but not printed is a
    /// gap.
    pub(super) fn run(self, flags: &Flags) -> Result<(), Failure> {
        let host = flags.host()?;
        let out = Lines::new(stdout()?);
        one_thread()?.block_on(async {
            if self.continuous {
                tokio::select! {
                    biased;
                    () = interrupted() => Ok(()),
                    ended = self.forever(flags, &host, out) => ended,
                }
            } else {
                self.round(&flags.open(&host).await?, &mut { out }).await
            }
        })
    }

    async fn round<W: Write>(
        &self,
        sequence: &Sequence,
        out: &mut Lines<W>,
    ) -> Result<(), Failure> {
        let mut left = self.count;
        while left > 0 {
            let count = u32::try_from(left).map_or(MOST, |left| left.min(MOST));
            let span = sequence.next(count).await?;
            for integer in span.iter() {
                out.push(integer)?;
            }
            out.flush()?;
            left -= u64::from(count);
        }
        Ok(())
    }

    async fn forever<W: Write>(
        &self,
        flags: &Flags,
        host: &Host,
        mut out: Lines<W>,
    ) -> Result<(), Failure> {
        let mut sequence = None;
        let mut raise = flags.raise();
        let mut pause = PAUSES.0;
        loop {
            let round = match &sequence {
                None => flags
                    .open_and(host, &mut raise)
                    .await
                    .map(|opened| sequence = Some(opened))
                    .map_err(Failure::from),
                Some(sequence) => self.round(sequence, &mut out).await,
            };
            match round {
                Ok(()) => {
                    pause = PAUSES.0;
                    // Yields, so that an engine that never waits cannot block the interruption.
                    tokio::task::yield_now().await;
                }
                Err(Failure::Host(error @ (Error::Unavailable(_) | Error::Busy))) => {
                    let _ = writeln!(
                        std::io::stderr(),
                        "int-host: {}; trying again",
                        one_line(&error)
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

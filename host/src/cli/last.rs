//! `int-host last`: prints the greatest integer taken so far.

use super::flags::Flags;
use super::{Failure, one_thread};
use crate::Error;
use std::io::Write;

/// Print the greatest integer taken so far, without minting
///
/// Exits with code 1 and prints no integer if none has been minted yet.
#[derive(Debug, clap::Args)]
pub(super) struct Last {}

impl Last {
    pub(super) fn run(self, flags: &Flags) -> Result<(), Failure> {
        let host = flags.host()?;
        let last = one_thread()?.block_on(async { flags.open(&host).await?.last().await })?;
        match last {
            Some(last) => Ok(writeln!(std::io::stdout(), "{last}")?),
            None => {
                Err(Error::Other("no integer has been minted from this sequence yet".into()).into())
            }
        }
    }
}

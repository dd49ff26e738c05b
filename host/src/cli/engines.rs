//! `int-host engines`: what is built in.

use super::Failure;
use crate::Builtin;
use std::io::Write;

/// List the engines that are built in: DSN, integers, durability
#[derive(Debug, clap::Args)]
pub(super) struct Engines {}

impl Engines {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut text = String::new();
        for about in Builtin::ALL.map(Builtin::about) {
            if !text.is_empty() {
                text.push('\n');
            }
            text += &format!(
                "{}\n  DSN       {}\n  integers  {}\n  survives  {}\n",
                about.name, about.dsn, about.counts, about.survives
            );
        }
        text += "\nEvery engine: no integer twice, later calls get greater ones, all of them ≡ offset (mod increment).\n";
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}

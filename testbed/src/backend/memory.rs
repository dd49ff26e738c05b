//! The engine `memory`, which needs no server.

use super::{Backend, Reach};
use crate::error::Result;

pub(super) struct Memory;

impl Memory {
    pub(super) fn start() -> Result<Self> {
        Ok(Self)
    }

    pub(super) fn missing() -> Option<&'static str> {
        None
    }
}

impl Backend for Memory {
    fn dsn(&self) -> String {
        "memory://".to_owned()
    }

    fn reach(&self) -> Reach {
        Reach::Sequence
    }
}

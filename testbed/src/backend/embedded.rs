//! The engine `keyvalue` on the host's embedded store.

use super::{Backend, Reach};
use crate::error::Result;
use crate::scratch::Scratch;
use std::path::PathBuf;

pub(super) struct Embedded {
    data: Scratch,
}

impl Embedded {
    pub(super) fn start() -> Result<Self> {
        Ok(Self {
            data: Scratch::new("data")?,
        })
    }

    pub(super) fn missing() -> Option<&'static str> {
        None
    }
}

impl Backend for Embedded {
    fn dsn(&self) -> String {
        "keyvalue://default".to_owned()
    }

    fn reach(&self) -> Reach {
        Reach::Process
    }

    fn data(&self) -> Option<PathBuf> {
        Some(self.data.path().to_owned())
    }
}

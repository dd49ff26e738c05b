//! The engine `quorum` on nodes with embedded stores: three of them, or one, which a proxy can stand in front of.

use super::{Backend, Reach};
use crate::error::Result;
use crate::quorum::{Options, Quorum};

pub(super) struct QuorumBackend {
    nodes: Quorum,
}

impl QuorumBackend {
    pub(super) fn start() -> Result<Self> {
        Ok(Self {
            nodes: Quorum::start()?,
        })
    }

    /// A group of one node, whose replies can be lost.
    pub(super) fn single() -> Result<Self> {
        Ok(Self {
            nodes: Quorum::with(Options {
                nodes: vec![Vec::new()],
                ..Options::default()
            })?,
        })
    }

    pub(super) fn missing() -> Option<&'static str> {
        None
    }
}

impl Backend for QuorumBackend {
    fn dsn(&self) -> String {
        // Each of many clients at once gets through in time also on a busy machine.
        format!("{}?timeout=20s", self.nodes.dsn())
    }

    fn reach(&self) -> Reach {
        Reach::Everybody
    }

    fn port(&self) -> Option<u16> {
        // Where there are others, the loss of one node's replies is not noticed.
        (self.nodes.size() == 1).then(|| self.nodes.port(0))
    }

    fn dsn_on(&self, port: u16) -> String {
        self.nodes.dsn_on(port)
    }

    fn dsn_with_password(&self, password: &str, port: u16) -> Option<String> {
        Some(
            self.nodes
                .dsn_on(port)
                .replace("://", &format!("://{password}@")),
        )
    }

    fn crash(&self) -> Result<bool> {
        for index in 0..self.nodes.size() {
            self.nodes.server(index).kill();
        }
        for index in 0..self.nodes.size() {
            self.nodes.server(index).start_again()?;
        }
        Ok(true)
    }
}

//! The faults of one attempt at one node.

use engine_guest::Error;

/// Whether and where a retry can help after a failed attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The node or its cluster cannot answer at present: a retry, preferably on another node, can help.
    Passing(String),
    /// This node is unusable, even for later attempts; another one may work.
    Node(Error),
    /// Every node would fail in the same way.
    Final(Error),
}

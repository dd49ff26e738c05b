//! Why one attempt at one node brought no answer.

use engine_guest::Error;

/// What a failed attempt means for the next one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The node or its cluster cannot answer now: trying again, best elsewhere, can help.
    Passing(String),
    /// This node will not do, whenever it is asked; another one may.
    Node(Error),
    /// The same would come of every node.
    Final(Error),
}

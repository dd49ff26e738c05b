//! What a node knows about the incarnations of all nodes.

use std::fmt;

use crate::members::{NODES, NodeId};

/// A number that a node takes anew whenever it may have forgotten anything. It only grows.
pub type Incarnation = u8;

/// The newest known incarnation of each node; 0 for a node that is not known to have lost anything.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vector(pub(crate) [Incarnation; NODES]);

impl Vector {
    /// The newest known incarnation of `node`.
    pub fn of(self, node: NodeId) -> Incarnation {
        self.0[node.index()]
    }

    /// Learns an incarnation of `node`. An older one than the known one changes nothing.
    pub fn learn(&mut self, node: NodeId, incarnation: Incarnation) {
        let known = &mut self.0[node.index()];
        *known = incarnation.max(*known);
    }

    /// Learns everything that `other` knows.
    pub fn merge(&mut self, other: Vector) {
        for (known, more) in self.0.iter_mut().zip(other.0) {
            *known = more.max(*known);
        }
    }
}

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

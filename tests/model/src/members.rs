//! Nodes by name, sets of nodes, and what a majority is.

use std::fmt;

/// The most nodes that a system has here: A, B and C, and D that replaces C.
pub const NODES: usize = 4;

/// A node's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u8);

impl NodeId {
    /// The position in arrays that have one entry for each node.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(["A", "B", "C", "D"].get(self.index()).unwrap_or(&"?"))
    }
}

/// A set of nodes; a member list is one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeSet(u8);

impl NodeSet {
    /// The member list that a system starts with: A, B and C.
    pub const OLD: Self = Self(0b0111);
    /// The member list after D has replaced C.
    pub const NEW: Self = Self(0b1011);

    /// Adds a node.
    pub fn insert(&mut self, node: NodeId) {
        self.0 |= 1 << node.0;
    }

    /// Whether the node is in the set.
    pub fn contains(self, node: NodeId) -> bool {
        self.0 & (1 << node.0) != 0
    }

    /// The nodes, in order.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        (0..8).map(NodeId).filter(move |node| self.contains(*node))
    }

    /// How many nodes of `list` are in the set.
    pub fn count_of(self, list: NodeSet) -> u32 {
        (self.0 & list.0).count_ones()
    }

    /// How many nodes of this list are more than half of it.
    pub fn majority(self) -> u32 {
        self.0.count_ones() / 2 + 1
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut set = Self::default();
        nodes.into_iter().for_each(|node| set.insert(node));
        set
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

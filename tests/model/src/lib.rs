//! A model of the quorum rule, and the search that shows that spans never overlap.
//!
//! A sequence lives on three nodes without a leader. A proposer mints a span by *claiming* it at all
//! nodes; it hands the span out when a majority has accepted the claim. Messages are lost, late, out
//! of order and repeated. Nodes lose everything that they had on disk, and join again. One node is
//! replaced by another. Whatever happens, in whatever order:
//!
//! - no integer is handed out twice, and
//! - if a span was handed out before another claim began, that claim gets greater integers.
//!
//! `tests/safe.rs` lets the checker `stateright` visit every state that systems of a limited size
//! can reach, and check both. `tests/planted.rs` does the same with rules that are wrong in one
//! place each, and expects a counterexample every time: a search that cannot find a mistake proves
//! nothing.
//!
//! # Where to read
//!
//! | module | contents |
//! | --- | --- |
//! | [`node`] | what a node keeps, and how it accepts and answers a claim |
//! | [`proposer`] | how a claim begins, and when its span is handed out |
//! | [`count`] | which answers count: the heart of the rule |
//! | [`join`] | how a node joins again after it lost its memory |
//! | [`reconfigure`] | how one list of members follows another |
//! | [`rule`] | the correct rule and the wrong ones |
//! | [`network`], [`vector`], [`members`] | messages, known incarnations, sets of nodes |
//! | [`action`], [`state`], [`system`] | the steps, the state, and the model made of them |
//! | [`symmetry`] | why states that differ in names only are visited once |
//!
//! # What the model leaves out
//!
//! It says nothing of systems that are larger than those searched: five nodes, more claims, two
//! changes of the member list at a time. It does not show that a span is ever handed out while
//! proposers get in each other's way, only that none is handed out twice. And it believes in disks:
//! what a node wrote is there until the node loses all of it and notices.

pub mod action;
pub mod count;
pub mod join;
pub mod members;
pub mod network;
pub mod node;
pub mod proposer;
pub mod reconfigure;
pub mod rule;
pub mod state;
pub mod symmetry;
pub mod system;
pub mod vector;

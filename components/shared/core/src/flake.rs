//! Integers that are made from the time, without a call to a backend for each.
//!
//! A *flake* has three parts, from the top: the milliseconds since an epoch, a number within the
//! millisecond, and the number of the *node* that made it. So the flakes of one node are a [`Lattice`](crate::Lattice)
//! whose increment is the number of nodes and whose offset is the node's number: flakes of different nodes
//! differ, and several flakes of one node in a row are a [`Span`](crate::Span), also beyond the end of a millisecond.
//!
//! Two processes with the same node number would mint the same flakes. So a number is either given to each
//! process by its operator, or held on lease ([`Holder`]).

mod generator;
mod holder;
mod layout;

pub use generator::{Generator, Request, Step};
pub use holder::{Clock, HOLD, Holder, Numbers, Taken};
pub use layout::Layout;

#[cfg(test)]
mod tests;

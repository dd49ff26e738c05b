//! A node of a quorum: it keeps marks in a backend of its own and accepts claims over HTTP.
//!
//! The rule is in [`artisanal_quorum`], and `docs/quorum.md` says why it is safe. This module keeps what the
//! rule needs durably: the mark of each sequence, the node's identity and incarnation, and what it knows of
//! the other members' incarnations and of changes of the member list. All of these are marks in the node's backend, under keys that begin
//! with `~node/`, so that any engine that exports claims can carry a node. What the backend cannot hold,
//! the members' addresses and the facts by which a lost backend is recognised, is in a file.

mod change;
mod claims;
mod contention;
mod file;
mod join;
mod keys;
mod marks;
mod member;
mod metrics;
mod peers;
mod recall;
mod replace;
mod report;
mod routes;
mod state;
mod view;

pub use claims::Asked;
#[doc(hidden)]
pub use marks::Marks;
pub use member::Node;
#[cfg(feature = "cli")]
pub(crate) use member::random;
pub use peers::{PeerError, Peers};
pub use replace::replace;
#[doc(hidden)]
pub use routes::Routes;
pub use routes::serve;

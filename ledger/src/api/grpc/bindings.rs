//! What `proto/ledger_api.proto` gives; a test checks that it is current.
#![allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    reason = "generated code; the proto file is its documentation"
)]

include!("generated/artisanal.ledger.v1.rs");

/// The descriptions of all messages and services, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

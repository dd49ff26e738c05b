//! What `wit-bindgen` makes of the world `config-bridge`. Nothing here is written by hand.
#![allow(
    clippy::allow_attributes_without_reason,
    clippy::all,
    missing_docs,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    reason = "generated code; the WIT files are its documentation"
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "config-bridge",
    generate_all,
});

//! What `wit-bindgen` makes of the world `engine-provider`. Nothing here is written by hand.
#![expect(
    missing_docs,
    reason = "generated code; the WIT files are its documentation"
)]
#![allow(
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    reason = "generated code"
)]

wit_bindgen::generate!({
    path: "../../../wit",
    world: "engine-provider",
    pub_export_macro: true,
    default_bindings_module: "engine_guest::bindings",
    additional_derives: [PartialEq],
});

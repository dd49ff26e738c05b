//! What `wit-bindgen` makes of the world `service`. Nothing here is written by hand.
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
    world: "service",
    with: {
        "wasi:http/types@0.3.0": spin_sdk::wasip3::http::types,
        "wasi:clocks/types@0.3.0": spin_sdk::wasip3::clocks::types,
    },
    generate_all,
});

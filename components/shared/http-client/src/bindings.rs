//! Bindings that `wit-bindgen` generates from the world below.
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
    path: "../../../wit",
    inline: "
        package artisanal:http-client@0.1.0;

        world http-client {
            import wasi:http/types@0.3.0;
            import wasi:http/client@0.3.0;
            import wasi:clocks/monotonic-clock@0.3.0;
        }
    ",
    world: "artisanal:http-client/http-client",
    generate_all,
});

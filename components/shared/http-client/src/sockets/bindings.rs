//! Bindings that `wit-bindgen` generates from the world below.
#![allow(
    clippy::allow_attributes_without_reason,
    clippy::all,
    dead_code,
    missing_docs,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    reason = "generated code; the WIT files are its documentation"
)]

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package artisanal:http-sockets@0.1.0;

        world http-sockets {
            import wasi:sockets/types@0.3.0;
            import wasi:sockets/ip-name-lookup@0.3.0;
        }
    ",
    world: "artisanal:http-sockets/http-sockets",
    generate_all,
});

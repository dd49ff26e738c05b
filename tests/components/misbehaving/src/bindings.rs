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
        package artisanal:misbehaving@0.1.0;

        world misbehaving {
            import wasi:sockets/ip-name-lookup@0.3.0;
            import artisanal:integers/tls@0.1.0;
            export artisanal:integers/engine@0.1.0;
        }
    ",
    world: "artisanal:misbehaving/misbehaving",
    with: {
        "artisanal:integers/types@0.1.0": engine_guest::bindings::artisanal::integers::types,
    },
    generate_all,
});

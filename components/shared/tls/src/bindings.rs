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
        package artisanal:tls-user@0.1.0;

        world tls-user {
            import artisanal:integers/tls@0.1.0;
        }
    ",
    world: "artisanal:tls-user/tls-user",
    generate_all,
});

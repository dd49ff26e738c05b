//! Generated bindings of `wasi:keyvalue`. The engine's export comes from the guest crate.
#![allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    reason = "generated code"
)]

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package artisanal:defective-engine;
        world imports {
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
        }
    ",
    world: "artisanal:defective-engine/imports",
    generate_all,
});

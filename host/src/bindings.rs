//! Bindings that `wasmtime` generates from the WIT: calls into engines, and the interfaces that the host
//! offers besides the standard WASI ones.

/// Calls into components that export `artisanal:integers/engine`, and perhaps `artisanal:integers/claims`.
pub(crate) mod engine {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "artisanal:integers/claiming-engine-provider",
        exports: { default: async | store },
    });
}

/// Calls into reducers of a ledger.
#[cfg(feature = "ledger")]
pub(crate) mod reducer {
    wasmtime::component::bindgen!({
        path: "../ledger/wit",
        world: "artisanal:ledger/reducer-provider",
    });
}

/// `wasi:keyvalue` as Spin offers it; implemented in `wasi/keyvalue.rs`.
pub(crate) mod keyvalue {
    wasmtime::component::bindgen!({
        path: "../wit/deps/keyvalue",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::wasi::keyvalue::Bucket,
            "wasi:keyvalue/atomics.cas": crate::wasi::keyvalue::Cas,
        },
    });
}

/// `wasi:config` as Spin offers it; implemented in `wasi/config.rs`.
pub(crate) mod config {
    wasmtime::component::bindgen!({ path: "../wit/deps/config", world: "wasi:config/imports" });
}

/// `wasi:config` as `wasmtime serve` offers it; implemented in `wasi/config.rs`.
pub(crate) mod config_rc1 {
    wasmtime::component::bindgen!({ path: "../wit/deps/config-rc1", world: "wasi:config/imports" });
}

/// TLS for components that ask for it; implemented in `wasi/tls.rs`.
pub(crate) mod tls {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package artisanal:tls-user@0.1.0;

            world tls-user {
                import artisanal:integers/tls@0.1.0;
            }
        ",
        world: "artisanal:tls-user/tls-user",
    });
}

//! Forwards settings from hosts that implement `wasi:config@0.2.0-rc.1` to components that import
//! `@0.2.0-draft-2024-09-27`. The two versions differ only in their names.
//!
//! Composed with a component that was built for Spin, it lets `wasmtime serve -S config` configure
//! that component.

mod bindings;

use bindings::exports::wasi::config0_2_0_draft_2024_09_27::store as older;
use bindings::wasi::config0_2_0_rc_1::store as newer;

struct Bridge;

impl older::Guest for Bridge {
    fn get(key: String) -> Result<Option<String>, older::Error> {
        newer::get(&key).map_err(error)
    }

    fn get_all() -> Result<Vec<(String, String)>, older::Error> {
        newer::get_all().map_err(error)
    }
}

fn error(error: newer::Error) -> older::Error {
    match error {
        newer::Error::Upstream(text) => older::Error::Upstream(text),
        newer::Error::Io(text) => older::Error::Io(text),
    }
}

bindings::export!(Bridge with_types_in bindings);

//! Composes the HTTP endpoint with an engine and writes one component, for Spin and other hosts.
//!
//! `cargo run --example compose -- redis intd-redis.wasm`

use anyhow::Context;
use int_host::Builtin;
use int_host::compose::{Target, compose};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (engine, file) = arguments
        .next()
        .zip(arguments.next())
        .context("usage: compose ENGINE FILE")?;
    let engine = Builtin::named(&engine).context("no such engine; see `int-host engines`")?;
    std::fs::write(&file, compose(engine.wasm(), Target::Spin)?)?;
    println!("wrote {file}");
    Ok(())
}

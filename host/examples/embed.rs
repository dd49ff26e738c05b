//! Embeds an engine in a program: mints three integers from the embedded store in a folder.
//!
//! `cargo run --example embed -- some-folder`

use int_host::{Builtin, Config, Host, Options};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut options = Options::default();
    if let Some(folder) = std::env::args_os().nth(1) {
        options.data = Some(folder.into());
    }
    let host = Host::new(options)?;
    let sequence = host.open(Builtin::Keyvalue, Config::default()).await?;
    for integer in sequence.next(3).await?.iter() {
        println!("{integer}");
    }
    Ok(())
}

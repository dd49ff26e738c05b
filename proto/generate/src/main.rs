//! Writes `ledger/src/api/grpc/generated` from the files in `proto`: `make proto` runs it after a change of these.

use prost::Message;
use std::path::Path;

/// The files that everything is generated from.
const FILES: [&str; 2] = ["ledger.proto", "ledger_api.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = proto.join("../ledger/src/api/grpc/generated");
    let files = protox::compile(["ledger_api.proto"], [&proto])?;
    let mut config = tonic_prost_build::configure()
        .build_transport(false)
        .out_dir(&folder);
    // The messages that publishers and the store use, too, are written by hand.
    let shared = files.file.iter().find(|file| file.name() == FILES[0]);
    for message in shared.into_iter().flat_map(|file| &file.message_type) {
        let name = message.name();
        config = config.extern_path(
            format!(".artisanal.ledger.v1.{name}"),
            format!("crate::event::{name}"),
        );
    }
    std::fs::write(folder.join("descriptors.bin"), files.encode_to_vec())?;
    config.compile_fds(files)?;
    // A test compares these hashes with those of the files.
    let mut hashes = String::new();
    for file in FILES {
        let hash = blake3::hash(&std::fs::read(proto.join(file))?);
        hashes += &format!("{}  {file}\n", hash.to_hex());
    }
    std::fs::write(folder.join("sources.b3"), hashes)?;
    Ok(())
}

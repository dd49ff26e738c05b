//! `int-host inspect`: shows the exports and imports of a component.

use super::Failure;
use super::flags::Flags;
use crate::Source;
use std::io::Write;
use std::path::PathBuf;

/// Show the exports and imports of a component, and how it can be used
#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// The component file [default: that of --engine or --component]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Inspect {
    pub(super) fn run(self, flags: &Flags) -> Result<(), Failure> {
        let source = match self.file {
            Some(file) => Source::File(file),
            None => flags.source()?,
        };
        let shape = flags.host()?.inspect(&source)?;
        let mut text = String::new();
        for (title, names) in [("exports", &shape.exports), ("imports", &shape.imports)] {
            text += &list(title, names.iter().map(String::as_str));
        }
        text += &list("fits", shape.roles().into_iter());
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}

fn list<'a>(title: &str, entries: impl Iterator<Item = &'a str>) -> String {
    let mut text = format!("{title}:\n");
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        text += "  nothing\n";
    }
    for entry in entries {
        text += &format!("  {entry}\n");
    }
    text
}

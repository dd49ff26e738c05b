//! `int-host engines`: lists the built-in engines.

use super::Failure;
use crate::{About, Builtin};
use artisanal_core::flake::Layout;
use std::io::Write;

/// List the built-in engines: DSN, integers, durability
#[derive(Debug, clap::Args)]
pub(super) struct Engines {}

impl Engines {
    pub(super) fn run(self) -> Result<(), Failure> {
        let all = Builtin::ALL.map(|engine| paragraph(&engine.about()));
        let text = format!(
            "{}\nEvery engine: no integer is handed out twice, later calls get greater integers, and every \
             integer is ≡ offset (mod increment). With flake, that holds for each node.\n",
            all.join("\n")
        );
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}

fn paragraph(about: &About) -> String {
    let mut text = format!("{}\n", about.name);
    let mut line = |title: &str, value: &str| text += &format!("  {title:<9} {value}\n");
    for (form, title) in about
        .dsn
        .iter()
        .zip(std::iter::once("DSN").chain(std::iter::repeat("or")))
    {
        line(title, form);
    }
    line(
        "default",
        about.default_dsn.unwrap_or("none: a DSN is required"),
    );
    if !about.parameters.is_empty() {
        line("with", &format!("?{}", about.parameters.join("&")));
    }
    line("integers", about.counts());
    if about.clock {
        for (name, layout) in [
            ("standard", Layout::STANDARD),
            ("javascript", Layout::JAVASCRIPT),
        ] {
            let until = format!(
                "{} with layout={name}, which is {layout}",
                layout.last_day()
            );
            line("until", &until);
        }
    }
    line("survives", about.survives);
    text
}

/// The forms of the DSNs of each engine, for `--help`.
pub(super) fn forms() -> String {
    let mut text = String::from("DSNs by engine (see `int-host engines` for details):");
    for about in Builtin::ALL.map(Builtin::about) {
        let mut name = about.name;
        for form in about.dsn {
            text += &format!("\n  {name:<9} {form}");
            name = "";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the README's table of engines, the default one first.
    fn rows() -> Vec<String> {
        let mut engines = Builtin::ALL.to_vec();
        engines.sort_by_key(|engine| *engine != Builtin::DEFAULT);
        let row = |engine: Builtin| {
            let about = engine.about();
            let code = |texts: &[&str], between: &str| {
                let quoted: Vec<_> = texts.iter().map(|text| format!("`{text}`")).collect();
                quoted.join(between)
            };
            let name = if engine == Builtin::DEFAULT {
                format!("`{}` (default)", about.name)
            } else {
                format!("`{}`", about.name)
            };
            let dsn = match about.default_dsn {
                Some(default) if about.dsn != [default] => {
                    format!("{}; default `{default}`", code(about.dsn, " or "))
                }
                _ => code(about.dsn, " or "),
            };
            format!(
                "| {name} | {} | {dsn} | {} | {} |",
                about.counts(),
                code(about.parameters, ", "),
                about.survives
            )
            .replace("|  |", "| |")
        };
        engines.into_iter().map(row).collect()
    }

    #[test]
    fn the_readme_has_the_same_table() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
        let readme = std::fs::read_to_string(readme).expect("the README is there");
        let table = rows().join("\n");
        assert!(
            readme.contains(&table),
            "README.md should have these rows:\n{table}"
        );
    }

    #[test]
    fn help_has_every_form() {
        let forms = forms();
        for about in Builtin::ALL.map(Builtin::about) {
            for form in about.dsn {
                assert!(forms.contains(form), "no {form} in {forms}");
            }
        }
    }
}

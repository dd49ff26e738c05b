//! Long options with one dash, as the original programs accepted them.

use clap::Command;
use std::collections::BTreeSet;
use std::ffi::OsString;

/// Replaces `-name` with `--name` wherever `name` is a long option of any command.
///
/// This is unambiguous, since short options take their value as a separate word.
pub(super) fn doubled(
    command: &Command,
    line: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let mut names = BTreeSet::from(["help".to_owned(), "version".to_owned()]);
    long_names(command, &mut names);
    let mut verbatim = false;
    line.into_iter()
        .enumerate()
        .map(|(index, word)| {
            verbatim |= word == "--";
            let name = word
                .to_str()
                .and_then(|text| text.strip_prefix('-'))
                .map(|text| text.split_once('=').map_or(text, |(name, _)| name));
            match name {
                Some(name) if index > 0 && !verbatim && names.contains(name) => {
                    let mut doubled = OsString::from("-");
                    doubled.push(word);
                    doubled
                }
                _ => word,
            }
        })
        .collect()
}

fn long_names(command: &Command, names: &mut BTreeSet<String>) {
    for arg in command.get_arguments() {
        names.extend(
            arg.get_long_and_visible_aliases()
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned),
        );
    }
    for sub in command.get_subcommands() {
        long_names(sub, names);
    }
}

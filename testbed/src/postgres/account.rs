//! The account that runs the server.

use crate::error::{Error, Result};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The user and group to run the server as: PostgreSQL refuses to run as root. None if this process is not
/// root's.
pub(super) fn account() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        let line = accounts
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(|id| id.parse().ok());
        Some((ids.next()??, ids.next()??))
    };
    find("postgres").or_else(|| find("nobody"))
}

/// Lets the server's account own a folder.
pub(crate) fn give_away(folder: &Path) -> Result {
    let Some((user, group)) = account() else {
        return Ok(());
    };
    std::os::unix::fs::chown(folder, Some(user), Some(group))
        .map_err(Error::io(folder.display().to_string()))
}

/// Makes a program run as the server's account.
pub(crate) fn as_account(command: &mut Command) {
    if let Some((user, group)) = account() {
        // This process's own folder may not be open to that account.
        command.uid(user).gid(group).current_dir("/");
    }
}

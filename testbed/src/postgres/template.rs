//! A data folder to copy, since making one takes seconds.

use super::account::{account, give_away};
use super::{ADMINISTRATOR, DATABASE, LOGINS, PASSWORD, USER, command};
use crate::error::{Error, Result};
use crate::mariadb::copy;
use crate::scratch::Scratch;
use crate::server;
use crate::target;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The path of a data folder as [`initialize`] makes it. That takes seconds, so one is kept for each version
/// of PostgreSQL in the target folder, to be copied from there.
pub(super) fn get() -> Result<PathBuf> {
    let mut version = command("postgres")?;
    version.arg("--version");
    let version = server::output_of(version)?;
    let mut hasher = DefaultHasher::new();
    (&version, account(), LOGINS).hash(&mut hasher);
    let folder = target::directory().join("postgres");
    let template = folder.join(format!("{:016x}", hasher.finish()));
    if template.is_dir() {
        return Ok(template);
    }
    let in_folder = || Error::io(folder.display().to_string());
    std::fs::create_dir_all(&folder).map_err(in_folder())?;
    // Not in the target folder, which the account of the server may not be able to enter.
    let scratch = Scratch::new("postgres-template")?;
    give_away(scratch.path())?;
    let data = scratch.join("data");
    initialize(&data)?;
    let making = tempfile::tempdir_in(&folder).map_err(in_folder())?;
    let made = making.path().join("data");
    copy(&data, &made)?;
    // Another process may have created the template in the meantime.
    match std::fs::rename(&made, &template) {
        Err(error) if !template.is_dir() => Err(Error::io(template.display().to_string())(error)),
        _ => Ok(template),
    }
}

/// Creates a data folder with [`DATABASE`] and [`USER`].
pub(super) fn initialize(data: &Path) -> Result {
    let mut initdb = command("initdb")?;
    initdb
        .args(["--username", ADMINISTRATOR, "--auth=trust", "--no-sync"])
        .args(["--wal-segsize=1", "--encoding=UTF8", "--no-locale", "-D"])
        .arg(data);
    server::output_of(initdb)?;
    std::fs::write(data.join("pg_hba.conf"), LOGINS).map_err(Error::io("pg_hba.conf"))?;
    make_users(data)
}

/// Creates [`USER`] and [`DATABASE`] without starting a server.
fn make_users(data: &Path) -> Result {
    let mut single = command("postgres")?;
    single
        .args(["--single", "-D"])
        .arg(data)
        .arg("postgres")
        .current_dir(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let failed = || Error::io("postgres --single");
    let mut child = single.spawn().map_err(failed())?;
    let statements = format!(
        "CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'\nCREATE DATABASE {DATABASE} OWNER {USER}\n"
    );
    if let Some(mut input) = child.stdin.take() {
        input.write_all(statements.as_bytes()).map_err(failed())?;
    }
    let done = child.wait_with_output().map_err(failed())?;
    // It ends successfully even after an error.
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() && !said.contains("ERROR") {
        Ok(())
    } else {
        Err(Error::Ended {
            program: "postgres --single".into(),
            status: done.status,
            output: server::end_of(&done.stderr),
        })
    }
}

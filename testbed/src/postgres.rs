//! The PostgreSQL that is installed on this machine.

mod account;
mod template;

pub(crate) use account::{as_account, give_away};

use crate::certificates::Stored;
use crate::error::{Error, Result};
use crate::mariadb::copy;
use crate::scratch::Scratch;
use crate::server::{self, Server};
use crate::target::Once;
use crate::wait;
use rustix::process::Signal;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The database of the minter.
pub const DATABASE: &str = "artisanal";

/// The minter's user name. The minter owns [`DATABASE`] but has no other rights.
pub const USER: &str = "minter";

/// The minter's password. Tests search for it in everything that the engine prints (C10).
pub const PASSWORD: &str = "s3cret-of-the-minter";

/// The administrator, who needs no password.
const ADMINISTRATOR: &str = "postgres";

/// Who may log in how.
const LOGINS: &str = "host all postgres 127.0.0.1/32 trust\n\
                      host replication postgres 127.0.0.1/32 trust\n\
                      host all all 127.0.0.1/32 scram-sha-256\n";

/// Options for a small server that starts quickly. None of them weakens durability.
const SMALL: [&str; 6] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=300",
    "shared_buffers=16MB",
    "jit=off",
    "wal_keep_size=64MB",
];

/// The setting of a server that does not wait for the disk.
pub const HASTY: &str = "fsync=off";

/// How long a standby may take to follow its primary.
const FOLLOWS: Duration = Duration::from_secs(60);

/// A PostgreSQL server with its own data. Every commit waits for the disk, which is the default.
pub struct Postgres {
    server: Server,
    port: u16,
}

impl Postgres {
    /// Starts a server with an empty [`DATABASE`].
    ///
    /// # Errors
    /// As [`Postgres::with`].
    pub fn start() -> Result<Self> {
        Self::with(&[])
    }

    /// Starts a server that does not wait for the disk, for tests that do not depend on it: what it answered
    /// survives the end of its process, but not of the machine. It starts sooner after a kill.
    ///
    /// # Errors
    /// As [`Postgres::with`].
    pub fn hasty() -> Result<Self> {
        Self::with(&[HASTY])
    }

    /// Starts a server with additional settings, such as `lc_messages=C`.
    ///
    /// # Errors
    /// When PostgreSQL is not installed (the message says how to install it), or does not start.
    pub fn with(settings: &[&str]) -> Result<Self> {
        static TEMPLATE: Once = Once::new();
        Self::on_data(settings, |data| copy(&TEMPLATE.get(template::get)?, data))
    }

    /// Starts a server with these settings and this certificate, which trusts the clients of an authority.
    ///
    /// # Errors
    /// As [`Postgres::with`].
    pub fn with_tls(certificate: &Stored, authority: &Path, settings: &[&str]) -> Result<Self> {
        // The server reads only a key of its own account.
        give_away(&certificate.key)?;
        let tls = [
            "ssl=on",
            &format!("ssl_cert_file={}", certificate.chain.display()),
            &format!("ssl_key_file={}", certificate.key.display()),
            &format!("ssl_ca_file={}", authority.display()),
        ];
        Self::with(&[&tls, settings].concat())
    }

    /// Refuses connections of [`USER`] without TLS from now on. `option` is one more of `pg_hba.conf`.
    ///
    /// # Errors
    /// When the server answers with an error.
    pub fn admit_only_tls(&self, option: &str) -> Result {
        let logins = format!(
            "host all {ADMINISTRATOR} 127.0.0.1/32 trust\n\
             hostssl all all 127.0.0.1/32 scram-sha-256 {option}\n"
        );
        std::fs::write(self.dir().join("data/pg_hba.conf"), logins)
            .map_err(Error::io("pg_hba.conf"))?;
        self.sql("SELECT pg_reload_conf()")?;
        wait::until("the logins are read anew", FOLLOWS, || {
            match self.sql("SELECT count(*) FROM pg_hba_file_rules WHERE type='hostssl'") {
                Ok(count) if count == "1" => Ok(()),
                Ok(count) => Err(count),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    /// Starts a server, as [`Postgres::hasty`], with a system identifier of its own: all others are copies of one template.
    ///
    /// # Errors
    /// As [`Postgres::with`].
    pub fn anew() -> Result<Self> {
        Self::on_data(&[HASTY], template::initialize)
    }

    /// Starts a standby of this server, as [`Postgres::hasty`], which has followed it when this returns.
    ///
    /// # Errors
    /// When it does not start or does not follow.
    pub fn standby(&self) -> Result<Self> {
        let from = self.port;
        let standby = Self::on_data(&[HASTY], move |data| {
            let mut command = command("pg_basebackup")?;
            command
                .args(["--host=127.0.0.1", "--username", ADMINISTRATOR])
                .args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf"])
                .arg(format!("--port={from}"))
                .arg("--pgdata")
                .arg(data);
            server::output_of(command).map(drop)
        })?;
        standby.catch_up(self)?;
        Ok(standby)
    }

    fn on_data(settings: &[&str], fill: impl Fn(&Path) -> Result) -> Result<Self> {
        let settings: Vec<_> = settings.iter().map(ToString::to_string).collect();
        server::on_free_port(|port| {
            let scratch = Scratch::new("postgres")?;
            give_away(scratch.path())?;
            let data = scratch.join("data");
            fill(&data)?;
            let settings = settings.clone();
            let program = program("postgres")?;
            let server = Server::start(
                "postgres",
                scratch,
                move || {
                    let mut command = Command::new(&program);
                    as_account(&mut command);
                    command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
                    for setting in SMALL.iter().copied().chain(settings.iter().map(|s| &**s)) {
                        command.args(["-c", setting]);
                    }
                    command
                },
                move || {
                    let asked = query(port, ADMINISTRATOR, "", "postgres", "SELECT 1");
                    asked.map(drop).map_err(|error| error.to_string())
                },
            )?;
            Ok(Self {
                server: server.stops_on(Signal::INT),
                port,
            })
        })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The DSN of [`USER`] as a URL.
    pub fn dsn(&self) -> String {
        dsn(USER, PASSWORD, &[self.port])
    }

    /// Runs statements as an administrator in [`DATABASE`] and returns the rows, one per line, with values
    /// separated by tabs.
    ///
    /// # Errors
    /// When the server answers with an error.
    pub fn sql(&self, statements: &str) -> Result<String> {
        query(self.port, ADMINISTRATOR, "", DATABASE, statements)
    }

    /// Runs statements as [`USER`].
    ///
    /// # Errors
    /// When the server answers with an error.
    pub fn sql_as_user(&self, statements: &str) -> Result<String> {
        query(self.port, USER, PASSWORD, DATABASE, statements)
    }

    /// Changes a setting of the running server with `ALTER SYSTEM`, and returns when every statement that begins has it.
    /// `pg_reload_conf()` returns earlier. But the server has told all its processes to read their settings again before
    /// it accepts the next connection, so a new session with new settings shows that the others have them as well.
    ///
    /// # Errors
    /// When the server answers with an error, or does not read its settings again in time.
    pub fn alter_system(&self, change: &str) -> Result {
        let loaded = || self.sql("SELECT pg_conf_load_time()");
        let before = loaded()?;
        self.sql(&format!("ALTER SYSTEM {change}"))?;
        self.sql("SELECT pg_reload_conf()")?;
        wait::until("the settings are read again", FOLLOWS, || match loaded() {
            Ok(time) if time == before => Err(format!("they were read at {time}")),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Waits until this standby has applied everything that the primary has committed.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn catch_up(&self, primary: &Self) -> Result {
        let there = primary.sql("SELECT pg_current_wal_flush_lsn()")?;
        let looks = format!("SELECT pg_last_wal_replay_lsn() >= '{there}'");
        wait::until("the standby follows", FOLLOWS, || match self.sql(&looks) {
            Ok(answer) if answer == "t" => Ok(()),
            Ok(answer) => Err(answer),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Makes this standby a primary, on the next timeline.
    ///
    /// # Errors
    /// When the server answers with an error, or does not become a primary in time.
    pub fn promote(&self) -> Result {
        match self.sql("SELECT pg_promote()")?.as_str() {
            "t" => Ok(()),
            answer => Err(Error::unexpected("pg_promote()", answer)),
        }
    }

    /// The number of connections of a user.
    ///
    /// # Errors
    /// When the server answers with an error.
    pub fn connections_of(&self, user: &str) -> Result<usize> {
        let count = format!("SELECT count(*) FROM pg_stat_activity WHERE usename='{user}'");
        let answer = self.sql(&count)?;
        let number = answer.parse();
        number.map_err(|_| Error::unexpected("a number of connections", answer))
    }
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// The DSN of any user for servers on these ports of this machine.
pub fn dsn(user: &str, password: &str, ports: &[u16]) -> String {
    let hosts: Vec<_> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    format!(
        "postgres://{user}:{password}@{}/{DATABASE}",
        hosts.join(",")
    )
}

/// A program of PostgreSQL, to be run as the server's account.
fn command(name: &str) -> Result<Command> {
    let mut command = Command::new(program(name)?);
    as_account(&mut command);
    Ok(command)
}

pub(crate) fn query(
    port: u16,
    user: &str,
    password: &str,
    database: &str,
    statements: &str,
) -> Result<String> {
    let done = Command::new(program("psql")?)
        .args([
            "--no-psqlrc",
            "--host=127.0.0.1",
            "--no-password",
            "--quiet",
        ])
        .args(["--no-align", "--tuples-only", "--field-separator=\t"])
        .args(["--set=ON_ERROR_STOP=1", "--username", user])
        .args([format!("--port={port}"), format!("--dbname={database}")])
        .arg(format!("--command={statements}"))
        // Not as an argument, since arguments are visible to all users of the machine.
        .env("PGPASSWORD", password)
        .env("PGCONNECT_TIMEOUT", "5")
        .output()
        .map_err(Error::io("psql"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
    } else {
        let why = String::from_utf8_lossy(&done.stderr);
        Err(Error::refused(
            format!("postgres on port {port}"),
            statements,
        )(why.trim_end()))
    }
}

/// The path of a program: on PATH, or of the latest version in the folders of Debian's packages, which are not on
/// PATH.
fn program(name: &str) -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let packaged = versions
        .filter_map(|version| Some(version.ok()?.path()))
        .filter(|version| version.join("bin/postgres").is_file())
        .max_by_key(|version| {
            let number = version.file_name().and_then(|name| name.to_str());
            number.and_then(|number| number.parse::<u32>().ok())
        });
    match packaged {
        Some(version) => Ok(version.join("bin").join(name)),
        None => server::required(
            name,
            "`apt-get install postgresql` on Debian and Ubuntu, `dnf install postgresql-server` on Fedora, \
             `brew install postgresql` on macOS",
        ),
    }
}

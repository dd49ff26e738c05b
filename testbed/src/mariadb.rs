//! The MariaDB that is installed on this machine.

use crate::certificates::Stored;
use crate::error::{Error, Result};
use crate::scratch::Scratch;
use crate::server::{self, Server};
use crate::target::{self, Once};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The database of the minter.
pub const DATABASE: &str = "artisanal";

/// The minter's user name.
pub const USER: &str = "minter";

/// The minter's password. Tests search for it in everything that the engine prints (C10).
pub const PASSWORD: &str = "s3cret-of-the-minter";

/// A `mariadbd` with its own data. Every commit waits for the disk, which is MariaDB's default.
pub struct MariaDb {
    server: Server,
    port: u16,
}

impl MariaDb {
    /// Starts a server with an empty [`DATABASE`] on which [`USER`] has all privileges.
    ///
    /// # Errors
    /// As [`MariaDb::with`].
    pub fn start() -> Result<Self> {
        Self::with(&[])
    }

    /// Starts a server with this certificate.
    ///
    /// # Errors
    /// As [`MariaDb::with`].
    pub fn with_tls(certificate: &Stored) -> Result<Self> {
        Self::with(&[
            &format!("--ssl-cert={}", certificate.chain.display()),
            &format!("--ssl-key={}", certificate.key.display()),
        ])
    }

    /// Starts a server with additional options, such as `--auto-increment-increment=2`.
    ///
    /// # Errors
    /// When there is no `mariadbd` (the message says how to install it), or it does not start.
    pub fn with(options: &[&str]) -> Result<Self> {
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        let started = server::on_free_port(|port| {
            let scratch = Scratch::new("mariadb")?;
            let data = scratch.join("data");
            let temporary = scratch.join("tmp");
            create_dir(&temporary)?;
            install(&data)?;
            let program = program("mariadbd")?;
            let options = options.clone();
            let server = Server::start(
                "mariadbd",
                scratch,
                move || {
                    let mut command = Command::new(&program);
                    // Must be the first option. It disables the machine's own configuration.
                    command.arg("--no-defaults");
                    command.arg(path_option("--datadir", &data));
                    // Not shared: a starting server deletes temporary tables, including those of other servers.
                    command.arg(path_option("--tmpdir", &temporary));
                    command.args(["--bind-address=127.0.0.1", "--skip-name-resolve"]);
                    command.arg(format!("--port={port}"));
                    // Relative to the data folder, since the path of a socket must be short.
                    command.args(["--socket=mariadb.sock", "--pid-file=mariadb.pid"]);
                    command.args(SMALL).args(as_root()).args(&options);
                    command
                },
                move || match query(port, "root", "", "SELECT 1") {
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                },
            )?;
            Ok(Self { server, port })
        })?;
        started.sql(&users())?;
        Ok(started)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The DSN of [`USER`] in URL form.
    pub fn dsn(&self) -> String {
        self.dsn_of(USER, PASSWORD, self.port)
    }

    /// The DSN of any user in URL form, with a port that may be that of a proxy.
    pub fn dsn_of(&self, user: &str, password: &str, port: u16) -> String {
        dsn(user, password, &[port])
    }

    /// Runs statements as an administrator and returns the rows, one per line, with values separated by tabs.
    ///
    /// # Errors
    /// When the server answers with an error.
    pub fn sql(&self, statements: &str) -> Result<String> {
        query(self.port, "root", "", statements)
    }

    /// Makes this server a replica of another one, from the beginning of the primary's binary log. Both need
    /// `--log-bin` and different values of `--server-id`, and nothing may have been minted yet.
    ///
    /// # Errors
    /// When a server answers with an error.
    pub fn replicate_from(&self, primary: &Self) -> Result {
        // Both servers have the same database and users already.
        for server in [primary, self] {
            server.sql("RESET MASTER")?;
        }
        self.sql(&format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='root', \
             MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos; START SLAVE",
            primary.port
        ))?;
        self.catch_up(primary)
    }

    /// Waits until this replica has applied everything that the primary has committed.
    ///
    /// # Errors
    /// When that takes longer than a minute.
    pub fn catch_up(&self, primary: &Self) -> Result {
        let there = primary.sql("SELECT @@gtid_binlog_pos")?;
        let done = self.sql(&format!("SELECT MASTER_GTID_WAIT('{there}', 60)"))?;
        match done.as_str() {
            "0" => Ok(()),
            _ => Err(Error::Timeout {
                what: format!("the replica gets to {there}"),
                limit: Duration::from_secs(60),
                why: format!("MASTER_GTID_WAIT is {done}"),
            }),
        }
    }

    /// Runs statements as [`USER`] in [`DATABASE`].
    ///
    /// # Errors
    /// When the server answers with an error.
    pub fn sql_as_user(&self, statements: &str) -> Result<String> {
        let statements = format!("USE {DATABASE}; {statements}");
        query(self.port, USER, PASSWORD, &statements)
    }
}

impl Deref for MariaDb {
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
    format!("mysql://{user}:{password}@{}/{DATABASE}", hosts.join(","))
}

/// The statements that create [`DATABASE`] and [`USER`].
pub(crate) fn users() -> String {
    format!(
        "CREATE DATABASE {DATABASE}; CREATE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; \
         GRANT ALL ON {DATABASE}.* TO '{USER}'@'127.0.0.1'"
    )
}

/// Options for a small server that starts quickly. None of them weakens durability.
pub(crate) const SMALL: [&str; 5] = [
    "--innodb-log-file-size=8M",
    "--innodb-buffer-pool-size=16M",
    "--key-buffer-size=1M",
    "--performance-schema=OFF",
    "--max-connections=300",
];

/// Creates a data folder with the system tables. Creating the tables takes seconds, so they are created once
/// for each version of MariaDB in the target folder, and copied from there.
pub(crate) fn install(data: &Path) -> Result {
    static TEMPLATE: Once = Once::new();
    copy(&TEMPLATE.get(template)?, data)
}

fn template() -> Result<PathBuf> {
    let version = Command::new(program("mariadbd")?).arg("--version").output();
    let version = version.map_err(Error::io("mariadbd --version"))?.stdout;
    let mut hasher = DefaultHasher::new();
    (&version, SMALL, as_root()).hash(&mut hasher);
    let folder = target::directory().join("mariadb");
    let template = folder.join(format!("{:016x}", hasher.finish()));
    if template.is_dir() {
        return Ok(template);
    }
    let in_folder = || Error::io(folder.display().to_string());
    std::fs::create_dir_all(&folder).map_err(in_folder())?;
    let making = tempfile::tempdir_in(&folder).map_err(in_folder())?;
    let (data, temporary) = (making.path().join("data"), making.path().join("tmp"));
    create_dir(&temporary)?;
    make_system_tables(&data, &temporary)?;
    // Another process may have created the template in the meantime.
    match std::fs::rename(&data, &template) {
        Err(error) if !template.is_dir() => Err(Error::io(template.display().to_string())(error)),
        _ => Ok(template),
    }
}

/// Copies a folder to a path that does not exist yet.
pub(crate) fn copy(from: &Path, to: &Path) -> Result {
    let mut copy = Command::new("cp");
    copy.arg("-a").args([from, to]);
    server::output_of(copy).map(drop)
}

pub(crate) fn create_dir(path: &Path) -> Result {
    std::fs::create_dir(path).map_err(Error::io(path.display().to_string()))
}

fn make_system_tables(data: &Path, temporary: &Path) -> Result {
    let mut install = Command::new(program("mariadb-install-db")?);
    install
        .args(["--no-defaults", "--auth-root-authentication-method=normal"])
        .args(["--skip-test-db", "--skip-name-resolve"])
        .arg(path_option("--datadir", data))
        .arg(path_option("--tmpdir", temporary))
        .args(SMALL)
        .args(as_root());
    server::output_of(install).map(drop)
}

/// The option for running as root, which MariaDB refuses by default.
pub(crate) fn as_root() -> Option<&'static str> {
    rustix::process::geteuid()
        .is_root()
        .then_some("--user=root")
}

pub(crate) fn path_option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(name);
    option.push("=");
    option.push(path);
    option
}

pub(crate) fn query(port: u16, user: &str, password: &str, statements: &str) -> Result<String> {
    let done = Command::new(program("mariadb")?)
        .args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1"])
        .args(["--batch", "--skip-column-names", "--connect-timeout=5"])
        .args([format!("--port={port}"), format!("--user={user}")])
        .arg(format!("--execute={statements}"))
        // Not as an argument, since arguments are visible to all users of the machine.
        .env("MYSQL_PWD", password)
        .output()
        .map_err(Error::io("mariadb"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
    } else {
        let why = String::from_utf8_lossy(&done.stderr).trim_end().to_owned();
        Err(Error::refused(
            format!("mariadb on port {port}"),
            statements,
        )(why))
    }
}

pub(crate) fn program(name: &str) -> Result<PathBuf> {
    server::required(name, INSTALL)
}

const INSTALL: &str = "`apt-get install mariadb-server` on Debian and Ubuntu, `dnf install mariadb-server` on Fedora, \
                       `brew install mariadb` on macOS";

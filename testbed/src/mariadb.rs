//! The MariaDB that is installed on this machine.

use crate::scratch::Scratch;
use crate::server::{self, Server};
use crate::target;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with additional options, such as `--auto-increment-increment=2`.
    ///
    /// # Panics
    /// When there is no `mariadbd` (the message says how to install it), or it does not start.
    pub fn with(options: &[&str]) -> Self {
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        let started = server::on_free_port(|port| {
            let scratch = Scratch::new("mariadb");
            let data = scratch.join("data");
            let temporary = scratch.join("tmp");
            std::fs::create_dir(&temporary).map_err(|e| e.to_string())?;
            install(&data)?;
            let program = program("mariadbd");
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
                move || query(port, "root", "", "SELECT 1").map(drop),
            )?;
            Ok(Self { server, port })
        });
        started.sql(&users());
        started
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
    /// # Panics
    /// When the server answers with an error.
    pub fn sql(&self, statements: &str) -> String {
        query(self.port, "root", "", statements).unwrap_or_else(|e| panic!("{statements}: {e}"))
    }

    /// Makes this server a replica of another one, from the beginning of the primary's binary log. Both need
    /// `--log-bin` and different values of `--server-id`, and nothing may have been minted yet.
    ///
    /// # Panics
    /// When a server answers with an error.
    pub fn replicate_from(&self, primary: &Self) {
        // Both servers have the same database and users already.
        for server in [primary, self] {
            server.sql("RESET MASTER");
        }
        self.sql(&format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='root', \
             MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos; START SLAVE",
            primary.port
        ));
        self.catch_up(primary);
    }

    /// Waits until this replica has applied everything that the primary has committed.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn catch_up(&self, primary: &Self) {
        let there = primary.sql("SELECT @@gtid_binlog_pos");
        let done = self.sql(&format!("SELECT MASTER_GTID_WAIT('{there}', 60)"));
        assert_eq!(done, "0", "the replica does not get to {there}");
    }

    /// Runs statements as [`USER`] in [`DATABASE`].
    ///
    /// # Panics
    /// When the server answers with an error.
    pub fn sql_as_user(&self, statements: &str) -> String {
        let statements = format!("USE {DATABASE}; {statements}");
        query(self.port, USER, PASSWORD, &statements)
            .unwrap_or_else(|e| panic!("{statements}: {e}"))
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
pub(crate) fn install(data: &Path) -> Result<(), String> {
    static TEMPLATE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match TEMPLATE.get_or_init(template) {
        Ok(template) => copy(template, data),
        Err(why) => Err(why.clone()),
    }
}

fn template() -> Result<PathBuf, String> {
    let version = Command::new(program("mariadbd")).arg("--version").output();
    let version = version.map_err(|e| format!("mariadbd: {e}"))?.stdout;
    let mut hasher = DefaultHasher::new();
    (&version, SMALL, as_root()).hash(&mut hasher);
    let folder = target::directory().join("mariadb");
    let template = folder.join(format!("{:016x}", hasher.finish()));
    if template.is_dir() {
        return Ok(template);
    }
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let making = tempfile::tempdir_in(&folder).map_err(|e| e.to_string())?;
    let (data, temporary) = (making.path().join("data"), making.path().join("tmp"));
    std::fs::create_dir(&temporary).map_err(|e| e.to_string())?;
    make_system_tables(&data, &temporary)?;
    // Another process may have created the template in the meantime.
    match std::fs::rename(&data, &template) {
        Err(error) if !template.is_dir() => Err(format!("{}: {error}", template.display())),
        _ => Ok(template),
    }
}

/// Copies a folder to a path that does not exist yet.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    match copied {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("cp {} {}: {other:?}", from.display(), to.display())),
    }
}

fn make_system_tables(data: &Path, temporary: &Path) -> Result<(), String> {
    let done = Command::new(program("mariadb-install-db"))
        .args(["--no-defaults", "--auth-root-authentication-method=normal"])
        .args(["--skip-test-db", "--skip-name-resolve"])
        .arg(path_option("--datadir", data))
        .arg(path_option("--tmpdir", temporary))
        .args(SMALL)
        .args(as_root())
        .output()
        .map_err(|e| format!("mariadb-install-db: {e}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!(
        "mariadb-install-db ended with {}:\n{}{}",
        done.status,
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    ))
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

pub(crate) fn query(
    port: u16,
    user: &str,
    password: &str,
    statements: &str,
) -> Result<String, String> {
    let done = Command::new(program("mariadb"))
        .args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1"])
        .args(["--batch", "--skip-column-names", "--connect-timeout=5"])
        .args([format!("--port={port}"), format!("--user={user}")])
        .arg(format!("--execute={statements}"))
        // Not as an argument, since arguments are visible to all users of the machine.
        .env("MYSQL_PWD", password)
        .output()
        .map_err(|e| format!("mariadb: {e}"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
    } else {
        Err(String::from_utf8_lossy(&done.stderr).trim_end().to_owned())
    }
}

pub(crate) fn program(name: &str) -> PathBuf {
    server::find(name, None).unwrap_or_else(|| {
        panic!(
            "{name} is not on PATH. Install MariaDB: `apt-get install mariadb-server` on Debian and \
             Ubuntu, `dnf install mariadb-server` on Fedora, `brew install mariadb` on macOS"
        )
    })
}

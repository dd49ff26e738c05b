//! `int-host ledger`: stores the history of integers, and answers questions about it.

mod backup;
mod members;
mod retention;
mod store;

use super::flags::Flags;
use super::{Failure, log, one_thread, open_files};
use crate::ledger;
use crate::serve::hangups::Hangups;
use crate::serve::{Limits, Listeners, Shutdown, TokenFile};
use crate::{Error, Host, Metrics, Options, runtime};
use artisanal_core::Secret;
use clap::builder::FalseyValueParser;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Run a ledger: it stores who got which integer, and answers questions about it; or back one up
///
/// Servers publish to it with `int-host serve --ledger ws://HOST:6660`. It keeps its files in the folder `ledger` of
/// --data; one process at a time may use a folder. Without --tokens everybody who reaches the port can read and append
/// events.
#[derive(Debug, clap::Args)]
pub(super) struct Ledger {
    /// The name or address of this machine to listen on; with `backup` that of the ledger
    #[arg(
        long,
        global = true,
        env = "ARTISANAL_LEDGER_HOST",
        value_name = "HOST",
        default_value = "localhost",
        hide_env_values = true
    )]
    host: String,
    /// The port to listen on; 0 means any free port, which the log shows; with `backup` that of the ledger
    #[arg(
        long,
        global = true,
        env = "ARTISANAL_LEDGER_PORT",
        value_name = "PORT",
        default_value_t = 6660,
        hide_env_values = true
    )]
    port: u16,
    /// The maximum number of open connections, as far as the limit of open files allows; further
    /// connections wait until others are closed
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,
    /// Keep the events in a stream of NATS JetStream, which several ledgers share:
    /// `nats://HOST[:PORT][,HOST…][?stream=NAME&replicas=N]`, or `tls://…` [default: in the folder of --data]
    ///
    /// The stream (LEDGER unless `stream` says otherwise) is made if it does not exist; each of its messages is on `replicas`
    /// servers (1). The folder `ledger` of --data is then a copy that is made from the stream. A password or a `token=` in
    /// it belongs in the environment, since other users can see the command line.
    #[arg(
        long,
        global = true,
        env = "ARTISANAL_LEDGER_STORE",
        value_name = "DSN",
        hide_env_values = true,
        value_parser = store::dsn
    )]
    store: Option<Secret>,
    /// A file with named tokens, as for `serve`: only their holders may ask (`read`), and append and publish events
    /// (`mint`). Publishing and backups need a token for all keys, `*`
    #[arg(
        long,
        env = "ARTISANAL_LEDGER_TOKENS",
        value_name = "FILE",
        hide_env_values = true
    )]
    tokens: Option<PathBuf>,
    /// Remove events that are older than this [default: none are removed]
    ///
    /// The oldest ones of each key are removed, once an hour, after the states that come of them were stored. Their
    /// integers are then unknown.
    #[arg(long, env = "ARTISANAL_LEDGER_RETAIN_DAYS", value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500), hide_env_values = true)]
    retain_days: Option<u32>,
    /// Remove the oldest events of all keys when the files are larger than this, such as 500MiB or 10GiB, at least 64MiB
    /// [default: none are removed]
    ///
    /// The size is looked at once a minute. What was written last, up to 512 MiB, comes on top of it. The states that come
    /// of removed events are stored before.
    #[arg(long, env = "ARTISANAL_LEDGER_RETAIN_SIZE", value_name = "SIZE", value_parser = retention::size, hide_env_values = true)]
    retain_size: Option<u64>,
    /// A component file as a further way to make the states of keys, and its name: a reducer, which exports
    /// `artisanal:ledger/reducer`. `mints` and `merge` are built in
    #[arg(long, value_name = "NAME=FILE", value_parser = reducer)]
    reducer: Vec<(String, PathBuf)>,
    /// The reducer that a key has if a question names none; a `*` in the key stands for any characters. The first of
    /// several that fits counts [default: mints]
    #[arg(long, value_name = "KEY=NAME", value_parser = rule)]
    reduce: Vec<(String, String)>,
    #[command(flatten)]
    members: members::Membership,
    /// Serve metrics for Prometheus under /metrics, at this port of localhost or of another address of this
    /// machine
    #[arg(long, value_name = "[HOST:]PORT", value_parser = super::metrics::address)]
    metrics: Option<(String, u16)>,
    /// Log each request
    #[arg(long, value_parser = FalseyValueParser::new())]
    log_requests: bool,
    #[command(subcommand)]
    command: Option<Keep>,
}

/// Commands for backups.
#[derive(Debug, clap::Subcommand)]
enum Keep {
    /// Write a backup of a ledger that runs, at --host and --port, to the standard output: `ledger backup > FILE`
    ///
    /// It has everything that was acknowledged before it began, at one moment. Its hash is checked at the end; if it
    /// is incomplete, the command fails.
    Backup {
        /// The token that the ledger wants. Set it in the environment, since other users can see the command line
        #[arg(long, env = "ARTISANAL_LEDGER_TOKEN", value_name = "TOKEN", value_parser = super::serve::ledger::token, hide_env_values = true)]
        ledger_token: Option<Secret>,
    },
    /// Restore a backup from the standard input to the folder `ledger` of --data, which must not exist: `ledger restore
    /// --data DIR < FILE`
    ///
    /// A backup that is incomplete or altered is refused, and leaves nothing.
    Restore,
}

/// Instances of reducers: more than states that are made at a time.
const INSTANCES: u32 = 16;

/// What members that share a store have in common.
const CLUSTER: &str = "ledger";

/// Files that the database may have open.
const FILES: u32 = 600;

impl Ledger {
    pub(super) fn run(self, flags: &Flags) -> Result<(), Failure> {
        let requests = if self.log_requests { "info" } else { "off" };
        log::start(
            flags.log_format,
            &format!(
                "warn,fjall=off,lsm_tree=off,chitchat=error,artisanal_ledger=info,int_host=info,\
                 int_host::requests={requests}"
            ),
        );
        match &self.command {
            Some(Keep::Backup { ledger_token }) => {
                let runtime = one_thread()?;
                let save = backup::save(&self.host, self.port, ledger_token.as_ref());
                return Ok(runtime.block_on(save)?);
            }
            Some(Keep::Restore) => {
                store::check_restore(self.store.as_ref())?;
                return Ok(backup::load(&folder(flags)?)?);
            }
            None => {}
        }
        let files = open_files::raise_limit();
        // Questions wait for the disk in threads of their own, which a runtime with one thread does not have.
        let threads = runtime::Options::default().threads.max(2);
        let runtime = runtime::start(&runtime::Options {
            threads,
            ..runtime::Options::default()
        })?;
        let ended = runtime.block_on(self.serve(flags, files));
        // No result of a task that is still running is needed.
        runtime.shutdown_background();
        Ok(ended?)
    }

    async fn serve(&self, flags: &Flags, files: Option<u64>) -> Result<(), Error> {
        self.members.check(self.store.is_some())?;
        store::check_retention(
            self.store.as_ref(),
            self.retain_days.is_some() || self.retain_size.is_some(),
        )?;
        let host = Host::new(Options {
            instances: INSTANCES,
            ..flags.options()
        })?;
        let reducers = ledger::reducers(&host, &self.reducer, &self.reduce)?;
        let listeners = Listeners::bind(&self.host, self.port).await?;
        let listening = listeners.addresses();
        // Members say what they hold, and the store gets to know from them what it has to hold.
        let (holding, held) = watch::channel(Arc::default());
        let started = self.members.start(CLUSTER, (&self.host, &listening), held);
        let (members, share) = started.await?;
        let shares = share.map(|share| (share, holding));
        let log = store::open(self.store.as_ref(), flags, &folder(flags)?, shares).await?;
        let store = log.store().clone();
        if let Some(days) = self.retain_days {
            tokio::spawn(retention::by_age(store.clone(), reducers.clone(), days));
        }
        if let Some(bytes) = self.retain_size {
            tokio::spawn(retention::by_size(store.clone(), reducers.clone(), bytes));
        }
        let metrics = Metrics::new();
        let tokens = match &self.tokens {
            Some(path) => Some(TokenFile::load(path, metrics.clone())?),
            None => None,
        };
        if let Some(tokens) = &tokens {
            tokio::spawn(super::serve::watched(tokens).keep(Hangups::new()));
        }
        let shutdown = Shutdown::new();
        tokio::spawn(super::serve::end_on_signals(shutdown.clone()));
        for address in &listening {
            tracing::info!("listening on http://{address}");
        }
        metrics.members(members.clone());
        super::metrics::start(self.metrics.as_ref(), &metrics, &shutdown).await?;
        let most = files.map_or(u32::MAX, |files| {
            open_files::connections_within(files, FILES, 0)
        });
        let limits = Limits {
            connections: self.max_connections.min(most),
            log_requests: self.log_requests,
            metrics,
            ..Limits::default()
        };
        let requested = shutdown.requested();
        let leave = async {
            requested.await;
            members.leave().await;
        };
        let serve = ledger::serve(
            listeners,
            log,
            reducers,
            tokens,
            limits,
            shutdown,
            members.clone(),
        );
        tokio::join!(serve, leave);
        tracing::info!("stopped");
        Ok(())
    }
}

/// Reads `NAME=FILE`.
fn reducer(text: &str) -> Result<(String, PathBuf), String> {
    let fits = |name: &&str| {
        (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let parts = text
        .split_once('=')
        .filter(|(name, file)| fits(name) && !file.is_empty());
    let (name, file) =
        parts.ok_or("expected NAME=FILE with a name of letters, digits, `-`, `_` and `.`")?;
    Ok((name.to_owned(), file.into()))
}

/// Reads `KEY=NAME`. A key may contain the sign.
fn rule(text: &str) -> Result<(String, String), String> {
    let parts = text.rsplit_once('=').filter(|(key, _)| !key.is_empty());
    let (key, name) =
        parts.ok_or("expected KEY=NAME with a key or a pattern, and the name of a reducer")?;
    Ok((key.to_owned(), name.to_owned()))
}

/// The folder with the ledger's files.
fn folder(flags: &Flags) -> Result<PathBuf, Error> {
    let data = flags.options().data.ok_or_else(|| {
        Error::Misconfigured("this platform has no data directory; name one with --data DIR".into())
    })?;
    Ok(data.join("ledger"))
}

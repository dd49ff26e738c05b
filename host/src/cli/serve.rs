//! `int-host serve`: serves integers over HTTP, the Redis protocol or TCP.

mod checks;
pub(super) mod ledger;
mod limits;
mod listen;
mod sequences;
mod server;

use super::flags::{Flags, token};
use super::interrupt::signal;
use super::mode::{Given, Mode};
use super::{Failure, log, metrics, open_files};
use crate::endpoint::EndpointOptions;
use crate::ledger::Target;
use crate::serve::{Limits, Shutdown, TokenFile};
use crate::traces::{self, Traces};
use crate::{Error, Host, Sequence, runtime};
use artisanal_core::Secret;
use clap::builder::FalseyValueParser;
use engine_dsn::duration::NotATime;
use intd::Settings;
use ledger::LedgerPolicy;
use listen::Listen;
pub(super) use listen::Protocol;
use server::Server;
pub(super) use server::watched;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Serve integers over HTTP, the Redis protocol or TCP
///
/// Sequences are opened at startup, so that an invalid configuration fails at once; an unreachable
/// backend is an error only when a client requests an integer. --set-last-int first raises the sequence;
/// a sequence that is already past it stays unchanged.
///
/// With --component FILE, where FILE is an HTTP endpoint (wasi:http) and not an engine, this command
/// serves that endpoint. It reads --dsn, --key and so on as settings, and may connect to the addresses
/// in the DSN at their ports.
#[derive(clap::Args)]
pub(super) struct Serve {
    /// The protocol that clients use
    #[arg(long, env = "ARTISANAL_PROTOCOL", value_enum, default_value_t, help_heading = SERVER, hide_env_values = true)]
    protocol: Protocol,
    /// The name or address of this machine to listen on
    #[arg(long, env = "ARTISANAL_HOST", value_name = "HOST", default_value = "localhost", help_heading = SERVER, hide_env_values = true)]
    host: String,
    /// The port to listen on; 0 means any free port, which the log shows
    #[arg(long, env = "ARTISANAL_PORT", value_name = "PORT", default_value_t = 8080, help_heading = SERVER, hide_env_values = true)]
    port: u16,
    /// Serve the same sequences at further addresses: http://HOST:PORT, resp://HOST:PORT (the Redis protocol) or
    /// tcp://HOST:PORT; with TLS https://, resps:// (or rediss://) and tcps://
    #[arg(long, env = "ARTISANAL_LISTEN", value_name = "URL,…", value_delimiter = ',', value_parser = Listen::parse, help_heading = SERVER, hide_env_values = true)]
    listen: Vec<Listen>,
    /// The certificate of this server, followed by its intermediates, as PEM: the address of --host and --port then
    /// needs TLS
    ///
    /// Certificate, key and --client-ca are read anew when they change, and at SIGHUP. Addresses of --listen have TLS
    /// where their scheme says so.
    #[arg(long, env = "ARTISANAL_TLS_CERT", value_name = "FILE", requires = "tls_key", help_heading = SERVER, hide_env_values = true)]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, as PEM
    #[arg(long, env = "ARTISANAL_TLS_KEY", value_name = "FILE", requires = "tls_cert", help_heading = SERVER, hide_env_values = true)]
    tls_key: Option<PathBuf>,
    /// Only clients with a certificate of one of these authorities (PEM) may connect over TLS
    #[arg(long, env = "ARTISANAL_CLIENT_CA", value_name = "FILE", requires = "tls_cert", help_heading = SERVER, hide_env_values = true)]
    client_ca: Option<PathBuf>,
    /// Keys of additional sequences, served under /v1/sequences/, or patterns of keys, like `orders-*`
    ///
    /// `*` means any characters. A sequence whose key matches a pattern is opened when it is first needed.
    #[arg(long, env = "ARTISANAL_KEYS", value_name = "KEY,…", value_delimiter = ',', help_heading = SERVER, hide_env_values = true)]
    keys: Vec<String>,
    /// The maximum number of sequences that are opened by pattern
    ///
    /// Beyond it the sequence that was idle for the longest time is closed; it goes on where it was when it is
    /// needed again. With the engine memory, and with components that are not built in, none is closed, and
    /// requests for further keys get 403.
    #[arg(long, env = "ARTISANAL_MAX_KEYS", value_name = "N", default_value_t = Settings::MAX_KEYS as u64, value_parser = clap::value_parser!(u64).range(1..=Settings::MOST_KEYS as u64), help_heading = SERVER, hide_env_values = true)]
    max_keys: u64,
    /// The token that allows raising sequences; without it raising is disabled. Set it in the
    /// environment, since other users can see the command line
    #[arg(long, env = "ARTISANAL_ADMIN_TOKEN", value_name = "TOKEN", value_parser = token, help_heading = SERVER, hide_env_values = true)]
    admin_token: Option<String>,
    /// The token that minting requires; without it everybody may mint. Set it in the environment, since
    /// other users can see the command line
    #[arg(long, env = "ARTISANAL_MINT_TOKEN", value_name = "TOKEN", value_parser = token, help_heading = SERVER, hide_env_values = true)]
    mint_token: Option<String>,
    /// A file with named tokens, each with its keys, rights and limits: only their holders may mint, read and raise
    ///
    /// `int-host token new` prints an entry. The file is read anew when it changes, and at SIGHUP.
    #[arg(long, env = "ARTISANAL_TOKENS", value_name = "FILE", help_heading = SERVER, hide_env_values = true)]
    tokens: Option<PathBuf>,
    /// The web origins that may use the API: `*`, or origins like `https://example.com`, separated by commas
    #[arg(long, env = "ARTISANAL_CORS_ORIGIN", value_name = "ORIGIN,…", help_heading = SERVER, hide_env_values = true)]
    cors_origin: Option<String>,
    /// How many requests of each kind may wait for one sequence; requests beyond that limit get 503
    #[arg(long, env = "ARTISANAL_QUEUE", value_name = "N", default_value_t = Settings::QUEUE_LIMIT as u64, value_parser = clap::value_parser!(u64).range(1..=1_000_000), help_heading = SERVER, hide_env_values = true)]
    queue: u64,
    /// The memory for unread responses with several integers; requests for several integers beyond that
    /// limit get 503 [default: 64 MiB, or 16 MiB within a --component]
    ///
    /// Each of the longest responses takes 16 KiB while its client reads it.
    #[arg(long, env = "ARTISANAL_ANSWER_MEMORY", value_name = "BYTES", value_parser = clap::value_parser!(u64).range(intd::PIECE_BYTES as u64..=1 << 40), help_heading = SERVER, hide_env_values = true)]
    answer_memory: Option<u64>,
    /// How many calls one sequence may have in flight in the backend [default: what suits the engine]
    ///
    /// Each call in flight has its own connection. For components that are not built in the default is 1,
    /// since they may keep their sequences in their own memory, which their instances do not share. Give
    /// more for components that do not.
    #[arg(long, env = "ARTISANAL_CALLS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=Sequence::INSTANCES as i64), help_heading = SERVER, hide_env_values = true)]
    calls: Option<u16>,
    /// The maximum number of open connections, as far as the limit of open files allows; further
    /// connections wait until others are closed
    #[arg(long, env = "ARTISANAL_MAX_CONNECTIONS", value_name = "N", default_value_t = Limits::default().connections, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = SERVER, hide_env_values = true)]
    max_connections: u32,
    /// How many threads handle connections [default: half the number of processors]
    ///
    /// The other half is for the system's network stack, and for the backend and the clients if they are on
    /// the same machine. More threads help when clients and backend are on other machines and one thread is
    /// busy.
    #[arg(long, env = "ARTISANAL_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = SERVER, hide_env_values = true)]
    threads: Option<u16>,
    /// How long the thread polls for the next request or reply before it sleeps; 0 disables polling
    ///
    /// Waking a thread costs several times what a request does. The thread polls only after a request or
    /// reply, while no other thread wants its processor, and while that mostly pays off. With several
    /// --threads there is no polling.
    #[arg(long, env = "ARTISANAL_BUSY_POLL", value_name = "MICROSECONDS", default_value_t = runtime::Options::BUSY_POLL.as_micros() as u16, value_parser = clap::value_parser!(u16).range(0..=1000), help_heading = SERVER, hide_env_values = true)]
    busy_poll: u16,
    /// Serve metrics for Prometheus under /metrics, at this port of localhost or of another address of this
    /// machine
    #[arg(long, env = "ARTISANAL_METRICS", value_name = "[HOST:]PORT", value_parser = metrics::address, help_heading = SERVER, hide_env_values = true)]
    metrics: Option<(String, u16)>,
    /// Publish to this ledger, ws://HOST:PORT, who gets which integers
    #[arg(long, env = "ARTISANAL_LEDGER", value_name = "URL", value_parser = Target::parse, help_heading = SERVER, hide_env_values = true)]
    ledger: Option<Target>,
    /// The token that the ledger wants. Set it in the environment, since other users can see the command line
    #[arg(long, env = "ARTISANAL_LEDGER_TOKEN", value_name = "TOKEN", value_parser = ledger::token, help_heading = SERVER, hide_env_values = true)]
    ledger_token: Option<Secret>,
    /// What happens to mints while the ledger is slow or away
    #[arg(long, env = "ARTISANAL_LEDGER_POLICY", value_name = "POLICY", value_enum, default_value_t, help_heading = SERVER, hide_env_values = true)]
    ledger_policy: LedgerPolicy,
    /// Send traces of HTTP requests to the collector at this address, http://HOST:4318 (OTLP over HTTP)
    #[arg(long, env = "ARTISANAL_OTLP", value_name = "URL", value_parser = traces::Target::parse, help_heading = SERVER, hide_env_values = true)]
    otlp: Option<traces::Target>,
    /// The part of the requests that is traced, 0 to 1; for requests with the header traceparent the caller decides
    #[arg(long, env = "ARTISANAL_OTLP_RATIO", value_name = "RATIO", default_value_t = 0.01, value_parser = traces::ratio, requires = "otlp", help_heading = SERVER, hide_env_values = true)]
    otlp_ratio: f64,
    /// Log each request
    #[arg(long, env = "ARTISANAL_LOG_REQUESTS", value_parser = FalseyValueParser::new(), help_heading = SERVER, hide_env_values = true)]
    log_requests: bool,
    /// An additional setting that the component can read (wasi:config/store)
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting, help_heading = COMPONENT)]
    config: Vec<(String, String)>,
    /// How many requests may be in flight; requests beyond that limit get 503
    #[arg(long, env = "ARTISANAL_MAX_REQUESTS", value_name = "N", default_value_t = EndpointOptions::default().requests, value_parser = number, help_heading = COMPONENT, hide_env_values = true)]
    max_requests: usize,
    /// The maximum number of instances (default: 1, or 32 for wasi:http@0.2)
    #[arg(long, env = "ARTISANAL_MAX_INSTANCES", value_name = "N", value_parser = number, help_heading = COMPONENT, hide_env_values = true)]
    max_instances: Option<usize>,
    /// After how many requests an instance is replaced (default: never, or 1 for wasi:http@0.2)
    #[arg(long, env = "ARTISANAL_MAX_INSTANCE_REQUESTS", value_name = "N", value_parser = number, help_heading = COMPONENT, hide_env_values = true)]
    max_instance_requests: Option<usize>,
    /// How many requests an instance handles concurrently (default: unlimited; always 1 for wasi:http@0.2)
    #[arg(long, env = "ARTISANAL_MAX_INSTANCE_CONCURRENCY", value_name = "N", value_parser = number, help_heading = COMPONENT, hide_env_values = true)]
    max_instance_concurrency: Option<usize>,
    /// How long an instance without requests is kept [default: forever]
    #[arg(long, env = "ARTISANAL_IDLE_TIMEOUT", value_name = "TIME", value_parser = time, help_heading = COMPONENT, hide_env_values = true)]
    idle_timeout: Option<Duration>,
    /// The timeout for the start of a response
    #[arg(long, env = "ARTISANAL_REQUEST_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = time, help_heading = COMPONENT, hide_env_values = true)]
    request_timeout: Duration,
    /// The options of this command that were given, and the global ones.
    #[arg(skip)]
    given: Given,
}

const SERVER: &str = "Server";
const COMPONENT: &str = "Endpoints of --component";

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected a name, `=` and a value".to_owned()),
    }
}

/// Parses a duration of up to a year.
fn time(text: &str) -> Result<Duration, NotATime> {
    engine_dsn::duration::parse(text, Duration::from_secs(365 * 24 * 3600))
}

fn number(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "expected a whole number of at least 1".to_owned())
}

impl Serve {
    /// Records which options were given.
    pub(super) fn remember(&mut self, given: Given) {
        self.given = given;
    }

    pub(super) fn run(self, flags: &Flags) -> Result<(), Failure> {
        let requests = if self.log_requests { "info" } else { "off" };
        log::start(
            flags.log_format,
            &format!("warn,int_host=info,int_host::requests={requests}"),
        );
        let files = open_files::raise_limit();
        let runtime = runtime::start(&self.threads())?;
        let ended = runtime.block_on(self.serve(flags, files));
        // No result of a task that is still running is needed.
        runtime.shutdown_background();
        Ok(ended?)
    }

    /// `files` is the limit of open files, if known.
    async fn serve(&self, flags: &Flags, files: Option<u64>) -> Result<(), Error> {
        let source = flags.source()?;
        let options = self.options(flags);
        let limits = self.limits(files, options.instances);
        let otlp = self.otlp.clone();
        let traces = otlp.map(|target| Traces::start(target, self.otlp_ratio));
        let options = match &traces {
            Some(traces) => traces.tracing(options),
            None => options,
        };
        let host = Host::new(options)?;
        if let Some(traces) = &traces {
            traces.report_to(host.metrics());
        }
        let limits = Limits {
            metrics: host.metrics().clone(),
            traces: traces.clone(),
            ..limits
        };
        let mode = self.mode(&host, &source)?;
        self.given.check(mode, &source)?;
        self.check_tokens()?;
        let tls = self.tls()?;
        let tokens = match &self.tokens {
            Some(path) => Some(TokenFile::load(path, limits.metrics.clone())?),
            None => None,
        };
        let server = Server {
            serve: self,
            tokens,
            tls,
            flags,
            host,
            source,
            limits,
            shutdown: Shutdown::new(),
        };
        let metrics = server.host.metrics();
        metrics::start(self.metrics.as_ref(), metrics, &server.shutdown).await?;
        match mode {
            Mode::Http | Mode::Tcp | Mode::Resp => server.sequences().await?,
            Mode::Endpoint | Mode::Unconfigured => server.endpoint().await?,
        }
        if let Some(traces) = &traces {
            traces.end().await;
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Where to listen, the address of `--host` and `--port` first.
    fn listens(&self) -> Vec<Listen> {
        let first = Listen {
            protocol: self.protocol,
            tls: self.tls_cert.is_some(),
            host: self.host.clone(),
            port: self.port,
        };
        std::iter::once(first)
            .chain(self.listen.iter().cloned())
            .collect()
    }

    /// The settings, under the endpoint's names for them.
    fn settings(&self, flags: &Flags) -> BTreeMap<String, String> {
        let mut settings: BTreeMap<_, _> = self.config.iter().cloned().collect();
        let named = [
            ("dsn", flags.dsn.clone()),
            ("key", flags.key.clone()),
            ("keys", (!self.keys.is_empty()).then(|| self.keys.join(","))),
            ("max_keys", Some(self.max_keys.to_string())),
            ("increment", flags.set_increment.map(|n| n.to_string())),
            ("offset", flags.set_offset.map(|n| n.to_string())),
            ("admin_token", self.admin_token.clone()),
            ("mint_token", self.mint_token.clone()),
            ("cors_origin", self.cors_origin.clone()),
            ("queue_limit", Some(self.queue.to_string())),
            (
                "answer_memory",
                self.answer_memory.map(|bytes| bytes.to_string()),
            ),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                settings.insert(name.to_owned(), value);
            }
        }
        settings
    }

    fn endpoint(&self, settings: BTreeMap<String, String>) -> EndpointOptions {
        EndpointOptions {
            settings,
            instances: self.max_instances,
            instance_requests: self.max_instance_requests,
            instance_concurrency: self.max_instance_concurrency,
            idle: self.idle_timeout,
            request_timeout: self.request_timeout,
            requests: self.max_requests,
        }
    }
}

/// Omits tokens and settings, which are secrets.
impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("protocol", &self.protocol)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The first signal begins the shutdown, the second one terminates the process.
pub(super) async fn end_on_signals(shutdown: Shutdown) {
    for last in [false, true] {
        if let Err(error) = signal().await {
            tracing::warn!(%error, "cannot wait for signals");
            return;
        }
        if last {
            tracing::warn!("terminated; requests in flight are aborted");
            std::process::exit(130);
        }
        tracing::info!(
            "shutting down: no further connections; requests in flight have 10 s to finish"
        );
        shutdown.begin();
    }
}

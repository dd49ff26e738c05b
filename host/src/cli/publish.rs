//! `int-host publish`: a publisher of its own, between programs that hand out integers and a ledger.

use super::flags::Flags;
use super::serve::ledger::{self, LedgerPolicy};
use super::{Failure, log, open_files};
use crate::ledger::{Options, Target, relay, serve_publisher};
use crate::serve::{Limits, Listeners, Shutdown};
use crate::{Error, Metrics, runtime};
use artisanal_core::{Lattice, Secret};
use clap::builder::FalseyValueParser;
use http::HeaderValue;
use std::time::Duration;

/// Run a publisher: it takes events over WebSockets, keeps them in a ring, and sends them to a ledger until they are
/// acknowledged
///
/// Its endpoint is ws://HOST:PORT/v1.0/ingest. With the subprotocol artisanal-ledger.v1 it takes the place of a ledger
/// for servers (`int-host serve --ledger ws://HOST:PORT`). With ringoexp or without a subprotocol it takes frames of 8
/// bytes, of which the first 4 are an integer of --key, and answers `a`. There are no tokens: everybody who reaches
/// the port can publish.
#[derive(Debug, clap::Args)]
pub(super) struct Publish {
    /// The name or address of this machine to listen on
    #[arg(
        short = 'H',
        long,
        visible_alias = "hostname",
        env = "ARTISANAL_PUBLISH_HOST",
        value_name = "HOST",
        default_value = "localhost",
        hide_env_values = true
    )]
    host: String,
    /// The port to listen on; 0 means any free port, which the log shows
    #[arg(
        short = 'p',
        long,
        env = "ARTISANAL_PUBLISH_PORT",
        value_name = "PORT",
        default_value_t = 6661,
        hide_env_values = true
    )]
    port: u16,
    /// The name of this publisher, in the header `Server` of its answers
    #[arg(short = 'N', long, value_name = "NAME", value_parser = name)]
    name: Option<HeaderValue>,
    /// The ledger, or another publisher: ws://HOST:PORT [default: ws://localhost:6660]
    #[arg(
        long,
        env = "ARTISANAL_CONSUMER",
        value_name = "URL",
        value_parser = Target::parse,
        conflicts_with_all = ["consumer_hostname", "consumer_port"],
        hide_env_values = true
    )]
    consumer: Option<Target>,
    /// The name or address of the ledger, instead of --consumer
    #[arg(
        short = 'U',
        long = "consumer_hostname",
        visible_alias = "consumer-hostname",
        value_name = "HOST",
        default_value = "localhost"
    )]
    consumer_hostname: String,
    /// The port of the ledger, instead of --consumer
    #[arg(
        short = 'T',
        long = "consumer_port",
        visible_alias = "consumer-port",
        value_name = "PORT",
        default_value_t = 6660
    )]
    consumer_port: u16,
    /// The token that the ledger wants. Set it in the environment, since other users can see the command line
    #[arg(long, env = "ARTISANAL_LEDGER_TOKEN", value_name = "TOKEN", value_parser = ledger::token, hide_env_values = true)]
    ledger_token: Option<Secret>,
    /// How many events and batches the ring has room for; its memory is allocated at the start
    #[arg(short = 'r', long, visible_aliases = ["ring_size", "ring-size"], value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    ring: u32,
    /// How many bytes of batches the ring has room for
    #[arg(long, value_name = "BYTES", default_value_t = Options::BYTES as u64, value_parser = clap::value_parser!(u64).range(4 << 20..=1 << 31))]
    ring_bytes: u64,
    /// How many connections to the ledger there are
    #[arg(short = 'W', long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// When a frame with an integer is acknowledged, if the ledger is slow or away: `shed` at once, and it is dropped if
    /// the ring is full; `block` when there is room in the ring; `strict` when the ledger has stored it durably. Batches
    /// always wait for the ledger
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = LedgerPolicy::Block, hide_possible_values = true)]
    policy: LedgerPolicy,
    /// The maximum number of open connections, as far as the limit of open files allows; further
    /// connections wait until others are closed; 0 is the default
    #[arg(short = 'n', long, visible_alias = "connections", value_name = "N", default_value_t = Limits::default().connections, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    max_connections: u32,
    /// Serve metrics for Prometheus under /metrics, at this port of localhost or of another address of this
    /// machine
    #[arg(long, value_name = "[HOST:]PORT", value_parser = super::metrics::address)]
    metrics: Option<(String, u16)>,
    /// Log each request
    #[arg(long, value_parser = FalseyValueParser::new())]
    log_requests: bool,
}

/// How long a frame waits, with the policies that wait.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Files that are neither connections of clients nor of workers.
const FILES: u32 = 64;

fn name(text: &str) -> Result<HeaderValue, String> {
    let printable = |byte: u8| matches!(byte, b' '..=b'~');
    if (1..=128).contains(&text.len()) && text.bytes().all(printable) {
        HeaderValue::from_str(text).map_err(|error| error.to_string())
    } else {
        Err("expected 1 to 128 printable ASCII characters".to_owned())
    }
}

impl Publish {
    pub(super) fn run(self, flags: &Flags) -> Result<(), Failure> {
        let requests = if self.log_requests { "info" } else { "off" };
        log::start(
            flags.log_format,
            &format!("warn,int_host=info,int_host::requests={requests}"),
        );
        let files = open_files::raise_limit();
        let runtime = runtime::start(&runtime::Options::default())?;
        let ended = runtime.block_on(self.serve(flags, files));
        // No result of a task that is still running is needed.
        runtime.shutdown_background();
        Ok(ended?)
    }

    async fn serve(&self, flags: &Flags, files: Option<u64>) -> Result<(), Error> {
        let target = self.target()?;
        let config = flags.config();
        artisanal_core::limits::check_key(&config.key)?;
        let step = config.increment.unwrap_or(1);
        // The offset is that of the integers themselves.
        Lattice::new(step, 0)?;
        let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let options = Options {
            ring: size(self.ring.into()),
            bytes: size(self.ring_bytes),
            workers: self.workers.into(),
            policy: self.policy.into(),
            token: self.ledger_token.clone(),
            // The integers are handed out already, so nobody is helped by a refusal; clients wait.
            patience: PATIENCE,
            ..Options::new(target.clone())
        };
        let counted = Metrics::new();
        let listeners = Listeners::bind(&self.host, self.port).await?;
        let shutdown = Shutdown::new();
        super::metrics::start(self.metrics.as_ref(), &counted, &shutdown).await?;
        let publisher = ledger::start(options, &counted)?;
        tokio::spawn(super::serve::end_on_signals(shutdown.clone()));
        tracing::info!("publishing to {target}");
        for address in listeners.addresses() {
            tracing::info!("listening on http://{address}");
        }
        let limits = self.limits(files, counted);
        let options = relay::Options {
            name: self.name.clone(),
            key: config.key.into(),
            step,
        };
        serve_publisher(listeners, publisher.clone(), options, limits, shutdown).await;
        ledger::end(&publisher).await;
        tracing::info!("stopped");
        Ok(())
    }

    fn target(&self) -> Result<Target, Error> {
        if let Some(target) = &self.consumer {
            return Ok(target.clone());
        }
        let (host, port) = (&self.consumer_hostname, self.consumer_port);
        let url = if host.contains(':') && !host.starts_with('[') {
            format!("ws://[{host}]:{port}")
        } else {
            format!("ws://{host}:{port}")
        };
        Target::parse(&url)
            .map_err(|why| Error::Invalid(format!("the address of the consumer: {why}")))
    }

    fn limits(&self, files: Option<u64>, metrics: Metrics) -> Limits {
        let default = Limits::default();
        let wanted = match self.max_connections {
            0 => default.connections,
            wanted => wanted,
        };
        let most = files.map_or(u32::MAX, |files| {
            open_files::connections_within(files, FILES + u32::from(self.workers), 0)
        });
        Limits {
            connections: wanted.min(most),
            log_requests: self.log_requests,
            metrics,
            ..default
        }
    }
}

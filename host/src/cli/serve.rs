//! `int-host serve`: integers over the network.

use super::flags::Flags;
use super::interrupt::signal;
use super::mode::{Given, Mode};
use super::{Failure, log, open_files};
use crate::endpoint::{self, EndpointOptions};
use crate::serve::{self, Limits, Listeners, Shutdown};
use crate::{Error, Host, Options, Sequence, Source, runtime};
use clap::builder::{FalseyValueParser, NonEmptyStringValueParser};
use engine_dsn::duration::NotATime;
use intd::{App, Settings};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Serve integers over HTTP or TCP
///
/// Sequences are opened at the start, so that a wrong configuration is told at once; a backend that
/// cannot be reached is no error before somebody asks for an integer. --set-last-int raises the
/// sequence first; one that is past it already is left as it is.
///
/// With --component FILE, where FILE is an HTTP endpoint (wasi:http) rather than an engine, that
/// endpoint is served. It reads --dsn, --key and so on as settings, and may open the addresses of
/// the DSN at their ports.
#[derive(clap::Args)]
pub(super) struct Serve {
    /// How clients ask
    #[arg(long, env = "ARTISANAL_PROTOCOL", value_enum, default_value_t, help_heading = SERVER, hide_env_values = true)]
    protocol: Protocol,
    /// Where to listen: a name or an address of this machine
    #[arg(long, env = "ARTISANAL_HOST", value_name = "HOST", default_value = "localhost", help_heading = SERVER, hide_env_values = true)]
    host: String,
    /// At which port; 0 is any free one, and the log tells which
    #[arg(long, env = "ARTISANAL_PORT", value_name = "PORT", default_value_t = 8080, help_heading = SERVER, hide_env_values = true)]
    port: u16,
    /// Further sequences, under /v1/sequences/
    #[arg(long, env = "ARTISANAL_KEYS", value_name = "KEY,…", value_delimiter = ',', help_heading = SERVER, hide_env_values = true)]
    keys: Vec<String>,
    /// Who may raise sequences; without it nobody. Other users see it unless it is in the environment
    #[arg(long, env = "ARTISANAL_ADMIN_TOKEN", value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new(), help_heading = SERVER, hide_env_values = true)]
    admin_token: Option<String>,
    /// Who may mint; without it everybody. Other users see it unless it is in the environment
    #[arg(long, env = "ARTISANAL_MINT_TOKEN", value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new(), help_heading = SERVER, hide_env_values = true)]
    mint_token: Option<String>,
    /// Which web pages may use it: `*`, or origins like `https://example.com`, separated by commas
    #[arg(long, env = "ARTISANAL_CORS_ORIGIN", value_name = "ORIGIN,…", help_heading = SERVER, hide_env_values = true)]
    cors_origin: Option<String>,
    /// How many requests of a kind may wait for one sequence; further ones are answered 503
    #[arg(long, env = "ARTISANAL_QUEUE", value_name = "N", default_value_t = Settings::QUEUE_LIMIT as u64, value_parser = clap::value_parser!(u64).range(1..=1_000_000), help_heading = SERVER, hide_env_values = true)]
    queue: u64,
    /// How many bytes the answers with several integers may take that clients have not read yet;
    /// further requests for several integers are answered 503 [default: 64 MiB, or 16 MiB within a --component]
    ///
    /// Each of the longest answers takes 16 KiB while its client reads it.
    #[arg(long, env = "ARTISANAL_ANSWER_MEMORY", value_name = "BYTES", value_parser = clap::value_parser!(u64).range(intd::PIECE_BYTES as u64..=1 << 40), help_heading = SERVER, hide_env_values = true)]
    answer_memory: Option<u64>,
    /// How many calls one sequence may have under way in the backend [default: as many as pay with the engine]
    ///
    /// Each has a connection of its own. Components that are not built in get 1, since they may keep
    /// their sequences in their own memory, which is not shared: give more to those that do not.
    #[arg(long, env = "ARTISANAL_CALLS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=Sequence::INSTANCES as i64), help_heading = SERVER, hide_env_values = true)]
    calls: Option<u16>,
    /// How many connections may be open at one time, as far as the limit of open files allows;
    /// further ones wait until others end
    #[arg(long, env = "ARTISANAL_MAX_CONNECTIONS", value_name = "N", default_value_t = Limits::default().connections, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = SERVER, hide_env_values = true)]
    max_connections: u32,
    /// How many threads handle connections [default: half as many as there are processors]
    ///
    /// The other half is for the backend, the clients or the system's network work, which are on the
    /// same machine. More threads help when clients and backend are elsewhere and one thread is busy.
    #[arg(long, env = "ARTISANAL_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = SERVER, hide_env_values = true)]
    threads: Option<u16>,
    /// How long to look for the next request or reply before the thread sleeps; 0 for not at all
    ///
    /// To be woken costs a thread several times what a request does. It looks only after something
    /// happened, while nobody else wants its processor, and while that mostly pays; not with several
    /// threads.
    #[arg(long, env = "ARTISANAL_BUSY_POLL", value_name = "MICROSECONDS", default_value_t = runtime::Options::BUSY_POLL.as_micros() as u16, value_parser = clap::value_parser!(u16).range(0..=1000), help_heading = SERVER, hide_env_values = true)]
    busy_poll: u16,
    /// Log each request
    #[arg(long, env = "ARTISANAL_LOG_REQUESTS", value_parser = FalseyValueParser::new(), help_heading = SERVER, hide_env_values = true)]
    log_requests: bool,
    /// A setting that the component reads (wasi:config/store), besides those of other options
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting, help_heading = COMPONENT)]
    config: Vec<(String, String)>,
    /// How many requests may be in flight; further ones are answered 503
    #[arg(long, env = "ARTISANAL_MAX_REQUESTS", value_name = "N", default_value_t = EndpointOptions::default().requests, value_parser = number, help_heading = COMPONENT, hide_env_values = true)]
    max_requests: usize,
    /// How many instances there may be (default: 1, or 32 for wasi:http@0.2)
    #[arg(long, env = "ARTISANAL_MAX_INSTANCES", value_name = "N", value_parser = number, help_heading = COMPONENT, hide_env_values = true)]
    max_instances: Option<usize>,
    /// After how many requests an instance is replaced (default: never, or 1 for wasi:http@0.2)
    #[arg(long, env = "ARTISANAL_MAX_INSTANCE_REQUESTS", value_name = "N", value_parser = number, help_heading = COMPONENT, hide_env_values = true)]
    max_instance_requests: Option<usize>,
    /// How many requests an instance handles at a time (default: all, always 1 for wasi:http@0.2)
    #[arg(long, env = "ARTISANAL_MAX_INSTANCE_CONCURRENCY", value_name = "N", value_parser = number, help_heading = COMPONENT, hide_env_values = true)]
    max_instance_concurrency: Option<usize>,
    /// How long an instance without requests is kept [default: for ever]
    #[arg(long, env = "ARTISANAL_IDLE_TIMEOUT", value_name = "TIME", value_parser = time, help_heading = COMPONENT, hide_env_values = true)]
    idle_timeout: Option<Duration>,
    /// How long the answer of a request may take to begin
    #[arg(long, env = "ARTISANAL_REQUEST_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = time, help_heading = COMPONENT, hide_env_values = true)]
    request_timeout: Duration,
    /// Which of these were given, and of those that stand before or after any command.
    #[arg(skip)]
    given: Given,
}

const SERVER: &str = "Server";
const COMPONENT: &str = "Endpoints of --component";

/// Instances besides those that sequences share, in place of some that break.
const SPARE_INSTANCES: u32 = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    /// HTTP/1.1; GET /openapi.json describes the routes.
    #[default]
    Http,
    /// Each connection gets one integer and a newline.
    Tcp,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write a name, `=` and a value".to_owned()),
    }
}

/// Up to a year.
fn time(text: &str) -> Result<Duration, NotATime> {
    engine_dsn::duration::parse(text, Duration::from_secs(365 * 24 * 3600))
}

fn number(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "write a whole number, 1 or more".to_owned())
}

impl Serve {
    /// Notes which options were given.
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
        // Whatever still runs there is nothing that anybody waits for.
        runtime.shutdown_background();
        Ok(ended?)
    }

    /// `files` is how many files may be open, if that is known.
    async fn serve(&self, flags: &Flags, files: Option<u64>) -> Result<(), Error> {
        let source = flags.source();
        let settings = self.settings(flags);
        let options = self.options(flags);
        let limits = self.limits(files, options.instances);
        let host = Host::new(options)?;
        let shutdown = Shutdown::new();
        let shape = match &source {
            Source::Builtin(_) => None,
            Source::File(_) => Some(host.inspect(&source)?),
        };
        let mode = Mode::of(shape.as_ref(), self.protocol == Protocol::Tcp, &source)?;
        self.given.check(mode, &source)?;
        match mode {
            Mode::Endpoint | Mode::Unconfigured => {
                let endpoint = host.endpoint(&source, self.endpoint(settings))?;
                let listeners = self.listen(&source, &shutdown).await?;
                endpoint::proxy(listeners, endpoint, limits, shutdown).await;
            }
            Mode::Http | Mode::Tcp => {
                let settings = Settings::from_lookup(|name| settings.get(name).cloned())
                    .map_err(|error| Error::Invalid(error.to_string()))?;
                let sequences = Sequences::open(&host, &source, flags, &settings).await?;
                let listeners = self.listen(&source, &shutdown).await?;
                if mode == Mode::Tcp {
                    let sequence = sequences.named(&settings.key)?;
                    serve::tcp(listeners, sequence, limits, shutdown).await;
                } else {
                    let app = App::try_new(settings, |key| sequences.named(key))?;
                    serve::http(listeners, app, limits, shutdown).await;
                }
            }
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Begins to listen, and to be told when to stop.
    async fn listen(&self, source: &Source, shutdown: &Shutdown) -> Result<Listeners, Error> {
        let listeners = Listeners::bind(&self.host, self.port).await?;
        tokio::spawn(end_on_signals(shutdown.clone()));
        let scheme = match self.protocol {
            Protocol::Http => "http",
            Protocol::Tcp => "tcp",
        };
        tracing::info!("serving {source}");
        for address in listeners.addresses() {
            tracing::info!("listening on {scheme}://{address}");
        }
        Ok(listeners)
    }

    fn threads(&self) -> runtime::Options {
        let default = runtime::Options::default();
        runtime::Options {
            threads: self.threads.map_or(default.threads, usize::from),
            busy_poll: Duration::from_micros(self.busy_poll.into()),
        }
    }

    fn options(&self, flags: &Flags) -> Options {
        let options = flags.options();
        let endpoints = EndpointOptions::INSTANCES.max(self.max_instances.unwrap_or(0));
        let instances = match flags.component {
            // Each may have one beside it that is about to end.
            Some(_) => endpoints.saturating_mul(2),
            None => Sequence::INSTANCES,
        };
        let instances = u32::try_from(instances).unwrap_or(u32::MAX);
        Options {
            queue: usize::try_from(self.queue).unwrap_or(usize::MAX),
            calls: self.calls.map(usize::from),
            instances: instances.saturating_add(SPARE_INSTANCES),
            ..options
        }
    }

    fn limits(&self, files: Option<u64>, instances: u32) -> Limits {
        let most = files.map_or(u32::MAX, |files| {
            open_files::connections_within(files, instances, self.keys.len())
        });
        if most < self.max_connections {
            tracing::info!(
                "at most {most} connections at one time, since this process may have {} files open",
                files.unwrap_or_default()
            );
        }
        Limits {
            connections: self.max_connections.min(most),
            log_requests: self.log_requests,
            ..Limits::default()
        }
    }

    /// The settings under the names that the endpoint knows them by.
    fn settings(&self, flags: &Flags) -> BTreeMap<String, String> {
        let mut settings: BTreeMap<_, _> = self.config.iter().cloned().collect();
        let named = [
            ("dsn", flags.dsn.clone()),
            ("key", flags.key.clone()),
            ("keys", (!self.keys.is_empty()).then(|| self.keys.join(","))),
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
            patience: self.request_timeout,
            requests: self.max_requests,
        }
    }
}

/// Tokens and settings are left out: they are secrets.
impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("protocol", &self.protocol)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// All sequences of a server, open, by their keys.
struct Sequences(BTreeMap<String, Sequence>);

impl Sequences {
    async fn open(
        host: &Host,
        source: &Source,
        flags: &Flags,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let others = settings.keys.iter().filter(|key| **key != settings.key);
        let keys = std::iter::once(&settings.key).chain(others).cloned();
        let opened = host.open_keys(source.clone(), flags.config(), keys.clone());
        let sequences = Self(keys.zip(opened.await?).collect());
        if let Some(last) = flags.set_last_int {
            match sequences.named(&settings.key)?.set_last(last).await {
                // A server that starts again with the same options goes on where it was.
                Err(Error::TooSmall(current)) => {
                    tracing::info!(current, "the sequence is past {last} already")
                }
                other => other?,
            }
        }
        Ok(sequences)
    }

    /// The sequence of this key, and never that of another one: integers of two sequences must not
    /// be taken for each other.
    fn named(&self, key: &str) -> Result<Sequence, Error> {
        self.0
            .get(key)
            .cloned()
            .ok_or_else(|| Error::Other(format!("no sequence was opened for the key `{key}`")))
    }
}

/// The first signal begins the shutdown, the second one ends the process.
async fn end_on_signals(shutdown: Shutdown) {
    for last in [false, true] {
        if let Err(error) = signal().await {
            tracing::warn!(%error, "signals cannot be waited for");
            return;
        }
        if last {
            tracing::warn!("stopped at once; requests in flight are cut off");
            std::process::exit(130);
        }
        tracing::info!("shutting down: no further connections, requests in flight have 10 s");
        shutdown.begin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builtin, Config};

    #[tokio::test]
    async fn a_key_without_a_sequence_never_gets_another_ones() {
        let options = Options {
            cache: None,
            ..Options::default()
        };
        let host = Host::new(options).expect("a host");
        let keys = ["a", "b"].map(str::to_owned);
        let opened = host
            .open_keys(Builtin::Memory.into(), Config::default(), keys.clone())
            .await
            .expect("opened");
        let sequences = Sequences(keys.into_iter().zip(opened).collect());
        assert_eq!(
            sequences
                .named("a")
                .expect("there")
                .next(1)
                .await
                .expect("minted")
                .first(),
            2
        );
        assert_eq!(
            sequences
                .named("b")
                .expect("there")
                .next(1)
                .await
                .expect("minted")
                .first(),
            2
        );
        let settings = Settings {
            key: "a".into(),
            keys: vec!["b".into(), "c".into()],
            ..Settings::default()
        };
        let refused = sequences.named("c").err();
        assert!(
            matches!(&refused, Some(Error::Other(text)) if text.contains("`c`")),
            "{refused:?}"
        );
        let app = App::try_new(settings, |key| sequences.named(key));
        assert_eq!(
            app.err(),
            refused,
            "no endpoint without all of its sequences"
        );
    }
}

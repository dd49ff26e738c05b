//! The global options, which are valid before and after any command.

use super::dsn_file;
use super::log::LogFormat;
use super::raise::Raise;
use crate::{Builtin, Config, Error, Host, Options, Sequence, Source};
use clap::Args;
use clap::builder::{FalseyValueParser, PossibleValuesParser, TypedValueParser};
use engine_dsn::Address;
use std::fmt;
use std::path::PathBuf;

/// The options for the sequence, for minting, and for the host.
#[derive(Args, Clone)]
pub(super) struct Flags {
    /// The engine for the backend; `int-host engines` describes them [default: keyvalue]
    #[arg(long, global = true, env = "ARTISANAL_ENGINE", value_name = "NAME", value_parser = engine(), help_heading = SEQUENCE, hide_env_values = true)]
    pub(super) engine: Option<Builtin>,
    /// A component file to use as the engine; with serve it may also be an HTTP endpoint
    #[arg(long, global = true, env = "ARTISANAL_COMPONENT", value_name = "FILE", help_heading = SEQUENCE, hide_env_values = true)]
    pub(super) component: Option<PathBuf>,
    /// The address of the backend; `int-host engines` lists the forms [default: the engine's]
    #[arg(long, global = true, env = "ARTISANAL_DSN", value_name = "DSN", help_heading = SEQUENCE, hide_env_values = true)]
    pub(super) dsn: Option<String>,
    /// A file with the DSN, or with the members of a quorum, one in a line; `#` begins a line that is skipped
    #[arg(long, global = true, env = "ARTISANAL_DSN_FILE", value_name = "FILE", help_heading = SEQUENCE, hide_env_values = true)]
    pub(super) dsn_file: Option<PathBuf>,
    /// The name of the sequence [default: integers]
    #[arg(long, global = true, env = "ARTISANAL_KEY", value_name = "KEY", help_heading = SEQUENCE, hide_env_values = true)]
    pub(super) key: Option<String>,
    /// The distance between integers [default: 2]
    #[arg(long, visible_alias = "increment", global = true, env = "ARTISANAL_INCREMENT", value_name = "N", allow_negative_numbers = true, help_heading = SEQUENCE, hide_env_values = true)]
    pub(super) set_increment: Option<i64>,
    /// The remainder of every integer when divided by the increment [default: the engine's]
    #[arg(long, visible_alias = "offset", global = true, env = "ARTISANAL_OFFSET", value_name = "N", allow_negative_numbers = true, help_heading = SEQUENCE, hide_env_values = true)]
    pub(super) set_offset: Option<i64>,
    /// First raise the sequence, so that all later integers are greater than N
    #[arg(long, visible_alias = "last-int", global = true, env = "ARTISANAL_LAST_INT", value_name = "N", allow_negative_numbers = true, help_heading = SEQUENCE, hide_env_values = true)]
    pub(super) set_last_int: Option<i64>,
    /// Fetch integers in spans of up to N and mint from memory; gives up the order between processes
    ///
    /// Calls then need no round trip, and succeed for a while if the backend fails. Every integer is still minted
    /// once, but of two processes (of which at least one uses leases) the one that mints later may mint the smaller
    /// integers. Integers that a process has fetched and not minted when it ends are a gap.
    #[arg(long, global = true, env = "ARTISANAL_LEASE", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(artisanal_core::MAX_COUNT)), help_heading = SEQUENCE, hide_env_values = true)]
    pub(super) lease: Option<u32>,
    /// Make integers from the time and a node number, which is leased from the engine; gives up the order of integers
    ///
    /// The backend is called every few seconds and not for each integer. Integers are unique, and those of one process are
    /// in order; those of several are in the order of their milliseconds, as far as the clocks agree. The parameters
    /// `flake` and `flake-node` of the DSN set the layout and the only number to hold.
    #[arg(long, global = true, env = "ARTISANAL_FLAKE", value_parser = FalseyValueParser::new(), conflicts_with = "lease", help_heading = SEQUENCE, hide_env_values = true)]
    pub(super) flake: bool,
    /// How many integers to mint, without an upper limit; with --continuous, how many at a time
    #[arg(long, global = true, env = "ARTISANAL_COUNT", value_name = "N", default_value_t = 1, hide_default_value = true, value_parser = clap::value_parser!(u64).range(1..), help_heading = MINTING, hide_env_values = true)]
    pub(super) count: u64,
    /// Mint until interrupted. While the backend is unavailable, report it, wait and retry
    #[arg(long, global = true, env = "ARTISANAL_CONTINUOUS", value_parser = FalseyValueParser::new(), help_heading = MINTING, hide_env_values = true)]
    pub(super) continuous: bool,
    /// The directory of the embedded store [default: in the platform's data directory]
    #[arg(long, global = true, env = "ARTISANAL_DATA", value_name = "DIR", help_heading = HOST, hide_env_values = true)]
    pub(super) data: Option<PathBuf>,
    /// An additional address that the component may connect to, at any port if none is given
    #[arg(long, global = true, env = "ARTISANAL_ALLOW_HOST", value_name = "HOST[:PORT]", value_delimiter = ',', value_parser = address, help_heading = HOST, hide_env_values = true)]
    pub(super) allow_host: Vec<Address>,
    /// The authorities that a backend's certificate may be by (PEM) [default: the public ones]
    #[arg(long, global = true, env = "ARTISANAL_CA_FILE", value_name = "FILE", help_heading = HOST, hide_env_values = true)]
    pub(super) ca_file: Option<PathBuf>,
    /// The certificate to show to backends that require one (PEM, with its chain)
    #[arg(long, global = true, env = "ARTISANAL_CLIENT_CERT", value_name = "FILE", help_heading = HOST, hide_env_values = true)]
    pub(super) client_cert: Option<PathBuf>,
    /// The key of --client-cert (PEM, without a password)
    #[arg(long, global = true, env = "ARTISANAL_CLIENT_KEY", value_name = "FILE", help_heading = HOST, hide_env_values = true)]
    pub(super) client_key: Option<PathBuf>,
    /// The directory that caches compiled components [default: in the platform's cache directory]
    #[arg(long, global = true, env = "ARTISANAL_CACHE", value_name = "DIR", help_heading = HOST, hide_env_values = true)]
    pub(super) cache: Option<PathBuf>,
    /// Compile components at every start
    #[arg(long, global = true, env = "ARTISANAL_NO_CACHE", value_parser = FalseyValueParser::new(), help_heading = HOST, hide_env_values = true)]
    pub(super) no_cache: bool,
    /// The format of the log on standard error
    #[arg(long, global = true, env = "ARTISANAL_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t, help_heading = HOST, hide_env_values = true)]
    pub(super) log_format: LogFormat,
}

/// One instance, and one to replace it if it fails.
const INSTANCES: u32 = 2;

const SEQUENCE: &str = "Sequence";
const MINTING: &str = "Minting";
const HOST: &str = "Host";

fn engine() -> impl TypedValueParser<Value = Builtin> {
    let names = Builtin::ALL.map(|engine| engine.about().name);
    PossibleValuesParser::new(names).try_map(|name| {
        Builtin::named(&name).ok_or_else(|| Error::Invalid(format!("no engine is called {name}")))
    })
}

/// A token, in the environment or on the command line.
pub(super) fn token(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err(
            "an empty token protects nothing; give one, or unset the variable in the environment"
                .into(),
        );
    }
    Ok(text.to_owned())
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|_| {
        "expected a host, optionally with a port: `db.example.com:6379`, `10.0.0.1`, `[::1]:6379`".into()
    })
}

impl Flags {
    /// Creates the host that these options describe.
    ///
    /// # Errors
    /// As [`Host::new`].
    pub(super) fn host(&self) -> Result<Host, Error> {
        Host::new(self.options())
    }

    /// The host's options for commands that use one sequence. The number of instances is small because
    /// reserving memory for them takes time at startup.
    pub(super) fn options(&self) -> Options {
        let mut options = Options {
            allow: self.allow_host.clone(),
            instances: INSTANCES,
            calls: Some(1),
            ca_file: self.ca_file.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
            ..Options::default()
        };
        if let Some(data) = &self.data {
            options.data = Some(data.clone());
        }
        if self.no_cache {
            options.cache = None;
        } else if let Some(cache) = &self.cache {
            options.cache = Some(cache.clone());
        }
        options
    }

    /// Takes the DSN from its file, if one is named.
    ///
    /// # Errors
    /// As [`dsn_file::read`].
    pub(super) fn read_dsn(&mut self) -> Result<(), Error> {
        if let Some(file) = self.dsn_file.take() {
            self.dsn = Some(dsn_file::read(&file)?);
        }
        Ok(())
    }

    /// The component to use.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no engine is named, and the DSN is one of an engine that is not the default.
    pub(super) fn source(&self) -> Result<Source, Error> {
        let engine = match (&self.component, self.engine) {
            (Some(file), _) => Source::File(file.clone()),
            (None, Some(engine)) => engine.into(),
            (None, None) => self.default_engine()?.into(),
        };
        Ok(if self.flake {
            Source::Flake(engine.into())
        } else {
            engine
        })
    }

    /// The engine if none is named. Schemes do not name engines, since some have the same.
    fn default_engine(&self) -> Result<Builtin, Error> {
        let scheme = match &self.dsn {
            Some(dsn) => dsn.split_once("://").map_or("", |(scheme, _)| scheme),
            None => "",
        };
        let others: Vec<_> = Builtin::ALL
            .iter()
            .filter(|engine| engine.about().has_scheme(scheme))
            .map(|engine| format!("`--engine {}`", engine.about().name))
            .collect();
        if others.is_empty() || Builtin::DEFAULT.about().has_scheme(scheme) {
            return Ok(Builtin::DEFAULT);
        }
        Err(Error::Invalid(format!(
            "the DSN begins with `{scheme}:`, but no engine is named; add {}",
            others.join(" or ")
        )))
    }

    /// The sequence to use.
    pub(super) fn config(&self) -> Config {
        let default = Config::default();
        Config {
            dsn: self.dsn.clone().unwrap_or(default.dsn),
            key: self.key.clone().unwrap_or(default.key),
            increment: self.set_increment,
            offset: self.set_offset,
        }
    }

    /// Opens the sequence, and raises it if `--set-last-int` was given.
    ///
    /// # Errors
    /// As [`Host::open`] and [`Raise::make`].
    pub(super) async fn open(&self, host: &Host) -> Result<Sequence, Error> {
        self.open_and(host, &mut self.raise()).await
    }

    /// The raise of `--set-last-int`, to be made once.
    pub(super) fn raise(&self) -> Raise {
        Raise::to(self.set_last_int)
    }

    /// Opens the sequence and makes a raise, which may be the retry of one with an unknown outcome.
    ///
    /// # Errors
    /// As [`Flags::source`], [`Host::open`] and [`Raise::make`].
    pub(super) async fn open_and(&self, host: &Host, raise: &mut Raise) -> Result<Sequence, Error> {
        let sequence = host.open(self.source()?, self.config()).await?;
        raise.make(&sequence).await?;
        self.leased(sequence)
    }

    /// The sequence with leases if `--lease` was given.
    ///
    /// # Errors
    /// As [`Sequence::lease`].
    pub(super) fn leased(&self, sequence: Sequence) -> Result<Sequence, Error> {
        match self.lease {
            Some(most) => sequence.lease(most),
            None => Ok(sequence),
        }
    }
}

/// Omits the DSN, which may contain a password.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags")
            .field("engine", &self.engine)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

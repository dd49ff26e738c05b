//! The command line of the binary: its commands, their options, and their exit codes.
//!
//! Each command is a type with a method `run`, in its own file. The binary parses the command line, runs
//! one command and reports its result.

mod completions;
mod compose;
mod dashes;
mod dsn_file;
mod engines;
mod exit;
mod flags;
mod inspect;
mod interrupt;
mod last;
mod ledger;
mod lines;
mod log;
mod metrics;
mod mint;
mod mode;
mod node;
mod node_status;
mod open_files;
mod publish;
mod raise;
mod serve;
mod token;

pub use exit::Failure;

use crate::runtime;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use flags::Flags;
use mode::Given;
use std::ffi::OsString;

/// The end of `--help`: exit codes, DSNs, examples.
fn after_help() -> String {
    format!("{BEFORE_FORMS}\n\n{}\n\n{AFTER_FORMS}", engines::forms())
}

const BEFORE_FORMS: &str = "\
Without a command, int-host mints integers and prints them, one per line.

Every option that lists [env: NAME] can also be set by that environment variable; the command line \
takes precedence. Long options may be written with one dash, as in -dsn.

Exit codes:
  0  success; also when interrupted (--continuous, serve) and when the reader of the output closed it
  1  the backend answered something unexpected, the output cannot be written, or there is no last \
integer yet
  2  the command line, the DSN, the key, the increment, the offset or the count is invalid
  3  the sequence was already past --set-last-int
  4  the sequence is exhausted
  5  access denied by the backend or the host: a wrong password, an address that is not allowed
  6  the backend is unavailable at the moment; a retry can help
  7  the component failed: it trapped, computed for too long, or violated its contract
  8  the host is misconfigured: an unreadable file, a data directory or a port in use";

const AFTER_FORMS: &str = "\
Examples:
  int-host                                       mints from the embedded store
  int-host --engine redis --dsn redis://localhost:6379 --count 10
  int-host last --engine mysql --dsn 'user:password@/database'
  int-host serve --port 8080                     then: curl localhost:8080
  int-host compose --engine redis -o intd-redis.wasm";

/// Mints unique, ordered integers from engines that are WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "int-host", version, about, after_help = after_help())]
pub struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Last(last::Last),
    Serve(Box<serve::Serve>),
    Node(Box<node::NodeCommand>),
    Ledger(ledger::Ledger),
    Publish(publish::Publish),
    Engines(engines::Engines),
    Inspect(inspect::Inspect),
    Compose(compose::Compose),
    Token(token::TokenCommand),
    Completions(completions::Completions),
}

impl Command {
    /// Whether the command reads the DSN, at least to learn which engine is meant.
    fn takes_dsn(&self) -> bool {
        match self {
            Self::Last(_)
            | Self::Serve(_)
            | Self::Publish(_)
            | Self::Inspect(_)
            | Self::Compose(_) => true,
            Self::Node(node) => node.starts_node(),
            Self::Ledger(_) | Self::Engines(_) | Self::Token(_) | Self::Completions(_) => false,
        }
    }
}

impl Cli {
    /// Parses the command line and the environment of this process.
    ///
    /// # Errors
    /// As clap reports them, which includes the output of `--help` and `--version`.
    pub fn parse() -> Result<Self, clap::Error> {
        Self::read(std::env::args_os())
    }

    /// Parses a command line whose first word is the program's name.
    ///
    /// # Errors
    /// As [`Cli::parse`].
    pub fn read(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let line = dashes::doubled(&command, line);
        let matches = command
            .try_get_matches_from_mut(line)
            .map_err(without_secrets)?;
        let mut cli =
            Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        let flags = &mut cli.flags;
        let pairs: [[(&str, &mut dyn Optional); 2]; 3] = [
            [
                ("engine", &mut flags.engine),
                ("component", &mut flags.component),
            ],
            [("dsn", &mut flags.dsn), ("dsn_file", &mut flags.dsn_file)],
            [
                ("cache", &mut flags.cache),
                ("no_cache", &mut flags.no_cache),
            ],
        ];
        for pair in pairs {
            one_of(&mut command, &matches, pair)?;
        }
        if let Some(Command::Serve(serve)) = &mut cli.command {
            serve.remember(Given::of(&command, &matches));
        }
        Ok(cli)
    }

    /// Runs the command.
    ///
    /// # Errors
    /// As the command reports them.
    pub fn run(self) -> Result<(), Failure> {
        let Self { mut flags, command } = self;
        if command.as_ref().is_none_or(Command::takes_dsn) {
            flags.read_dsn()?;
        }
        match command {
            // It sets up its own log, which is more verbose than that of the other commands.
            Some(Command::Serve(serve)) => serve.run(&flags),
            Some(Command::Node(node)) => node.run(&flags),
            Some(Command::Ledger(ledger)) => ledger.run(&flags),
            Some(Command::Publish(publish)) => publish.run(&flags),
            command => {
                log::start(flags.log_format, log::QUIET);
                match command {
                    None => mint::Mint::new(&flags).run(&flags),
                    Some(Command::Last(last)) => last.run(&flags),
                    Some(Command::Engines(engines)) => engines.run(),
                    Some(Command::Inspect(inspect)) => inspect.run(&flags),
                    Some(Command::Compose(compose)) => compose.run(&flags),
                    Some(Command::Token(token)) => token.run(),
                    Some(Command::Completions(completions)) => completions.run(),
                    Some(Command::Serve(serve)) => serve.run(&flags),
                    Some(Command::Node(node)) => node.run(&flags),
                    Some(Command::Ledger(ledger)) => ledger.run(&flags),
                    Some(Command::Publish(publish)) => publish.run(&flags),
                }
            }
        }
    }
}

/// The value of an option that may be absent.
trait Optional {
    fn is_given(&self) -> bool;
    fn forget(&mut self);
}

impl<T> Optional for Option<T> {
    fn is_given(&self) -> bool {
        self.is_some()
    }

    fn forget(&mut self) {
        *self = None;
    }
}

impl Optional for bool {
    fn is_given(&self) -> bool {
        *self
    }

    fn forget(&mut self) {
        *self = false;
    }
}

/// Allows only one of two options. If one is on the command line and the other one comes from the
/// environment, the command line takes precedence.
fn one_of(
    command: &mut clap::Command,
    matches: &ArgMatches,
    [(a, a_value), (b, b_value)]: [(&str, &mut dyn Optional); 2],
) -> Result<(), clap::Error> {
    if !(a_value.is_given() && b_value.is_given()) {
        return Ok(());
    }
    let typed = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    match (typed(a), typed(b)) {
        (true, false) => b_value.forget(),
        (false, true) => a_value.forget(),
        _ => {
            let [a, b] = [a, b].map(|id| id.replace('_', "-"));
            let message = format!("--{a} and --{b} cannot be used together; give one of them");
            return Err(command.error(ErrorKind::ArgumentConflict, message));
        }
    }
    Ok(())
}

/// Replaces an error in which clap would repeat a DSN or another URL, with its password.
fn without_secrets(error: clap::Error) -> clap::Error {
    let secret = |value: &ContextValue| match value {
        ContextValue::String(text) => looks_like_dsn(text),
        ContextValue::Strings(texts) => texts.iter().any(|text| looks_like_dsn(text)),
        _ => false,
    };
    let repeated = error.context().any(|(kind, value)| {
        matches!(
            kind,
            ContextKind::InvalidArg | ContextKind::InvalidSubcommand | ContextKind::InvalidValue
        ) && secret(value)
    });
    if !repeated {
        return error;
    }
    if let (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(option)) =
        (error.kind(), text(&error, ContextKind::InvalidArg))
    {
        let given = text(&error, ContextKind::InvalidValue);
        let repeats = |why: &str| {
            given.is_none_or(|given| password(given).is_some_and(|secret| why.contains(secret)))
        };
        let why = std::error::Error::source(&error)
            .map(ToString::to_string)
            .filter(|why| !repeats(why))
            .unwrap_or_else(|| "it is not repeated here, since it may have a password".into());
        let message = format!("invalid value for '{option}': {why}");
        return Cli::command().error(ErrorKind::ValueValidation, message);
    }
    Cli::command().error(
        ErrorKind::UnknownArgument,
        "unexpected DSN; give it with --dsn: --dsn 'DSN'",
    )
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

fn looks_like_dsn(text: &str) -> bool {
    text.contains("://") || text.contains('@')
}

/// What stands before the host of a URL, without the user's name if there is one.
fn password(url: &str) -> Option<&str> {
    let (login, _) = url.rsplit_once('@')?;
    let login = login.split_once("://").map_or(login, |(_, login)| login);
    Some(
        login
            .split_once(':')
            .map_or(login, |(_, password)| password),
    )
}

/// The runtime of commands that run sequentially.
fn one_thread() -> Result<tokio::runtime::Runtime, crate::Error> {
    runtime::start(&runtime::Options {
        threads: 1,
        ..runtime::Options::default()
    })
}

#[cfg(test)]
mod tests;

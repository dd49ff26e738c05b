//! The modes of `serve`, and the options that have an effect in each.

use super::serve::Protocol;
use crate::{Error, Shape, Source};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// How a server uses its component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Serves an engine's sequences over HTTP.
    Http,
    /// Serves an engine's sequences over the Redis protocol, and not over HTTP.
    Resp,
    /// Serves an engine's sequence over TCP alone.
    Tcp,
    /// Serves an HTTP endpoint that reads settings.
    Endpoint,
    /// Serves an HTTP endpoint that cannot read settings.
    Unconfigured,
}

use Mode::{Endpoint, Http, Resp, Tcp, Unconfigured};

/// The options of `serve` that do not have an effect in every mode, by their clap ids, with the modes in
/// which they have one. In other modes they are rejected: ignoring an option such as a token could leave
/// the server open.
const EFFECTIVE: [(&str, &[Mode]); 30] = [
    ("listen", &[Http, Resp, Tcp]),
    ("keys", &[Http, Resp, Endpoint]),
    ("max_keys", &[Http, Resp, Endpoint]),
    ("admin_token", &[Http, Endpoint]),
    ("mint_token", &[Http, Resp, Endpoint]),
    ("tokens", &[Http, Resp]),
    ("cors_origin", &[Http, Endpoint]),
    ("key", &[Http, Resp, Tcp, Endpoint]),
    ("set_increment", &[Http, Resp, Tcp, Endpoint]),
    ("set_offset", &[Http, Resp, Tcp, Endpoint]),
    ("queue", &[Http, Resp, Tcp, Endpoint]),
    ("answer_memory", &[Http, Endpoint]),
    ("calls", &[Http, Resp, Tcp]),
    ("flake", &[Http, Resp, Tcp]),
    ("lease", &[Http, Resp, Tcp]),
    ("set_last_int", &[Http, Resp, Tcp]),
    ("ledger", &[Http, Resp, Tcp]),
    ("ledger_policy", &[Http, Resp, Tcp]),
    ("ledger_token", &[Http, Resp, Tcp]),
    ("otlp", &[Http]),
    ("otlp_ratio", &[Http]),
    ("config", &[Endpoint]),
    ("max_requests", &[Endpoint, Unconfigured]),
    ("max_instances", &[Endpoint, Unconfigured]),
    ("max_instance_requests", &[Endpoint, Unconfigured]),
    ("max_instance_concurrency", &[Endpoint, Unconfigured]),
    ("idle_timeout", &[Endpoint, Unconfigured]),
    ("request_timeout", &[Endpoint, Unconfigured]),
    // For minting on the command line.
    ("count", &[]),
    ("continuous", &[]),
];

impl Mode {
    /// The mode for a component of this shape, served over these protocols. `None` stands for a built-in
    /// engine.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an HTTP endpoint over another protocol.
    pub(super) fn of(
        shape: Option<&Shape>,
        protocols: &[Protocol],
        source: &Source,
    ) -> Result<Self, Error> {
        let only_http = protocols.iter().all(|p| *p == Protocol::Http);
        match shape.filter(|shape| shape.exports_http()) {
            Some(shape) if only_http && shape.imports("wasi:config/") => Ok(Endpoint),
            Some(_) if only_http => Ok(Unconfigured),
            Some(_) => Err(Error::Invalid(format!(
                "{source} answers HTTP only; leave out other protocols, or serve its engine"
            ))),
            None if protocols.contains(&Protocol::Http) => Ok(Http),
            None if protocols.contains(&Protocol::Resp) => Ok(Resp),
            None => Ok(Tcp),
        }
    }

    /// The first clause of the error about options without effect in this mode, and an alternative to
    /// leaving them out.
    fn words(self, source: &Source) -> (String, &'static str) {
        match self {
            Http => (
                format!("{source} is an engine and not an HTTP endpoint, for which"),
                "",
            ),
            Resp => (
                "over the Redis protocol".into(),
                ", or serve over HTTP as well",
            ),
            Tcp => (
                "over TCP a client sends nothing and gets an integer of one sequence, so".into(),
                ", or serve over HTTP",
            ),
            Endpoint => (
                format!("{source} is an HTTP endpoint with its own engine, on which"),
                ", or serve the engine itself",
            ),
            Unconfigured => (
                format!(
                    "{source} is an HTTP endpoint that reads no settings (it does not import \
                     wasi:config/store), so"
                ),
                "",
            ),
        }
    }
}

/// The given options of `serve` that do not have an effect in every mode.
#[derive(Clone, Debug, Default)]
pub(super) struct Given(Vec<Mention>);

/// An option that was given.
#[derive(Clone, Debug)]
struct Mention {
    id: &'static str,
    /// The name to show to the user, without the value, which may be a secret.
    name: String,
}

impl Given {
    /// Collects them from the command line and the environment.
    pub(super) fn of(command: &Command, matches: &ArgMatches) -> Self {
        let serve = command.find_subcommand("serve");
        let (Some(serve), Some(matches)) = (serve, matches.subcommand_matches("serve")) else {
            return Self::default();
        };
        let all = || command.get_arguments().chain(serve.get_arguments());
        let mentions = EFFECTIVE.iter().filter_map(|(id, _)| {
            let arg = all().find(|arg| arg.get_id() == id)?;
            let name = mention(arg, matches)?;
            Some(Mention { id, name })
        });
        Self(mentions.collect())
    }

    /// Rejects options that have no effect in this mode.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the names of all such options.
    pub(super) fn check(&self, mode: Mode, source: &Source) -> Result<(), Error> {
        let effective = |id: &str| {
            EFFECTIVE
                .iter()
                .any(|(name, modes)| *name == id && modes.contains(&mode))
        };
        let names: Vec<_> = self
            .0
            .iter()
            .filter(|mention| !effective(mention.id))
            .map(|mention| mention.name.as_str())
            .collect();
        let (are, them) = match names.len() {
            0 => return Ok(()),
            1 => ("has", "it"),
            _ => ("have", "them"),
        };
        let (because, or) = mode.words(source);
        Err(Error::Invalid(format!(
            "{because} {} {are} no effect; leave {them} out{or}",
            names.join(", ")
        )))
    }
}

/// The option's name if it was given, with its environment variable if the value comes from there.
fn mention(arg: &Arg, matches: &ArgMatches) -> Option<String> {
    let id = arg.get_id().as_str();
    let given = match arg.get_action() {
        // The variable may be set to false.
        ArgAction::SetTrue => matches.get_flag(id),
        // An empty variable counts as not set.
        _ => matches
            .get_raw(id)
            .is_some_and(|mut values| values.any(|value| !value.is_empty())),
    };
    let option = format!("--{}", arg.get_long()?);
    match matches.value_source(id)? {
        _ if !given => None,
        ValueSource::CommandLine => Some(option),
        ValueSource::EnvVariable => {
            let variable = arg.get_env()?.to_string_lossy();
            Some(format!(
                "{option} (from the environment variable {variable})"
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    /// The options that have an effect in every mode.
    const EVERYWHERE: [&str; 23] = [
        "protocol",
        "host",
        "port",
        "max_connections",
        "threads",
        "busy_poll",
        "log_requests",
        "metrics",
        "tls_cert",
        "tls_key",
        "client_ca",
        "ca_file",
        "client_cert",
        "client_key",
        "engine",
        "component",
        "dsn",
        "dsn_file",
        "data",
        "allow_host",
        "cache",
        "no_cache",
        "log_format",
    ];

    fn source() -> Source {
        crate::Builtin::Memory.into()
    }

    fn given(line: &str) -> Given {
        let mut command = Cli::command();
        let matches = command
            .try_get_matches_from_mut(line.split_whitespace())
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        Given::of(&command, &matches)
    }

    #[test]
    fn it_is_known_of_every_option_where_it_has_an_effect() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("serve");
        let options: BTreeSet<_> = command
            .get_arguments()
            .chain(serve.get_arguments())
            .map(|arg| arg.get_id().as_str())
            .filter(|id| !matches!(*id, "help" | "version"))
            .collect();
        let listed = EFFECTIVE.iter().map(|(id, _)| *id).chain(EVERYWHERE);
        assert_eq!(listed.clone().count(), options.len(), "one is listed twice");
        assert_eq!(listed.collect::<BTreeSet<_>>(), options);
    }

    #[test]
    fn what_has_no_effect_is_refused_by_name() {
        let line = "int-host --set-last-int 5 serve --mint-token t --keys a,b --max-requests 3 \
                    --calls 2 --port 0 --config a=b";
        for (mode, refused) in [
            (Http, &["--max-requests", "--config"][..]),
            (
                Tcp,
                &["--mint-token", "--keys", "--max-requests", "--config"],
            ),
            (Endpoint, &["--set-last-int", "--calls"]),
            (
                Unconfigured,
                &[
                    "--set-last-int",
                    "--calls",
                    "--mint-token",
                    "--keys",
                    "--config",
                ],
            ),
        ] {
            let error = given(line).check(mode, &source()).expect_err("refused");
            let text = error.to_string();
            let words: BTreeSet<_> = text
                .split([' ', ',', ';'])
                .filter(|word| word.starts_with("--"))
                .collect();
            assert_eq!(words, refused.iter().copied().collect(), "{mode:?}: {text}");
            assert!(matches!(error, Error::Invalid(_)));
        }
    }

    #[test]
    fn what_is_not_given_is_not_refused() {
        for mode in [Http, Resp, Tcp, Endpoint, Unconfigured] {
            for line in [
                "int-host serve",
                "int-host --dsn memory:// serve --log-requests --threads 2",
                "int-host serve --keys=",
            ] {
                assert_eq!(
                    given(line).check(mode, &source()),
                    Ok(()),
                    "{line} {mode:?}"
                );
            }
        }
    }

    #[test]
    fn options_before_and_after_the_command_are_the_same() {
        for line in [
            "int-host --count 5 serve",
            "int-host serve --count 5",
            "int-host serve --continuous",
        ] {
            let error = given(line).check(Http, &source()).expect_err(line);
            assert!(error.to_string().contains("--co"), "{error}");
        }
    }
}

//! Tests of command line parsing, without any `ARTISANAL_*` variable.

use super::*;
use crate::{Builtin, Source};
use clap::ArgAction;

fn read(line: &str) -> Result<Cli, clap::Error> {
    Cli::read(
        std::iter::once("int-host")
            .chain(line.split_whitespace())
            .map(OsString::from),
    )
}

fn cli(line: &str) -> Cli {
    read(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn kind(line: &str) -> ErrorKind {
    read(line).expect_err(line).kind()
}

#[test]
fn clap_finds_no_mistake() {
    Cli::command().debug_assert();
}

#[test]
fn nothing_means_one_integer_from_the_embedded_store() {
    let cli = cli("");
    assert!(cli.command.is_none());
    assert!(matches!(
        cli.flags.source(),
        Ok(Source::Builtin(Builtin::Keyvalue))
    ));
    assert_eq!(cli.flags.config(), crate::Config::default());
    assert_eq!((cli.flags.count, cli.flags.continuous), (1, false));
}

#[test]
fn a_dsn_of_another_engine_needs_its_name() {
    let told = |dsn: &str| match cli(&format!("--dsn {dsn}")).flags.source() {
        Ok(source) => panic!("{source:?}"),
        Err(error) => error.to_string(),
    };
    assert_eq!(
        told("redis://:hunter2@h"),
        "the DSN begins with `redis:`, but no engine is named; add `--engine redis` or `--engine summitdb`"
    );
    for (dsn, engine) in [
        ("rediss+cluster://h", "redis"),
        ("mysql://u:p@h/d", "mysql"),
        ("postgres://u@h/d", "postgres"),
        ("https://h", "rqlite"),
        ("quorum://a,b,c", "quorum"),
    ] {
        assert!(told(dsn).contains(&format!("`--engine {engine}`")), "{dsn}");
    }
    for own in ["keyvalue://b", "unknown://h", "h"] {
        let source = cli(&format!("--dsn {own}")).flags.source();
        assert!(
            matches!(source, Ok(Source::Builtin(Builtin::Keyvalue))),
            "{own}"
        );
    }
}

#[test]
fn a_file_has_the_dsn() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dsn");
    std::fs::write(&path, "redis://:hunter2@h\n").expect("written");
    let line = format!("--engine redis --dsn-file {}", path.display());
    let mut flags = cli(&line).flags;
    assert_eq!(flags.read_dsn(), Ok(()));
    assert_eq!(flags.config().dsn, "redis://:hunter2@h");
    assert_eq!(
        kind(&format!("{line} --dsn redis://h")),
        ErrorKind::ArgumentConflict
    );
}

#[test]
fn flags_stand_before_or_after_a_command() {
    for line in [
        "--engine redis --dsn redis://h --key k last",
        "last --engine redis --dsn redis://h --key k",
        "--key k last --engine redis --dsn redis://h",
        "--key other last --key k --engine=redis --dsn=redis://h",
        "-engine redis -dsn redis://h -key k last",
        "last -engine=redis -dsn=redis://h -key k",
    ] {
        let Cli { flags, command } = cli(line);
        assert!(matches!(command, Some(Command::Last(_))), "{line}");
        assert!(
            matches!(flags.source(), Ok(Source::Builtin(Builtin::Redis))),
            "{line}"
        );
        let config = flags.config();
        assert_eq!(
            (config.dsn.as_str(), config.key.as_str()),
            ("redis://h", "k"),
            "{line}"
        );
    }
}

#[test]
fn the_names_of_the_original_programs_and_short_ones() {
    for line in [
        "--set-increment 5 --set-offset 3 --set-last-int 7 --continuous",
        "--increment 5 --offset 3 --last-int 7 --continuous",
        "-set-increment 5 -set-offset=3 -set-last-int 7 -continuous",
    ] {
        let flags = cli(line).flags;
        assert_eq!(
            (flags.set_increment, flags.set_offset, flags.set_last_int),
            (Some(5), Some(3), Some(7)),
            "{line}"
        );
        assert!(flags.continuous, "{line}");
    }
    // The engine rejects it, with its own message.
    assert_eq!(cli("--set-offset -3").flags.set_offset, Some(-3));
}

#[test]
fn the_address_of_a_server_is_not_a_global_flag() {
    assert_eq!(kind("--host localhost"), ErrorKind::UnknownArgument);
    let Some(Command::Serve(serve)) = cli("serve -protocol tcp -host ::1 -port 0").command else {
        panic!("serve")
    };
    let shown = format!("{serve:?}");
    assert!(
        shown.contains("Tcp") && shown.contains("::1") && shown.contains("port: 0"),
        "{shown}"
    );
}

#[test]
fn mistakes() {
    for (line, expected) in [
        ("--count 0", ErrorKind::ValueValidation),
        ("--count -1", ErrorKind::UnknownArgument),
        ("--count many", ErrorKind::ValueValidation),
        ("--lease 0", ErrorKind::ValueValidation),
        ("--lease 100001", ErrorKind::ValueValidation),
        ("--engine oracle", ErrorKind::InvalidValue),
        ("--set-increment two", ErrorKind::ValueValidation),
        (
            "--set-last-int 9223372036854775808",
            ErrorKind::ValueValidation,
        ),
        ("--allow-host :80", ErrorKind::ValueValidation),
        ("--log-format xml", ErrorKind::InvalidValue),
        (
            "--engine memory --component x.wasm",
            ErrorKind::ArgumentConflict,
        ),
        ("--cache x --no-cache", ErrorKind::ArgumentConflict),
        ("--dsn", ErrorKind::InvalidValue),
        ("mint", ErrorKind::InvalidSubcommand),
        ("last 5", ErrorKind::UnknownArgument),
        (
            "compose --engine memory",
            ErrorKind::MissingRequiredArgument,
        ),
        ("completions tcsh", ErrorKind::InvalidValue),
        ("serve --port 65536", ErrorKind::ValueValidation),
        ("serve --port -1", ErrorKind::UnknownArgument),
        ("serve --protocol udp", ErrorKind::InvalidValue),
        ("serve --queue 0", ErrorKind::ValueValidation),
        ("serve --max-requests 0", ErrorKind::ValueValidation),
        ("serve --admin-token=", ErrorKind::ValueValidation),
        ("serve --idle-timeout 5d", ErrorKind::ValueValidation),
        ("serve --config novalue", ErrorKind::ValueValidation),
    ] {
        assert_eq!(kind(line), expected, "{line}");
    }
}

#[test]
fn a_dsn_in_the_wrong_place_is_not_repeated() {
    for line in [
        "redis://u:hunter2@h",
        "last u:hunter2@/db",
        "--dns=redis://u:hunter2@h",
        "--engine redis://u:hunter2@h",
        "--allow-host u:hunter2@h",
        "serve --ledger http://u:hunter2@h",
        "serve --metrics u:hunter2@h",
    ] {
        let error = read(line).expect_err(line).to_string();
        assert!(!error.contains("hunter2"), "{line}: {error}");
    }
    let shown = format!(
        "{:?}",
        cli("--dsn redis://u:hunter2@h serve --admin-token hunter2 --config x=hunter2")
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_value_with_a_url_is_refused_with_the_reason() {
    for (line, expected) in [
        ("serve --listen ftp://h", "expected http://HOST:PORT"),
        ("serve --otlp ftp://h", "'--otlp"),
        #[cfg(feature = "ledger")]
        ("serve --ledger http://u:p4ss@h", "expected ws://HOST:PORT"),
        #[cfg(feature = "ledger")]
        ("publish --consumer http://h:1", "expected ws://HOST:PORT"),
        #[cfg(feature = "ledger")]
        ("ledger --gossip http://h:1", "'--gossip"),
        #[cfg(feature = "serve")]
        ("node init http://u:p4ss@h", "invalid value for '<"),
        ("--engine a://b", "'--engine <NAME>': it is not repeated"),
    ] {
        let error = read(line).expect_err(line).to_string();
        assert!(error.contains("invalid value for"), "{line}: {error}");
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn addresses_are_listed_or_repeated() {
    let allow = cli("--allow-host a,b:1 --allow-host [::1]:2")
        .flags
        .allow_host;
    assert_eq!(
        allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["a", "b:1", "[::1]:2"]
    );
}

#[test]
fn every_option_can_come_from_the_environment_and_shows_no_value() {
    let command = Cli::command();
    let all = command
        .get_arguments()
        .chain(command.find_subcommand("serve").unwrap().get_arguments());
    for arg in all {
        let name = arg.get_id().as_str();
        if matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        ) || name == "config"
        {
            continue;
        }
        let variable = format!(
            "ARTISANAL_{}",
            name.strip_prefix("set_").unwrap_or(name).to_uppercase()
        );
        assert_eq!(
            arg.get_env().and_then(|v| v.to_str()),
            Some(variable.as_str()),
            "{name}"
        );
        assert!(arg.is_hide_env_values_set(), "{name}");
    }
}

#[test]
fn an_empty_token_is_refused() {
    for line in [
        "serve --mint-token=",
        "serve --admin-token=",
        "node --node-token=",
    ] {
        let error = read(line).expect_err(line);
        assert_eq!(error.kind(), ErrorKind::ValueValidation, "{line}");
        assert!(error.to_string().contains("empty token"), "{error}");
    }
}

//! Classifies error replies of Redis.

use engine_dsn::Address;
use engine_guest::{Error, exhausted};
use engine_redis_wire::{Lost, ServerError, printable};
use std::net::IpAddr;

/// Why a command failed.
#[derive(Debug, PartialEq)]
pub(crate) enum Fault {
    /// A retry is useless.
    Final(Error),
    /// The connection was lost or the result is unknown; the same node may be retried.
    Lost(String),
    /// This node cannot serve at present; another one may, or the same one later.
    Elsewhere(String),
    /// A cluster node redirects to the node that has the key; None if it does not name that one.
    Moved(Option<Redirect>),
    /// The write was made, but too few replicas acknowledged it. Another server may have more replicas.
    Unacknowledged(String),
}

/// The redirect of a cluster node, `MOVED` or `ASK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redirect {
    /// Whether it is for one command alone (`ASK`), which must follow `ASKING`.
    pub(crate) once: bool,
    /// None for the host of the node that sent the redirect.
    host: Option<String>,
    port: u16,
}

impl Redirect {
    /// Parses `SLOT HOST:PORT`, with IPv6 addresses without brackets. Nodes that do not know their own address leave
    /// the host out.
    fn parse(once: bool, detail: &str) -> Option<Self> {
        let (host, port) = detail.split(' ').nth(1)?.rsplit_once(':')?;
        let port = Address::parse(&format!("h:{port}")).ok()?.port?;
        let host = match host {
            "" => None,
            host => match host.parse::<IpAddr>() {
                Ok(ip) => Some(ip.to_string()),
                Err(_) => Some(Address::parse(host).ok().filter(|a| a.port.is_none())?.host),
            },
        };
        Some(Self { once, host, port })
    }

    /// The address that this redirect names; None if it has no host.
    pub(crate) fn address(&self) -> Option<Address> {
        Some(Address {
            host: self.host.clone()?,
            port: Some(self.port),
        })
    }

    /// The address that this redirect from the node at `from` leads to.
    pub(crate) fn target(&self, from: &Address) -> Address {
        self.address().unwrap_or_else(|| Address {
            host: from.host.clone(),
            port: Some(self.port),
        })
    }
}

impl From<Lost> for Fault {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Broken(message) | Lost::Silent(message) => Self::Lost(message),
            Lost::Forbidden(message) => Self::Final(Error::Denied(message)),
            Lost::Strange(message) => Self::Final(Error::Other(message)),
        }
    }
}

/// The fault for an error reply. `words` is the text of the reply, without secrets.
pub(crate) fn fault(error: &ServerError, words: &str) -> Fault {
    let (code, detail) = cause(error);
    let says = |part: &str| detail.contains(part);
    match code {
        "ERR" if says("would overflow") => Fault::Final(exhausted()),
        "ERR" if says("max number of clients") => Fault::Elsewhere(words.to_owned()),
        "ERR" if says("can't run this command") => denied(words),
        "ERR" if says("not an integer") => Fault::Final(Error::Other(format!(
            "the key does not hold a 64-bit integer ({words}); delete it, or set it to the \
             greatest integer handed out so far"
        ))),
        "WRONGTYPE" => Fault::Final(Error::Other(format!(
            "the key holds a Redis value that is no counter ({words}); use another key"
        ))),
        "NOAUTH" => Fault::Final(Error::Denied(
            "Redis requires a password; write it into the DSN as `redis://:password@host` or \
             `redis://user:password@host`"
                .into(),
        )),
        "WRONGPASS" => Fault::Final(Error::Denied(
            "Redis does not accept the DSN's user and password".into(),
        )),
        "NOPERM" | "DENIED" => denied(words),
        "READONLY" => Fault::Elsewhere(format!(
            "this node is a replica, which cannot mint ({words}); list the primary in the DSN"
        )),
        "MOVED" | "ASK" => Fault::Moved(Redirect::parse(code == "ASK", detail)),
        // Temporary: starting up, busy with a script, without its primary or replicas, out of memory,
        // unable to write to disk, or a change of roles during a blocking command.
        "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "NOREPLICAS" | "OOM"
        | "MISCONF" | "UNBLOCKED" | "UNKILLABLE" => Fault::Elsewhere(words.to_owned()),
        _ => Fault::Final(Error::Other(format!("Redis returned an error: {words}"))),
    }
}

/// The code and the text of an error. If a command in a script failed, those of the command.
///
/// Redis 7 returns them itself. Older versions return the code `ERR`, with the command's error after
/// the positions in the script where it occurred: `ERR Error running script (call to f_…):
/// @user_script:5: @user_script: 5: -READONLY You can't write against a read only replica.`
fn cause(error: &ServerError) -> (&str, &str) {
    let (code, detail) = (error.code(), error.details().unwrap_or_default());
    if code != "ERR" || !detail.starts_with("Error running script") {
        return (code, detail);
    }
    let Some((_, inner)) = detail.split_once(": -") else {
        return (code, detail);
    };
    let (inner_code, inner_detail) = inner.split_once(' ').unwrap_or((inner, ""));
    let is_code = !inner_code.is_empty() && inner_code.bytes().all(|b| b.is_ascii_uppercase());
    if is_code {
        (inner_code, inner_detail)
    } else {
        (code, detail)
    }
}

/// Whether the server does not know the command, or does not permit it to this user.
pub(crate) fn is_about_the_command(error: &ServerError) -> bool {
    let unknown = || {
        error
            .details()
            .is_some_and(|detail| detail.starts_with("unknown command"))
    };
    error.code() == "NOPERM" || (error.code() == "ERR" && unknown())
}

/// The fault for an error reply to `AUTH`. Its text is not passed on: servers that do not know the
/// command repeat its arguments.
pub(crate) fn login(error: &ServerError) -> Fault {
    let detail = error.details().unwrap_or_default();
    match error.code() {
        "ERR" if detail.contains("max number of clients") => {
            Fault::Elsewhere("Redis has reached its maximum number of clients".into())
        }
        "LOADING" | "BUSY" | "MASTERDOWN" => {
            Fault::Elsewhere("Redis is not ready for logins".into())
        }
        "ERR" if detail.contains("without any password") => Fault::Final(Error::Denied(
            "the DSN has a password, but this Redis requires none; remove it from the DSN".into(),
        )),
        "ERR" if detail.contains("unknown command") || detail.contains("wrong number") => {
            Fault::Final(Error::Denied(
                "the DSN has a user or password, but this server does not support the login command"
                    .into(),
            ))
        }
        _ => Fault::Final(Error::Denied(
            "Redis does not accept the DSN's user and password".into(),
        )),
    }
}

/// The text of an error reply, with the password masked if the server repeats it.
pub(crate) fn words(error: &ServerError, password: Option<&str>) -> String {
    let text = match error.details() {
        Some(detail) => format!("{} {detail}", error.code()),
        None => error.code().to_owned(),
    };
    printable(&match password {
        Some(password) if !password.is_empty() => text.replace(password, "***"),
        _ => text,
    })
}

fn denied(words: &str) -> Fault {
    Fault::Final(Error::Denied(format!(
        "Redis denies access ({words}); the user needs INCRBY, GET, GETEX, SET, EVAL and, \
         with `wait`, WAIT on this key"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_redis_wire::Value;

    fn error(line: &str) -> ServerError {
        match engine_redis_wire::parse(format!("-{line}\r\n").as_bytes()) {
            Ok(Value::ServerError(error)) => error,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn judge(line: &str) -> Fault {
        let error = error(line);
        fault(&error, &words(&error, None))
    }

    #[test]
    fn final_errors_have_the_contracts_kinds() {
        assert_eq!(
            judge("ERR increment or decrement would overflow"),
            Fault::Final(exhausted())
        );
        for line in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOPERM User u has no permissions to run the 'incrby' command",
            "DENIED Redis is running in protected mode",
            "ERR The user executing the script can't run this command or subcommand script: x",
        ] {
            assert!(
                matches!(judge(line), Fault::Final(Error::Denied(_))),
                "{line}"
            );
        }
        for line in [
            "ERR value is not an integer or out of range",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "ERR DB index is out of range",
            "",
            "SOMETHING new",
        ] {
            assert!(
                matches!(judge(line), Fault::Final(Error::Other(_))),
                "{line}"
            );
        }
    }

    #[test]
    fn a_node_that_cannot_serve_now_is_left() {
        for line in [
            "READONLY You can't write against a read only replica.",
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script.",
            "MASTERDOWN Link with MASTER is down",
            "CLUSTERDOWN Hash slot not served",
            "NOREPLICAS Not enough good replicas to write.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "ERR max number of clients reached",
        ] {
            assert!(matches!(judge(line), Fault::Elsewhere(_)), "{line}");
        }
    }

    /// Messages as written by `luaPushError` and `evalGenericCommand` of Redis 6.2 and 5.
    #[test]
    fn what_fails_in_a_script_is_judged_by_the_command_that_failed() {
        let in_script = |inner: &str| {
            format!(
                "ERR Error running script (call to f_3fa86a1e0a29b5a1b5c0e7c1b7f0f5ad4ccb9f15): \
                 @user_script:18: @user_script: 18: {inner} "
            )
        };
        for inner in [
            "-READONLY You can't write against a read only replica.",
            "-READONLY You can't write against a read only slave.",
            "-NOREPLICAS Not enough good replicas to write.",
            "-OOM command not allowed when used memory > 'maxmemory'.",
            "-MISCONF Errors writing to the AOF file: No space left on device",
        ] {
            let fault = judge(&in_script(inner));
            assert!(matches!(fault, Fault::Elsewhere(_)), "{inner}: {fault:?}");
        }
        assert!(matches!(
            judge(&in_script(
                "-WRONGTYPE Operation against a key holding the wrong kind of value"
            )),
            Fault::Final(Error::Other(message)) if message.contains("no counter")
        ));
        assert!(matches!(
            judge(&in_script(
                "The user executing the script can't run this command or subcommand"
            )),
            Fault::Final(Error::Denied(_))
        ));
        // The message of Redis 7.
        assert!(matches!(
            judge(
                "READONLY You can't write against a read only replica. script: 3fa8, on \
                 @user_script:18."
            ),
            Fault::Elsewhere(_)
        ));
        for odd in [
            "ERR Error running script",
            "ERR Error running script: -",
            "ERR Error running script: - x",
            "ERR Error compiling script (new function): user_script:1: -READONLY",
        ] {
            assert!(matches!(judge(odd), Fault::Final(Error::Other(_))), "{odd}");
        }
    }

    #[test]
    fn redirects_name_their_target() {
        let from = Address::parse("10.0.0.1:7000").expect("an address");
        for (line, once, target) in [
            ("MOVED 3999 127.0.0.1:6381", false, "127.0.0.1:6381"),
            ("ASK 3999 127.0.0.1:6381", true, "127.0.0.1:6381"),
            (
                "MOVED 3999 Redis-A.example:6381",
                false,
                "redis-a.example:6381",
            ),
            ("MOVED 3999 ::1:6381", false, "[::1]:6381"),
            ("MOVED 3999 :6381", false, "10.0.0.1:6381"),
        ] {
            match judge(line) {
                Fault::Moved(Some(to)) => {
                    assert_eq!(
                        (to.once, to.target(&from).to_string()),
                        (once, target.into())
                    );
                }
                other => panic!("{line}: {other:?}"),
            }
        }
        for line in [
            "MOVED",
            "MOVED 1",
            "MOVED 1 h",
            "MOVED 1 ?:6381",
            "MOVED 1 a b:6381",
            "MOVED 1 h:0",
            "MOVED 1 h:1:2",
            "MOVED 1 [::1]:2:3",
            "ASK 1 h:99999",
        ] {
            assert_eq!(judge(line), Fault::Moved(None), "{line}");
        }
    }

    #[test]
    fn no_password_is_repeated() {
        let echo = error("ERR unknown command `AUTH`, with args beginning with: `u` `hunter2`");
        assert!(!format!("{:?}", login(&echo)).contains("hunter2"));
        assert_eq!(
            words(&error("ERR you sent hunter2"), Some("hunter2")),
            "ERR you sent ***"
        );
        assert_eq!(words(&error("ERR fine"), Some("")), "ERR fine");
    }
}

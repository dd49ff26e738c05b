//! What clients ask when they connect: greeting, password, names, and the list of commands.

use super::errors::shown;
use super::{Session, number};
use crate::serve::resp::command::{COMMANDS, Command};
use crate::serve::resp::reply::Version;

/// The longest name that a client may give its connection, in bytes.
const MAX_NAME: usize = 128;

impl Session<'_> {
    /// `HELLO [version [AUTH user password] [SETNAME name]]`. Nothing is changed if any part is wrong.
    pub(super) fn hello(&mut self, arguments: &[&[u8]], output: &mut Vec<u8>) {
        match self.greet(arguments) {
            Ok(()) => {}
            Err(error) => return self.replies(output).error(&error),
        }
        let (id, version) = (self.id, self.version);
        let mut replies = self.replies(output);
        replies.map(6);
        for (name, text) in [
            ("server", "int-host"),
            ("version", env!("CARGO_PKG_VERSION")),
            ("mode", "standalone"),
            ("role", "master"),
        ] {
            replies.bulk(name.as_bytes());
            replies.bulk(text.as_bytes());
        }
        replies.bulk(b"proto");
        replies.integer(version.number());
        replies.bulk(b"id");
        replies.integer(i64::try_from(id).unwrap_or(i64::MAX));
    }

    fn greet(&mut self, arguments: &[&[u8]]) -> Result<(), String> {
        let (version, mut options) = match arguments {
            [] => (self.version, arguments),
            [version, options @ ..] => {
                let version = match number::<i64>(version) {
                    Some(2) => Version::Two,
                    Some(3) => Version::Three,
                    Some(_) => return Err("NOPROTO unsupported protocol version".to_owned()),
                    None => {
                        return Err(
                            "ERR Protocol version is not an integer or out of range".to_owned()
                        );
                    }
                };
                (version, options)
            }
        };
        let mut name = None;
        let mut token = None;
        while let Some((option, rest)) = options.split_first() {
            options = match rest {
                [user, given, rest @ ..] if option.eq_ignore_ascii_case(b"AUTH") => {
                    token = Some((*user, *given));
                    rest
                }
                [given, rest @ ..] if option.eq_ignore_ascii_case(b"SETNAME") => {
                    name = Some(client_name(given)?);
                    rest
                }
                _ => return Err("ERR Syntax error in HELLO".to_owned()),
            };
        }
        match token {
            Some((user, token)) => self.access.login(user, token)?,
            None if !self.access.is_granted() => {
                return Err(
                    "NOAUTH HELLO must be called with the client already authenticated, otherwise \
                     the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the \
                     client and select the RESP protocol version at the same time"
                        .to_owned(),
                );
            }
            None => {}
        }
        self.version = version;
        self.name = name.unwrap_or_else(|| std::mem::take(&mut self.name));
        Ok(())
    }

    pub(super) fn client(&mut self, arguments: &[&[u8]], output: &mut Vec<u8>) {
        let Some((first, rest)) = arguments.split_first() else {
            return;
        };
        let upper = first.to_ascii_uppercase();
        match (upper.as_slice(), rest) {
            (b"ID", []) => {
                let id = i64::try_from(self.id).unwrap_or(i64::MAX);
                self.replies(output).integer(id);
            }
            (b"GETNAME", []) if self.name.is_empty() => self.replies(output).null(),
            (b"GETNAME", []) => self.replies(output).bulk(self.name.as_bytes()),
            (b"SETNAME", [name]) => {
                let named = client_name(name).map(|name| self.name = name);
                self.ok_or(named, output);
            }
            // Clients tell the name and version of their library. Nothing uses it.
            (b"SETINFO", [_, _]) => self.replies(output).ok(),
            (b"INFO", []) => {
                let version = self.version.number();
                let text = format!("id={} name={} db=0 resp={version}\n", self.id, self.name);
                self.replies(output).bulk(text.as_bytes());
            }
            _ => self.replies(output).error(&format!(
                "ERR unknown subcommand or wrong number of arguments for '{}'. Try CLIENT ID, GETNAME, \
                 SETNAME, SETINFO or INFO.",
                shown(first)
            )),
        }
    }

    /// `COMMAND`, `COMMAND COUNT`, and empty answers to the rest, which only help people who type.
    pub(super) fn describe(&self, arguments: &[&[u8]], output: &mut Vec<u8>) {
        let mut replies = self.replies(output);
        let Some((first, rest)) = arguments.split_first() else {
            replies.array(COMMANDS.len());
            for command in COMMANDS {
                command.describe(&mut replies);
            }
            return;
        };
        if first.eq_ignore_ascii_case(b"COUNT") {
            replies.integer(i64::try_from(COMMANDS.len()).unwrap_or(i64::MAX));
        } else if first.eq_ignore_ascii_case(b"DOCS") {
            replies.map(0);
        } else if first.eq_ignore_ascii_case(b"INFO") {
            replies.array(rest.len());
            for name in rest {
                match Command::find(name) {
                    Some(command) => command.describe(&mut replies),
                    None => replies.null(),
                }
            }
        } else {
            replies.error(&format!(
                "ERR unknown subcommand '{}'. Try COMMAND COUNT, DOCS or INFO.",
                shown(first)
            ));
        }
    }
}

/// The name that a client gives its connection, without spaces and line ends, as in Redis.
fn client_name(name: &[u8]) -> Result<String, String> {
    let valid = name.len() <= MAX_NAME && name.iter().all(u8::is_ascii_graphic);
    let name = valid.then(|| String::from_utf8_lossy(name).into_owned());
    name.ok_or_else(|| {
        format!(
            "ERR Client names are at most {MAX_NAME} bytes and cannot contain spaces, newlines or \
             special characters."
        )
    })
}

/// The reply to `INFO`.
pub(super) fn info() -> String {
    format!(
        "# Server\r\nint_host_version:{}\r\nredis_mode:standalone\r\nprocess_id:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    )
}

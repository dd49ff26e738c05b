//! The commands of the Redis protocol that mean something for integers.

use super::reply::Replies;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Incr,
    IncrBy,
    Get,
    MGet,
    Exists,
    Ping,
    Echo,
    Hello,
    Auth,
    Select,
    Client,
    Commands,
    Info,
    Quit,
}

/// All commands, the most frequent ones first.
pub(super) const COMMANDS: [Command; 14] = [
    Command::Incr,
    Command::IncrBy,
    Command::Get,
    Command::MGet,
    Command::Exists,
    Command::Ping,
    Command::Echo,
    Command::Hello,
    Command::Auth,
    Command::Select,
    Command::Client,
    Command::Commands,
    Command::Info,
    Command::Quit,
];

impl Command {
    /// The command with this name, in upper or lower case.
    pub(super) fn find(name: &[u8]) -> Option<Self> {
        COMMANDS
            .into_iter()
            .find(|command| name.eq_ignore_ascii_case(command.name().as_bytes()))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Incr => "incr",
            Self::IncrBy => "incrby",
            Self::Get => "get",
            Self::MGet => "mget",
            Self::Exists => "exists",
            Self::Ping => "ping",
            Self::Echo => "echo",
            Self::Hello => "hello",
            Self::Auth => "auth",
            Self::Select => "select",
            Self::Client => "client",
            Self::Commands => "command",
            Self::Info => "info",
            Self::Quit => "quit",
        }
    }

    /// Whether it takes this many arguments.
    pub(super) fn takes(self, arguments: usize) -> bool {
        match self {
            Self::Incr | Self::Get | Self::Echo | Self::Select => arguments == 1,
            Self::IncrBy => arguments == 2,
            Self::MGet | Self::Exists | Self::Client => arguments >= 1,
            Self::Ping => arguments <= 1,
            Self::Auth => (1..=2).contains(&arguments),
            Self::Hello | Self::Commands | Self::Info | Self::Quit => true,
        }
    }

    /// Whether it needs the token, if there is one.
    pub(super) fn needs_token(self) -> bool {
        // `HELLO` checks the token that it is given itself.
        !matches!(self, Self::Auth | Self::Hello | Self::Quit)
    }

    /// Writes the entry of `COMMAND`: name, arity, flags, and the positions of keys.
    pub(super) fn describe(self, replies: &mut Replies<'_>) {
        let (arity, flags, first, last) = match self {
            Self::Incr => (2, &["write", "fast"][..], 1, 1),
            Self::IncrBy => (3, &["write", "fast"][..], 1, 1),
            Self::Get => (2, &["readonly", "fast"][..], 1, 1),
            Self::MGet | Self::Exists => (-2, &["readonly", "fast"][..], 1, -1),
            Self::Echo | Self::Select => (2, &["fast"][..], 0, 0),
            Self::Client | Self::Auth => (-2, &[][..], 0, 0),
            Self::Ping | Self::Hello | Self::Commands | Self::Info | Self::Quit => {
                (-1, &[][..], 0, 0)
            }
        };
        replies.array(6);
        replies.bulk(self.name().as_bytes());
        replies.integer(arity);
        replies.array(flags.len());
        for flag in flags {
            replies.status(flag);
        }
        replies.integer(first);
        replies.integer(last);
        replies.integer(i64::from(first != 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_name_of_its_own() {
        for command in COMMANDS {
            assert_eq!(Command::find(command.name().as_bytes()), Some(command));
            let upper = command.name().to_ascii_uppercase();
            assert_eq!(Command::find(upper.as_bytes()), Some(command));
        }
        for unknown in [&b""[..], b"INC", b"INCRBYFLOAT", b"SET", b"\xff"] {
            assert_eq!(Command::find(unknown), None);
        }
    }
}

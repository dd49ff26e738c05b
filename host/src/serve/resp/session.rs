//! What a client of the Redis protocol may ask, and the answers.

mod access;
mod command_log;
mod errors;
mod handshake;
mod mints;

use super::command::Command;
use super::reply::{Replies, Version};
use crate::Sequence;
use crate::serve::recorder::{Client, Recorder};
use crate::serve::report::Report;
use access::Access;
use artisanal_core::{MAX_COUNT, Span};
use command_log::Answered;
use errors::{not_a_key, text, unknown};
use futures::future::try_join_all;
use intd::{App, Right, Told};
use mints::Mints;

/// The state of one connection.
pub(super) struct Session<'a> {
    app: &'a App<Sequence>,
    report: &'a Report,
    recorder: &'a Recorder,
    client: Client,
    id: u64,
    name: String,
    version: Version,
    access: Access<'a>,
    ending: bool,
    mints: Mints,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        app: &'a App<Sequence>,
        report: &'a Report,
        recorder: &'a Recorder,
        client: Client,
        id: u64,
    ) -> Self {
        Self {
            app,
            report,
            recorder,
            client,
            id,
            name: String::new(),
            version: Version::default(),
            access: Access::new(app),
            ending: false,
            mints: Mints::default(),
        }
    }

    /// Whether the client asked to be disconnected.
    pub(super) fn is_ending(&self) -> bool {
        self.ending
    }

    /// Runs a request. Its reply may be written later, by the next call of this or by [`Session::finish`],
    /// but always in order. Returns how many integers are to be minted, for [`Session::repeat`]; None for other requests.
    pub(super) async fn run<'r>(
        &mut self,
        mut arguments: impl ExactSizeIterator<Item = &'r [u8]>,
        output: &mut Vec<u8>,
    ) -> Option<u32> {
        let name = arguments.next()?;
        let arguments = Arguments::of(arguments);
        let arguments = arguments.as_slice();
        let command = Command::find(name);
        let granted = self.access.is_granted();
        if let (Some(Command::Incr), [key], true) = (command, arguments, granted) {
            return self.mint(key, 1, output).await;
        }
        if let (Some(Command::IncrBy), [key, count], true) = (command, arguments, granted)
            && let Some(count) = number(count)
            && (1..=MAX_COUNT).contains(&count)
        {
            return self.mint(key, count, output).await;
        }
        self.finish(output).await;
        let (begun, before) = (self.begin(), output.len());
        match check(name, command, arguments, granted) {
            Ok(command) => self.answer(command, arguments, output).await,
            Err(error) => {
                self.replies(output).error(&error);
                self.ending |= is_http(name);
            }
        }
        if let Some(begun) = begun {
            let answered = Answered {
                name,
                key: arguments
                    .first()
                    .copied()
                    .filter(|_| command == Some(Command::Get)),
                error: command_log::error(output.get(before..).unwrap_or_default()),
                ..Answered::default()
            };
            self.log_command(&answered, begun);
        }
        None
    }

    /// Runs the last request, which mints `count` integers, once more for each time that it stands at the beginning of `more`
    /// again. Returns how many requests this was: fewer if one call cannot mint more, and none if each has to be
    /// counted for a token.
    ///
    /// A pipeline mostly repeats one request, and comparing bytes costs a fraction of reading them.
    pub(super) fn repeat(&mut self, count: u32, request: &[u8], more: &[u8]) -> usize {
        if !self.access.is_unlimited() || request.is_empty() {
            return 0;
        }
        more.chunks_exact(request.len())
            .take_while(|next| *next == request && self.mints.push(count))
            .count()
    }

    /// Writes the replies of mints that are still to be made.
    pub(super) async fn finish(&mut self, output: &mut Vec<u8>) {
        if self.mints.counts.is_empty() {
            return;
        }
        let begun = self.begin();
        let minted = match std::str::from_utf8(&self.mints.key) {
            Ok(key) => match self.app.next(key, self.mints.sum).await {
                Ok(span) if self.recorder.is_on() => self.record(key, span).await.map_err(Some),
                other => other.map_err(Some),
            },
            Err(_) => Err(None),
        };
        let mut counts = std::mem::take(&mut self.mints.counts);
        self.mints.sum = 0;
        let mut replies = self.replies(output);
        match minted {
            Ok(span) => {
                let mut rest = Some(span);
                for count in &counts {
                    let Some(span) = rest else { break };
                    let (own, others) = span.split(*count);
                    replies.integer(own.last());
                    rest = others;
                    if let Some(begun) = begun {
                        self.log_mint(&self.mints.key, *count, Ok(own.last()), begun);
                    }
                }
            }
            Err(error) => {
                let text = error.as_ref().map_or_else(not_a_key, text);
                for count in &counts {
                    replies.error(&text);
                    if let Some(begun) = begun {
                        self.log_mint(&self.mints.key, *count, Err(&text), begun);
                    }
                }
                self.log(error.as_ref());
            }
        }
        counts.clear();
        self.mints.counts = counts;
    }

    /// Publishes the integers of each waiting mint.
    async fn record(&self, key: &str, span: Span) -> Result<Span, Told> {
        let key = key.into();
        let client = self.client.named(self.access.name());
        let mut rest = Some(span);
        let own = self.mints.counts.iter().map_while(|count| {
            let (own, others) = rest?.split(*count);
            rest = others;
            Some(self.recorder.minted(&key, &client, None, own))
        });
        try_join_all(own).await?;
        Ok(span)
    }

    async fn mint(&mut self, key: &[u8], count: u32, output: &mut Vec<u8>) -> Option<u32> {
        if let Err(error) = self.access.ask(Right::Mint, key, count) {
            self.finish(output).await;
            if let Some(begun) = self.begin() {
                self.log_mint(key, count, Err(&error), begun);
            }
            self.replies(output).error(&error);
            return None;
        }
        if self.mints.key != key {
            self.finish(output).await;
            self.mints.key.clear();
            self.mints.key.extend_from_slice(key);
        }
        if !self.mints.push(count) {
            self.finish(output).await;
            self.mints.push(count);
        }
        Some(count)
    }

    async fn answer(&mut self, command: Command, arguments: &[&[u8]], output: &mut Vec<u8>) {
        match (command, arguments) {
            // Valid increments do not get here.
            (Command::Incr | Command::IncrBy, arguments) => {
                let text = match arguments.get(1).map(|count| number::<i64>(count)) {
                    Some(None) => "ERR value is not an integer or out of range".to_owned(),
                    _ => format!(
                        "ERR value is out of range: this server mints integers, 1 to {MAX_COUNT} with \
                         one command"
                    ),
                };
                self.replies(output).error(&text);
            }
            (Command::Get, [key]) => self.get(key, output).await,
            (Command::MGet, keys) => {
                self.replies(output).array(keys.len());
                for key in keys {
                    self.get(key, output).await;
                }
            }
            (Command::Exists, keys) => self.exists(keys, output).await,
            (Command::Ping, []) => self.replies(output).status("PONG"),
            (Command::Ping | Command::Echo, [text, ..]) => self.replies(output).bulk(text),
            (Command::Hello, arguments) => self.hello(arguments, output),
            (Command::Auth, arguments) => {
                let allowed = match arguments {
                    [user, token] => self.access.login(user, token),
                    _ => self
                        .access
                        .login(b"", arguments.first().copied().unwrap_or_default()),
                };
                self.ok_or(allowed, output);
            }
            (Command::Select, [database]) => {
                let there = match number::<i64>(database) {
                    Some(0) => Ok(()),
                    Some(_) => Err("ERR DB index is out of range".to_owned()),
                    None => Err("ERR invalid DB index".to_owned()),
                };
                self.ok_or(there, output);
            }
            (Command::Client, arguments) => self.client(arguments, output),
            (Command::Commands, arguments) => self.describe(arguments, output),
            (Command::Info, _) => {
                let text = handshake::info();
                self.replies(output).bulk(text.as_bytes());
            }
            (Command::Quit, _) => {
                self.replies(output).ok();
                self.ending = true;
            }
            // Excluded by the number of arguments.
            (Command::Get | Command::Echo | Command::Select, _) => {
                self.replies(output).error("ERR syntax error");
            }
        }
    }

    async fn get(&self, key: &[u8], output: &mut Vec<u8>) {
        if let Err(error) = self.access.ask(Right::Read, key, 0) {
            return self.replies(output).error(&error);
        }
        let found = match std::str::from_utf8(key) {
            Ok(key) => self.app.last(key).await.map_err(Some),
            Err(_) => Err(None),
        };
        let mut replies = self.replies(output);
        match found {
            Ok(Some(last)) => replies.bulk(itoa::Buffer::new().format(last).as_bytes()),
            Ok(None) => replies.null(),
            Err(error) => {
                replies.error(&error.as_ref().map_or_else(not_a_key, text));
                self.log(error.as_ref());
            }
        }
    }

    /// How many of the keys have a sequence from which something was minted.
    async fn exists(&self, keys: &[&[u8]], output: &mut Vec<u8>) {
        let mut count = 0;
        for key in keys {
            if let Err(error) = self.access.ask(Right::Read, key, 0) {
                return self.replies(output).error(&error);
            }
            let Ok(key) = std::str::from_utf8(key) else {
                continue;
            };
            match self.app.last(key).await {
                Ok(last) => count += i64::from(last.is_some()),
                Err(error) if error.code == "no-sequence" => {}
                Err(error) => {
                    self.log(Some(&error));
                    return self.replies(output).error(&text(&error));
                }
            }
        }
        self.replies(output).integer(count);
    }

    fn ok_or(&self, done: Result<(), String>, output: &mut Vec<u8>) {
        match done {
            Ok(()) => self.replies(output).ok(),
            Err(error) => self.replies(output).error(&error),
        }
    }

    fn replies<'o>(&self, output: &'o mut Vec<u8>) -> Replies<'o> {
        Replies {
            buffer: output,
            version: self.version,
        }
    }

    fn log(&self, error: Option<&Told>) {
        if let Some(cause) = error.and_then(|error| error.cause.as_ref()) {
            self.report.log(cause);
        }
    }
}

/// The command, if it exists and may be run with these arguments. The error is the reply.
fn check(
    name: &[u8],
    command: Option<Command>,
    arguments: &[&[u8]],
    granted: bool,
) -> Result<Command, String> {
    let command = command.ok_or_else(|| unknown(name, arguments))?;
    if !command.takes(arguments.len()) {
        return Err(format!(
            "ERR wrong number of arguments for '{}' command",
            command.name()
        ));
    }
    if !granted && command.needs_token() {
        return Err("NOAUTH Authentication required.".to_owned());
    }
    Ok(command)
}

/// The arguments after the name. Few, mostly.
enum Arguments<'r> {
    One([&'r [u8]; 1]),
    All(Vec<&'r [u8]>),
}

impl<'r> Arguments<'r> {
    fn of(mut arguments: impl ExactSizeIterator<Item = &'r [u8]>) -> Self {
        match (arguments.len(), arguments.next()) {
            (1, Some(only)) => Self::One([only]),
            (_, first) => Self::All(first.into_iter().chain(arguments).collect()),
        }
    }

    fn as_slice(&self) -> &[&'r [u8]] {
        match self {
            Self::One(one) => one,
            Self::All(all) => all,
        }
    }
}

/// Whether this begins a request of HTTP or its second line. A page in a browser can send such requests to a server in
/// its user's network; Redis closes the connection as well, so that the body is not run.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

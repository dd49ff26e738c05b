//! Keeps one connection to the server that serves, and tries until the deadline.

use crate::locate::{self, Known};
use crate::refusal::{self, Fault};
use crate::settings::{PORT, Settings};
use engine_guest::Error;
use engine_guest::deadline::Deadline;
use engine_redis_wire::{Cmd, ServerError, Value, Wire, cmd};
use std::time::Duration;

/// The pauses between tries.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// By how much Redis may overrun the timeout of a command that waits, and some room.
const SERVER_TICK: Duration = Duration::from_millis(150);

/// The connection of the sequences that have one DSN.
pub(crate) struct Client {
    settings: Settings,
    known: Known,
    /// Taken out while it is used: what fails is not put back.
    wire: Option<Wire>,
    /// The node of the DSN that a cluster named last, dialled without asking the others.
    named: Option<usize>,
}

/// One open connection in one try of an operation.
pub(crate) struct Session<'a> {
    wire: &'a mut Wire,
    settings: &'a Settings,
    deadline: Deadline,
    /// Whether replies may still come that nobody waits for any more.
    out_of_step: bool,
}

/// A server whose write too few replicas acknowledged.
struct Short {
    host: String,
    why: String,
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            known: Known::default(),
            wire: None,
            named: None,
        }
    }

    /// Does it on the primary, which is looked for anew whenever a try fails, until it works, fails for
    /// good, or the time is over.
    pub(crate) fn run<T>(
        &mut self,
        mut operation: impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let deadline = Deadline::after(self.settings.timeout);
        let mut pause = PAUSE;
        let mut redirected = false;
        let mut short: Option<Short> = None;
        let mut told = String::new();
        loop {
            // A try at the last moment fails for want of time, which says nothing.
            let in_time = deadline.left().unwrap_or_default() >= self.settings.timeout / 4;
            // What a kept connection brings is old news: the server is dialled again, at once.
            let mut at_once = self.wire.is_some();
            let why = match self.try_once(deadline, &mut short, &mut operation) {
                Ok(answer) => return Ok(answer),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Lost(why) | Fault::Elsewhere(why)) => {
                    self.named = None;
                    why
                }
                Err(Fault::Moved(target)) => {
                    let at = target.as_ref().and_then(|target| self.listed(target));
                    self.named = Some(at.ok_or_else(|| moved(target.as_ref()))?);
                    at_once |= !redirected;
                    redirected = true;
                    "the cluster is being rebuilt".into()
                }
                Err(Fault::Unacknowledged(why)) => {
                    at_once = true;
                    why
                }
            };
            if in_time || told.is_empty() {
                told = why;
            }
            if !at_once {
                std::thread::sleep(pause.min(deadline.left().unwrap_or_default()));
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            if deadline.left().is_none() {
                return Err(Error::Unavailable(format!(
                    "Redis did not do it within {:?}: {told}",
                    self.settings.timeout
                )));
            }
        }
    }

    fn try_once<T>(
        &mut self,
        deadline: Deadline,
        short: &mut Option<Short>,
        operation: &mut impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => self.dial(deadline)?,
        };
        // Once more on the same server would only skip more integers.
        if let Some(short) = short.take_if(|short| short.host == wire.to()) {
            return Err(Fault::Final(Error::Unavailable(short.why)));
        }
        let mut session = Session::new(&mut wire, &self.settings, deadline);
        let answer = operation(&mut session);
        // A refusal is a whole reply; the connection that brought it is as good as before.
        if !session.out_of_step && matches!(answer, Ok(_) | Err(Fault::Final(_))) {
            self.wire = Some(wire);
        } else if let Err(Fault::Unacknowledged(why)) = &answer {
            *short = Some(Short {
                host: wire.to().to_owned(),
                why: why.clone(),
            });
        }
        answer
    }

    fn dial(&mut self, deadline: Deadline) -> Result<Wire, Fault> {
        match self.named.and_then(|at| self.settings.nodes.get(at)) {
            Some(node) => locate::connect(&self.settings, node, deadline),
            None => locate::dial(&self.settings, &mut self.known, deadline),
        }
    }

    fn listed(&self, target: &engine_dsn::Address) -> Option<usize> {
        if self.settings.watched.is_some() {
            return None;
        }
        self.settings
            .nodes
            .iter()
            .position(|node| node.host == target.host && node.port_or(PORT) == target.port_or(PORT))
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(wire: &'a mut Wire, settings: &'a Settings, deadline: Deadline) -> Self {
        Self {
            wire,
            settings,
            deadline,
            out_of_step: false,
        }
    }

    /// Sends commands and reads as many replies, which may be errors of the server.
    pub(crate) fn try_ask<const N: usize>(
        &mut self,
        commands: [&Cmd; N],
    ) -> Result<[Value; N], Fault> {
        let replies = self.wire.exchange(commands, self.deadline);
        self.out_of_step |= replies.is_err();
        Ok(replies?)
    }

    /// Sends commands and reads as many replies, none of which is an error.
    pub(crate) fn ask<const N: usize>(&mut self, commands: [&Cmd; N]) -> Result<[Value; N], Fault> {
        let replies = self.try_ask(commands)?;
        self.check(replies)
    }

    /// Turns the first error among the replies into a fault.
    pub(crate) fn check<const N: usize>(&self, replies: [Value; N]) -> Result<[Value; N], Fault> {
        for reply in &replies {
            if let Value::ServerError(error) = reply {
                return Err(refusal::fault(error, &self.words(error)));
            }
        }
        Ok(replies)
    }

    /// The text of an error reply, safe to show.
    pub(crate) fn words(&self, error: &ServerError) -> String {
        let password = self.settings.password.as_ref().map(|p| p.reveal());
        refusal::words(error, password)
    }

    /// Sends a command that writes. With `wait`, the second value says whether enough replicas
    /// have what this connection wrote.
    pub(crate) fn write(&mut self, command: &Cmd) -> Result<(Value, Result<(), Fault>), Fault> {
        let Some(wanted) = self.settings.wait else {
            let [reply] = self.ask([command])?;
            return Ok((reply, Ok(())));
        };
        // The server must give up before this side does, or its answer would never be read. It
        // looks at its clock ten times a second only.
        let left = self.deadline.left().unwrap_or_default();
        let patience = if self.settings.has_choice() {
            // Another server must be found and asked in what remains.
            left / 2
        } else {
            left.saturating_sub(SERVER_TICK).max(left / 2)
        };
        let millis = u64::try_from(patience.as_millis().max(1)).unwrap_or(u64::MAX);
        let [reply, acknowledged] = self.ask([command, cmd("WAIT").arg(wanted).arg(millis)])?;
        let enough = match engine_redis_wire::integer(&acknowledged) {
            Ok(count) if count >= i64::from(wanted) => Ok(()),
            Ok(count) => {
                let why = format!(
                    "{count} of {wanted} replicas acknowledged within {millis} ms; the write itself \
                     was made, so its integers are skipped"
                );
                Err(if self.settings.has_choice() {
                    Fault::Unacknowledged(why)
                } else {
                    Fault::Final(Error::Unavailable(why))
                })
            }
            Err(unreadable) => Err(Fault::Final(Error::Other(format!(
                "Redis answers WAIT with {}",
                unreadable.0
            )))),
        };
        Ok((reply, enough))
    }
}

fn moved(target: Option<&engine_dsn::Address>) -> Error {
    let target = target.map_or_else(|| "another node".to_owned(), ToString::to_string);
    Error::Other(format!(
        "this Redis is part of a cluster and {target} has the key; list that node in the DSN too: \
         redirects are followed to nodes that the DSN names, and to no others"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_redis_wire::stand_in::{Answer, StandIn};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn client(dsn: &str) -> Client {
        Client::new(Settings::read(&dsn.parse().expect(dsn)).expect(dsn))
    }

    fn ping(client: &mut Client) -> Result<i64, Error> {
        client.run(|session| {
            let [reply] = session.ask([&cmd("PING")])?;
            Ok(engine_redis_wire::integer(&reply).expect("an integer"))
        })
    }

    #[test]
    fn what_is_left_of_a_reply_is_not_taken_for_the_next_one() {
        let calls = AtomicUsize::new(0);
        let server = StandIn::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => {
                let rest = b":1\r\n".repeat(engine_redis_wire::MAX_REPLY_BYTES);
                Answer::Reply([b"$1000000\r\n".to_vec(), rest].concat())
            }
            _ => Answer::line(":2"),
        });
        let mut client = client(&format!("redis://{}", server.address()));
        assert!(matches!(ping(&mut client), Err(Error::Other(_))));
        assert_eq!(ping(&mut client), Ok(2));
    }

    #[test]
    fn a_lost_reply_is_asked_for_again() {
        let calls = AtomicUsize::new(0);
        let server = StandIn::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
            1 | 2 => Answer::Close,
            n => Answer::line(&format!(":{n}")),
        });
        let mut client = client(&format!("redis://{}", server.address()));
        assert_eq!(ping(&mut client), Ok(0));
        assert_eq!(ping(&mut client), Ok(3));
    }

    const PRIMARY: &str = "role:master\r\nmaster_replid:r0\r\n";
    const REPLICA: &str = "role:slave\r\nmaster_link_status:up\r\nmaster_replid:r0\r\n";
    const NODE: &str = "role:master\r\ncluster_enabled:1\r\n";

    /// Answers `INFO` with that text, and all else with a line.
    fn server(info: &'static str, line: &str) -> StandIn {
        let line = line.to_owned();
        StandIn::start(move |words| match words {
            ["INFO", ..] => text(info),
            _ => Answer::line(&line),
        })
    }

    fn text(text: &str) -> Answer {
        Answer::Reply(format!("${}\r\n{text}\r\n", text.len()).into_bytes())
    }

    #[test]
    fn the_primary_is_found_and_kept() {
        let replica = server(REPLICA, "-READONLY You can't write");
        let primary = server(PRIMARY, ":7");
        let mut client = client(&format!(
            "redis://{},{}",
            replica.address(),
            primary.address()
        ));
        assert_eq!(ping(&mut client), Ok(7));
        assert_eq!(ping(&mut client), Ok(7));
        // Three sections each; the other one is asked again at the end.
        assert_eq!((replica.commands(), primary.commands()), (6, 5));
    }

    /// The first one was a replica when it was asked. By the time that the second one was, the first
    /// had been promoted, and the second had come back as the primary that it once was.
    #[test]
    fn a_promotion_while_the_others_are_asked_is_noticed() {
        let asked = AtomicUsize::new(0);
        let promoted = StandIn::start(move |words| match words {
            ["INFO", "replication"] => match asked.fetch_add(1, Ordering::SeqCst) {
                0 => text("role:slave\r\nmaster_link_status:down\r\nmaster_replid:r0\r\n"),
                _ => text("role:master\r\nmaster_replid:r1\r\nmaster_replid2:r0\r\n"),
            },
            ["INFO", ..] => text(""),
            _ => Answer::line(":7"),
        });
        let old = server(PRIMARY, ":3");
        let mut client = client(&format!("redis://{},{}", promoted.address(), old.address()));
        assert_eq!(ping(&mut client), Ok(7));
    }

    /// When it was connected to, the old primary had been replaced, and had come back as what it was.
    #[test]
    fn a_failover_while_the_primary_is_connected_to_is_noticed() {
        let server = |mark: &'static str| {
            StandIn::start(move |words| match words {
                ["ROLE"] => Answer::Reply(b"*1\r\n$6\r\nmaster\r\n".to_vec()),
                _ => Answer::line(mark),
            })
        };
        let (old, promoted) = (server(":3"), server(":7"));
        let ports = [&old, &promoted].map(|server| {
            let address = server.address();
            address.rsplit_once(':').expect("a port").1.to_owned()
        });
        let asked = AtomicUsize::new(0);
        let list = |items: &[&str]| {
            let items: String = items
                .iter()
                .map(|item| format!("${}\r\n{item}\r\n", item.len()))
                .collect();
            items
        };
        let sentinel = StandIn::start(move |words| {
            // Two commands each time.
            let epoch = asked.fetch_add(1, Ordering::SeqCst) / 2;
            let port = &ports[epoch.min(1)];
            let reply = if words[1] == "MASTER" {
                let epoch = epoch.min(1).to_string();
                format!(
                    "*4\r\n{}",
                    list(&["flags", "master", "config-epoch", &epoch])
                )
            } else {
                format!("*2\r\n{}", list(&["127.0.0.1", port]))
            };
            Answer::Reply(reply.into_bytes())
        });
        let mut client = client(&format!("redis+sentinel://{}/n", sentinel.address()));
        assert_eq!(ping(&mut client), Ok(7));
        assert_eq!(old.commands(), 1, "ROLE alone");
        // The connection is kept.
        let before = sentinel.commands();
        assert_eq!(ping(&mut client), Ok(7));
        assert_eq!(sentinel.commands(), before);
    }

    #[test]
    fn a_silent_host_costs_a_part_of_the_time() {
        let primary = server(PRIMARY, ":7");
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let silent = silent.local_addr().expect("bound");
        for hosts in [
            format!("{silent},{}", primary.address()),
            format!("{},{silent},{silent},{silent}", primary.address()),
        ] {
            let mut client = client(&format!("redis://{hosts}?timeout=4s"));
            assert_eq!(ping(&mut client), Ok(7), "{hosts}");
        }
    }

    #[test]
    fn servers_that_do_not_tell_their_role_are_not_guessed_at() {
        let primary = server(PRIMARY, ":7");
        for (line, denied) in [
            (
                "-NOPERM User u has no permissions to run the 'info' command",
                true,
            ),
            ("-ERR unknown command 'INFO'", true),
            ("+OK", false),
        ] {
            let other = StandIn::start(move |_| Answer::line(line));
            let hosts = format!("{},{}", primary.address(), other.address());
            let error = ping(&mut client(&format!("redis://{hosts}"))).expect_err(line);
            match error {
                Error::Denied(why) if denied => assert!(why.contains("INFO"), "{why}"),
                Error::Other(why) if !denied => {
                    assert!(why.contains("role") || why.contains("primary"), "{why}")
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    /// Too few replicas: the server is looked for anew, once.
    #[test]
    fn what_is_not_acknowledged_is_tried_on_the_server_that_took_over() {
        let write = |client: &mut Client| {
            client.run(|session| {
                let (reply, enough) = session.write(&cmd("INCR"))?;
                enough?;
                Ok(engine_redis_wire::integer(&reply).expect("an integer"))
            })
        };
        let promoted = StandIn::start(|words| match words {
            ["INFO", "replication"] => {
                text("role:master\r\nmaster_replid:r1\r\nmaster_replid2:r0\r\n")
            }
            ["INFO", ..] => text(""),
            ["WAIT", ..] => Answer::line(":1"),
            _ => Answer::line(":7"),
        });
        let taken_over = std::sync::Arc::new(AtomicUsize::new(0));
        let flag = std::sync::Arc::clone(&taken_over);
        let lonely = StandIn::start(move |words| match words {
            ["INFO", "replication"] => text(PRIMARY),
            ["INFO", ..] => text(""),
            ["WAIT", ..] => {
                flag.store(1, Ordering::SeqCst);
                Answer::line(":0")
            }
            _ => Answer::line(":3"),
        });
        let flag = taken_over;
        let to = promoted.address();
        // Starts to answer when the other one is found to have no replica.
        let late = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let late_at = late.local_addr().expect("bound");
        std::thread::spawn(move || {
            for stream in late.incoming().flatten() {
                if flag.load(Ordering::SeqCst) == 1 {
                    let server = std::net::TcpStream::connect(&to).expect("it listens");
                    let (mut a, mut b) = (
                        stream.try_clone().expect("a"),
                        server.try_clone().expect("b"),
                    );
                    std::thread::spawn(move || std::io::copy(&mut a, &mut b));
                    let (mut a, mut b) = (stream, server);
                    std::thread::spawn(move || std::io::copy(&mut b, &mut a));
                }
            }
        });
        let hosts = format!("{},{late_at}", lonely.address());
        let mut both = client(&format!("redis://{hosts}?wait=1&timeout=10s"));
        assert_eq!(write(&mut both), Ok(7));
        // Nobody took over.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let closed_at = closed.local_addr().expect("bound");
        drop(closed);
        let hosts = format!("{},{closed_at}", lonely.address());
        let mut alone = client(&format!("redis://{hosts}?wait=1&timeout=10s"));
        let error = write(&mut alone).expect_err("no replica");
        assert!(
            matches!(&error, Error::Unavailable(why) if why.contains("0 of 1 replicas")),
            "{error:?}"
        );
    }

    #[test]
    fn clusters_are_followed_to_nodes_that_the_dsn_names() {
        let other = server(NODE, ":7");
        let node = server(NODE, &format!("-MOVED 1 {}", other.address()));
        let mut both = client(&format!("redis://{},{}", node.address(), other.address()));
        assert_eq!(ping(&mut both), Ok(7));
        let mut alone = client(&format!("redis://{}", node.address()));
        let error = ping(&mut alone).expect_err("a redirect to a stranger");
        assert!(
            matches!(&error, Error::Other(message) if message.contains(&other.address())),
            "{error:?}"
        );
    }

    #[test]
    fn nodes_that_never_serve_are_tried_in_moderation() {
        let node = StandIn::start(|_| Answer::line("-LOADING Redis is loading"));
        let mut client = client(&format!("redis://{}?timeout=500ms", node.address()));
        assert!(matches!(ping(&mut client), Err(Error::Unavailable(_))));
        // 10 + 20 + 40 + 80 + 160 + 200 ms: seven tries, however slow the machine is.
        assert!((1..=7).contains(&node.commands()), "{}", node.commands());
    }

    #[test]
    fn a_password_is_not_repeated() {
        let server = StandIn::start(|words| {
            Answer::line(&format!(
                "-ERR unknown command, args beginning with: {words:?}"
            ))
        });
        let mut client = client(&format!("redis://u:hunter2@{}", server.address()));
        let error = ping(&mut client).expect_err("no login");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        assert!(matches!(error, Error::Denied(_)), "{error:?}");
    }
}

//! Keeps one connection to whichever node serves, and tries until the deadline.

use crate::refusal::{self, Fault};
use crate::settings::{PORT, Settings};
use engine_guest::Error;
use engine_guest::deadline::Deadline;
use engine_redis_wire::{Cmd, Value, Wire, cmd};
use std::time::Duration;

/// The pauses after every node was tried once.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// By how much Redis may overrun the timeout of a command that waits, and some room.
const SERVER_TICK: Duration = Duration::from_millis(150);

/// The connection of the sequences that have one DSN.
pub(crate) struct Client {
    settings: Settings,
    /// Taken out while it is used: what fails is not put back.
    wire: Option<Wire>,
    /// The node that `wire` leads to, or that is dialled next.
    at: usize,
}

/// One open connection in one try of an operation.
pub(crate) struct Session<'a> {
    wire: &'a mut Wire,
    settings: &'a Settings,
    deadline: Deadline,
    /// Whether replies may still come that nobody waits for any more.
    out_of_step: bool,
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            wire: None,
            at: 0,
        }
    }

    /// Does it on one node after another until it works, fails for good, or the time is over.
    pub(crate) fn run<T>(
        &mut self,
        mut operation: impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let deadline = Deadline::after(self.settings.timeout);
        let nodes = self.settings.nodes.len();
        let mut tried = 0;
        let mut pause = PAUSE;
        loop {
            let kept = self.wire.is_some();
            let next = (self.at + 1) % nodes;
            let (at, why) = match self.try_once(deadline, nodes - tried % nodes, &mut operation) {
                Ok(answer) => return Ok(answer),
                Err(Fault::Final(error)) => return Err(error),
                // The server may have been restarted since: dial it again, at once.
                Err(Fault::Lost(why)) if kept => (self.at, why),
                Err(Fault::Lost(why) | Fault::Elsewhere(why)) => (next, why),
                Err(Fault::Moved(target)) => {
                    let at = target.as_ref().and_then(|target| self.listed(target));
                    (
                        at.ok_or_else(|| moved(target.as_ref()))?,
                        "the cluster is being rebuilt".into(),
                    )
                }
            };
            if at != self.at || !kept {
                tried += 1;
                if tried % nodes == 0 {
                    std::thread::sleep(pause.min(deadline.left().unwrap_or_default()));
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            self.at = at;
            if deadline.left().is_none() {
                return Err(Error::Unavailable(format!(
                    "Redis did not do it within {:?}: {why}",
                    self.settings.timeout
                )));
            }
        }
    }

    fn try_once<T>(
        &mut self,
        deadline: Deadline,
        nodes_left: usize,
        operation: &mut impl FnMut(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => self.dial(deadline, nodes_left)?,
        };
        let mut session = Session::new(&mut wire, &self.settings, deadline);
        let answer = operation(&mut session);
        // A refusal is a whole reply; the connection that brought it is as good as before.
        if !session.out_of_step && matches!(answer, Ok(_) | Err(Fault::Final(_))) {
            self.wire = Some(wire);
        }
        answer
    }

    /// Connects and logs in. A node that does not answer costs its share of the time, not all.
    fn dial(&self, deadline: Deadline, nodes_left: usize) -> Result<Wire, Fault> {
        let settings = &self.settings;
        let Some(node) = settings.nodes.get(self.at) else {
            return Err(Fault::Final(Error::Other("there is no such node".into())));
        };
        let share = deadline.left().unwrap_or_default() / u32::try_from(nodes_left).unwrap_or(1);
        let deadline = Deadline::after(share);
        let mut wire = Wire::dial(node, PORT, deadline)?;
        let mut session = Session::new(&mut wire, settings, deadline);
        if let Some(password) = &settings.password {
            let mut auth = cmd("AUTH");
            if let Some(user) = &settings.user {
                auth.arg(user);
            }
            auth.arg(password.reveal());
            let [reply] = session.try_ask([&auth])?;
            if let Value::ServerError(error) = reply {
                return Err(refusal::login(&error));
            }
        }
        if settings.database > 0 {
            session.ask([cmd("SELECT").arg(settings.database)])?;
        }
        Ok(wire)
    }

    fn listed(&self, target: &engine_dsn::Address) -> Option<usize> {
        self.settings
            .nodes
            .iter()
            .position(|node| node.host == target.host && node.port_or(PORT) == target.port_or(PORT))
    }
}

impl<'a> Session<'a> {
    fn new(wire: &'a mut Wire, settings: &'a Settings, deadline: Deadline) -> Self {
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
                let password = self.settings.password.as_ref().map(|p| p.reveal());
                return Err(refusal::fault(error, &refusal::words(error, password)));
            }
        }
        Ok(replies)
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
        let patience = left.saturating_sub(SERVER_TICK).max(left / 2);
        let millis = u64::try_from(patience.as_millis().max(1)).unwrap_or(u64::MAX);
        let [reply, acknowledged] = self.ask([command, cmd("WAIT").arg(wanted).arg(millis)])?;
        let enough = match engine_redis_wire::integer(&acknowledged) {
            Ok(count) if count >= i64::from(wanted) => Ok(()),
            Ok(count) => Err(Fault::Final(Error::Unavailable(format!(
                "{count} of {wanted} replicas acknowledged within {millis} ms; the write itself \
                 was made, so its integers are skipped"
            )))),
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

    #[test]
    fn the_node_that_can_write_is_found_and_kept() {
        let replica = StandIn::start(|_| Answer::line("-READONLY You can't write"));
        let primary = StandIn::start(|_| Answer::line(":7"));
        let mut client = client(&format!(
            "redis://{},{}",
            replica.address(),
            primary.address()
        ));
        assert_eq!(ping(&mut client), Ok(7));
        assert_eq!(ping(&mut client), Ok(7));
        assert_eq!((replica.commands(), primary.commands()), (1, 2));
    }

    #[test]
    fn clusters_are_followed_to_nodes_that_the_dsn_names() {
        let other = StandIn::start(|_| Answer::line(":7"));
        let moved = format!("-MOVED 1 {}", other.address());
        let node = StandIn::start(move |_| Answer::line(&moved));
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

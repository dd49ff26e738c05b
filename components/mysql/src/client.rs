//! Keeps one connection to whichever server can write, and tries until the deadline.

use crate::refusal::Fault;
use crate::session::{Operation, Session};
use crate::settings::{PORT, Settings};
use engine_dsn::Address;
use engine_guest::deadline::Deadline;
use engine_guest::{Error, Key};
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// The pauses after every server was tried once.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// The connection of one sequence.
pub(crate) struct Client {
    settings: Settings,
    key: Key,
    runtime: Runtime,
    /// Taken out while it is used: what fails is not put back.
    session: Option<Session>,
    /// The server that `session` leads to, or that is dialled next.
    at: usize,
    /// The sequence was seen in the database.
    seen: bool,
}

impl Client {
    pub(crate) fn new(settings: Settings, key: Key) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| Error::Other(format!("no sockets here: {error}")))?;
        Ok(Self {
            settings,
            key,
            runtime,
            session: None,
            at: 0,
            seen: false,
        })
    }

    /// Does it on one server after another until it works, fails for good, or the time is over.
    pub(crate) fn run(&mut self, operation: Operation) -> Result<Option<i64>, Error> {
        let deadline = Deadline::after(self.settings.timeout);
        let nodes = self.settings.nodes.len();
        let mut tried = 0;
        let mut pause = PAUSE;
        let mut reason = None;
        loop {
            let kept = self.session.is_some();
            let at = match self.try_once(deadline, nodes - tried % nodes, operation) {
                Ok(answer) => return Ok(answer),
                Err(Fault::Final(error)) => return Err(error),
                // The server may have been restarted since: dial it again, at once.
                Err(Fault::Lost(why)) => {
                    reason = Some(why);
                    self.at
                }
                Err(Fault::Elsewhere(why)) => {
                    reason = Some(why);
                    (self.at + 1) % nodes
                }
                // What went wrong before tells more.
                Err(Fault::Slow(why)) => {
                    reason.get_or_insert(why);
                    (self.at + 1) % nodes
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
                    "the database did not do it within {:?}: {}",
                    self.settings.timeout,
                    reason.unwrap_or_default()
                )));
            }
        }
    }

    fn try_once(
        &mut self,
        deadline: Deadline,
        nodes_left: usize,
        operation: Operation,
    ) -> Result<Option<i64>, Fault> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.dial(deadline, nodes_left)?,
        };
        self.seen |= session.exists();
        let left = deadline.left().unwrap_or_default();
        let answer = block_on(
            &self.runtime,
            left,
            session.perform(operation, &self.key, &self.settings, self.seen),
        );
        // A session that failed is dropped here, outside of the runtime, so that its socket is
        // closed now: inside, the driver would leave that, and whatever the server has locked
        // for it, to a task that runs when somebody calls again.
        let answer = answer
            .unwrap_or_else(|| Err(Fault::Slow(format!("{} does not answer", session.to()))))?;
        self.seen |= session.exists();
        self.session = Some(session);
        Ok(answer)
    }

    /// Connects. A server that does not answer costs its share of the time, not all.
    fn dial(&self, deadline: Deadline, nodes_left: usize) -> Result<Session, Fault> {
        let Some(node) = self.settings.nodes.get(self.at) else {
            return Err(Fault::Final(Error::Other("there is no such server".into())));
        };
        let (to, ips) = resolve(node)?;
        let left = deadline.left().unwrap_or_default();
        let share = left / u32::try_from(nodes_left).unwrap_or(u32::MAX);
        let dialled = block_on(
            &self.runtime,
            share,
            Session::dial(&to, ips, &self.key, &self.settings),
        );
        dialled.unwrap_or_else(|| {
            Err(Fault::Slow(format!(
                "{to} does not answer, or does not let anybody in"
            )))
        })
    }
}

/// Runs to the end, or for that long. None when that was not enough.
///
/// The component's thread waits meanwhile. What was not finished is dropped outside of the
/// runtime.
fn block_on<T>(runtime: &Runtime, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work: Pin<Box<_>> = Box::pin(work);
    let done = runtime.block_on(async { timeout(limit, work.as_mut()).await });
    drop(work);
    done.ok()
}

/// The addresses of a node. The resolution of a name is the host's and has its own time limit.
fn resolve(node: &Address) -> Result<(Address, Vec<IpAddr>), Fault> {
    let to = Address {
        host: node.host.clone(),
        port: Some(node.port_or(PORT)),
    };
    let ips = match node.ip() {
        Some(ip) => vec![ip],
        None => (node.host.as_str(), node.port_or(PORT))
            .to_socket_addrs()
            .map_err(|error| {
                Fault::network(&error, &format!("cannot find {}", node.host)).while_dialling()
            })?
            .map(|address| address.ip())
            .collect(),
    };
    Ok((to, ips))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_resolution() {
        let (to, ips) = resolve(&Address::parse("[::1]").expect("an address")).expect("found");
        assert_eq!(to.to_string(), "[::1]:3306");
        assert_eq!(ips, ["::1".parse::<IpAddr>().expect("an address")]);
    }
}

//! The options of a ledger that is one of several members.

use crate::Error;
use crate::ledger::Share;
use crate::ledger::members::{self, Members, Options};
use artisanal_core::Secret;
use http::Uri;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::lookup_host;
use tokio::sync::watch;

/// The shortest secret for gossip.
const MIN_SECRET: usize = 16;

/// How this ledger takes part.
#[derive(Debug, clap::Args)]
pub(super) struct Membership {
    /// Share the work with other ledgers on the same stream: tell them over UDP, at this address of this machine, which part
    /// of the keys this ledger has
    ///
    /// Each partition of the keys has three owners. A ledger passes on questions about other partitions. Without
    /// --gossip-secret this port belongs on a network that only the members can reach.
    #[arg(
        long,
        env = "ARTISANAL_LEDGER_GOSSIP",
        value_name = "HOST:PORT",
        value_parser = host_and_port,
        hide_env_values = true
    )]
    gossip: Option<String>,
    /// The gossip addresses of some members, of which one has to be alive. A name may have the addresses of many
    #[arg(
        long,
        env = "ARTISANAL_LEDGER_JOIN",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        value_parser = host_and_port,
        requires = "gossip",
        hide_env_values = true
    )]
    join: Vec<String>,
    /// The name of this member, which no other one has, and which it has again after a restart [default: the host and the
    /// port of --advertise]
    #[arg(
        long,
        env = "ARTISANAL_LEDGER_MEMBER",
        value_name = "NAME",
        value_parser = name,
        hide_env_values = true
    )]
    member: Option<String>,
    /// Where other members reach this one: http://HOST:PORT [default: --host and --port]
    #[arg(
        long,
        env = "ARTISANAL_LEDGER_ADVERTISE",
        value_name = "URL",
        value_parser = advertised,
        hide_env_values = true
    )]
    advertise: Option<Uri>,
    /// A secret of at least 16 characters that all members have: gossip of anybody else is ignored. Set it in the
    /// environment, since other users can see the command line
    #[arg(
        long,
        env = "ARTISANAL_LEDGER_GOSSIP_SECRET",
        value_name = "SECRET",
        value_parser = secret,
        requires = "gossip",
        hide_env_values = true
    )]
    gossip_secret: Option<Secret>,
}

impl Membership {
    /// Fails if the members cannot share the work, because each has a store of its own.
    pub(super) fn check(&self, shared: bool) -> Result<(), Error> {
        if self.gossip.is_some() && !shared {
            Err(Error::Misconfigured(
                "--gossip is for ledgers that share one stream (--store nats://…): what is in the store of --data, the other members would lack"
                    .into(),
            ))
        } else {
            Ok(())
        }
    }

    /// Begins to take part. `listening` is where the server listens, `host` the name of that; `held` are the partitions
    /// that are held. Returns those that should be, if there are other members.
    pub(super) async fn start(
        &self,
        cluster: &str,
        (host, listening): (&str, &[SocketAddr]),
        held: watch::Receiver<Arc<Share>>,
    ) -> Result<(Members, Option<watch::Receiver<Arc<Share>>>), Error> {
        let address = match (&self.advertise, listening.first()) {
            (Some(address), _) => Some(address.clone()),
            (None, Some(first)) if !first.ip().is_unspecified() => own(host, first.port()),
            _ => None,
        };
        let name = match (&self.member, &address) {
            (Some(name), _) => name.clone(),
            (None, Some(address)) => name_of(address),
            (None, None) => "ledger".to_owned(),
        };
        let Some(gossip) = &self.gossip else {
            return Ok((Members::alone(&name, address), None));
        };
        let address = address.ok_or_else(|| {
            Error::Misconfigured(format!(
                "other members do not know where --host {host} is; say it with --advertise http://HOST:PORT"
            ))
        })?;
        let listen = resolve(gossip).await?;
        let advertised = if listen.ip().is_unspecified() {
            let host = address.host().unwrap_or_default();
            resolve(&format!("{host}:{}", listen.port())).await?
        } else {
            listen
        };
        let options = Options {
            advertised,
            join: self.join.clone(),
            secret: self.gossip_secret.clone(),
            ..Options::new(&name, cluster, listen, address.clone())
        };
        let (members, share) = Members::start(options, held)
            .await
            .map_err(|error| Error::Misconfigured(error.to_string()))?;
        tracing::info!("this is the member {name} at {address}, with gossip at udp://{advertised}");
        Ok((members, Some(share)))
    }
}

/// The address that other programs use for a server that listens at this host.
fn own(host: &str, port: u16) -> Option<Uri> {
    let bare = host.trim_matches(['[', ']']);
    match bare.parse() {
        Ok(IpAddr::V6(address)) => members::address(&format!("http://[{address}]:{port}")),
        _ => members::address(&format!("http://{bare}:{port}")),
    }
}

/// A name that comes of an address.
fn name_of(address: &Uri) -> String {
    let text = address.authority().map_or("ledger", |whole| whole.as_str());
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = text
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .collect();
    name.get(..64).unwrap_or(&name).to_owned()
}

/// The address of a name, of IPv4 if it has one.
async fn resolve(text: &str) -> Result<SocketAddr, Error> {
    let wrong = |why: &dyn std::fmt::Display| Error::Misconfigured(format!("{text}: {why}"));
    let found = lookup_host(text).await.map_err(|error| wrong(&error))?;
    let mut all: Vec<_> = found.collect();
    all.sort_by_key(|address| !address.is_ipv4());
    all.first()
        .copied()
        .ok_or_else(|| wrong(&"the name has no address"))
}

fn host_and_port(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':');
    let fits = parts.is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(['/', '@'])
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if fits {
        Ok(text.to_owned())
    } else {
        Err("expected HOST:PORT".to_owned())
    }
}

fn name(text: &str) -> Result<String, String> {
    if members::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 64 letters, digits, `-`, `_` and `.`".to_owned())
    }
}

fn advertised(text: &str) -> Result<Uri, String> {
    members::address(text).ok_or_else(|| "expected http://HOST:PORT".to_owned())
}

fn secret(text: &str) -> Result<Secret, String> {
    if text.len() >= MIN_SECRET {
        Ok(Secret::new(text.to_owned()))
    } else {
        Err(format!("expected at least {MIN_SECRET} characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        membership: Membership,
    }

    fn read(arguments: &str) -> Option<Membership> {
        let all = ["ledger"].into_iter().chain(arguments.split_whitespace());
        Command::try_parse_from(all)
            .ok()
            .map(|read| read.membership)
    }

    #[test]
    fn options_are_checked() {
        let long = "--gossip h:1 --join a:1,b.example.com:2 --member m-1 --advertise http://h:6660 \
                    --gossip-secret 0123456789abcdef";
        let read_long = read(long).unwrap();
        assert_eq!(read_long.join, ["a:1", "b.example.com:2"]);
        assert_eq!(read_long.gossip.as_deref(), Some("h:1"));
        for wrong in [
            "--join a:1",
            "--gossip h",
            "--gossip h:0",
            "--gossip :1",
            "--gossip h:1 --join a",
            "--member a/b",
            "--advertise https://h:1",
            "--advertise http://h",
            "--gossip h:1 --gossip-secret short",
        ] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn members_share_a_store() {
        let gossips = read("--gossip h:1").unwrap();
        assert!(gossips.check(true).is_ok());
        let refused = gossips.check(false).unwrap_err().to_string();
        assert!(refused.contains("share one stream"), "{refused}");
        assert!(read("").unwrap().check(false).is_ok());
    }

    #[tokio::test]
    async fn a_member_has_the_name_of_its_address() {
        let start = async |arguments: &str, host: &str, listening: &str| {
            let membership = read(arguments).unwrap();
            let held = watch::channel(Arc::new(Share::all())).1;
            let listening = [listening.parse().unwrap()];
            let started = membership.start("s", (host, &listening), held).await?;
            let view = started.0.view();
            let me = view.member(&view.own);
            let address = me.and_then(|me| me.address.as_ref().map(ToString::to_string));
            Ok::<_, Error>((view.own.clone(), address, started.1.is_some()))
        };
        let alone = start("", "localhost", "127.0.0.1:6660").await.unwrap();
        let url = |text: &str| Some(text.to_owned());
        assert_eq!(
            alone,
            (
                "localhost-6660".into(),
                url("http://localhost:6660/"),
                false
            )
        );
        let six = start("", "::1", "[::1]:7").await.unwrap();
        assert_eq!(six, ("---1--7".into(), url("http://[::1]:7/"), false));
        let any = start("", "0.0.0.0", "0.0.0.0:6660").await.unwrap();
        assert_eq!(any, ("ledger".into(), None, false));
        let named = start("--member x --advertise http://h:1", "0.0.0.0", "0.0.0.0:2").await;
        assert_eq!(named.unwrap(), ("x".into(), url("http://h:1/"), false));
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let gossip = format!("--gossip {}", socket.local_addr().unwrap());
        let nowhere = start(&gossip, "0.0.0.0", "0.0.0.0:1").await.unwrap_err();
        assert!(nowhere.to_string().contains("--advertise"), "{nowhere}");
        let taken = start(&gossip, "localhost", "127.0.0.1:1")
            .await
            .unwrap_err();
        assert!(taken.to_string().contains("cannot gossip at"), "{taken}");
        drop(socket);
        let started = start(&gossip, "localhost", "127.0.0.1:1").await.unwrap();
        assert_eq!((&*started.0, started.2), ("localhost-1", true));
    }
}

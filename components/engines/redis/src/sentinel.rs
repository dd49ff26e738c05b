//! Parses the answers of Sentinels and decides which primary they agree on. No I/O.

use crate::refusal::Fault;
use engine_dsn::Address;
use engine_guest::Error;
use engine_redis_wire::{Value, text};
use std::net::IpAddr;

/// The answer of one Sentinel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The address of the Sentinel, as `host:port` of the DSN.
    pub(crate) from: String,
    /// None if it does not know the name.
    pub(crate) primary: Option<Named>,
}

/// The primary that a Sentinel names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) address: Address,
    /// The number of the failover that made it the primary: later failovers have greater numbers, and a
    /// majority of Sentinels agrees on each.
    pub(crate) epoch: u64,
    /// Whether it is about to be replaced.
    pub(crate) leaving: bool,
}

impl Named {
    /// Parses the replies to `SENTINEL GET-MASTER-ADDR-BY-NAME` and to `SENTINEL MASTER`. The first
    /// one has the address that is valid during a failover, the second one everything else.
    ///
    /// # Errors
    /// A description of what is wrong with the replies.
    pub(crate) fn parse(address: &Value, details: &Value) -> Result<Option<Self>, String> {
        let words = match address {
            Value::Nil => return Ok(None),
            Value::Array(words) => words,
            _ => return Err("does not answer like a Sentinel".to_owned()),
        };
        let place = match &words[..] {
            [host, port] => host_and_port(text(host), text(port)),
            _ => None,
        };
        let address = place.ok_or("names a primary without a usable address")?;
        let details = pairs(details);
        let field = |name: &str| {
            let found = details.iter().find(|(found, _)| *found == name);
            found.map(|(_, value)| *value)
        };
        let epoch = field("config-epoch")
            .and_then(|epoch| epoch.parse().ok())
            .ok_or("does not report the config-epoch of its primary")?;
        let flag = |name: &str| {
            field("flags").is_some_and(|flags| flags.split(',').any(|flag| flag == name))
        };
        let before = host_and_port(field("ip"), field("port"));
        Ok(Some(Self {
            // Once the successor is promoted, the failover continues with the other replicas only.
            leaving: flag("o_down")
                || flag("failover_in_progress") && before.as_ref() == Some(&address),
            address,
            epoch,
        }))
    }
}

/// The pairs of a flat list of names and values, or of a map.
fn pairs(reply: &Value) -> Vec<(&str, &str)> {
    match reply {
        Value::Array(items) => items
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [name, value] => Some((text(name)?, text(value)?)),
                _ => None,
            })
            .collect(),
        Value::Map(items) => items
            .iter()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect(),
        _ => Vec::new(),
    }
}

fn host_and_port(host: Option<&str>, port: Option<&str>) -> Option<Address> {
    let (host, port) = (host?, port?);
    // IPv6 addresses come without brackets.
    let address = match host.parse::<IpAddr>() {
        Ok(ip) => Address {
            host: ip.to_string(),
            port: None,
        },
        Err(_) => Address::parse(host).ok()?,
    };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    address.port.is_none().then_some(Address {
        host: address.host,
        port: Some(port),
    })
}

/// The primary that the Sentinels name. `listed` is the number of Sentinels in the DSN, `known` the
/// greatest epoch seen so far.
///
/// # Errors
/// [`Fault::Elsewhere`] if a retry may help: too few Sentinels answer, their epoch is older than the
/// known one, or a failover is in progress; [`Fault::Final`] if no Sentinel knows the name.
pub(crate) fn decide(
    answers: &[Answer],
    listed: usize,
    name: &str,
    known: Option<u64>,
) -> Result<Named, Fault> {
    let wait = |why: String| Err(Fault::Elsewhere(why));
    // A minority that is cut off from the others does not learn of a failover.
    let are_most = |count: usize| count * 2 > listed;
    if !are_most(answers.len()) {
        return wait(format!(
            "{} of the {listed} Sentinels in the DSN answer; a majority is required",
            answers.len()
        ));
    }
    let named: Vec<_> = answers
        .iter()
        .filter_map(|answer| Some((answer.from.as_str(), answer.primary.as_ref()?)))
        .collect();
    let Some((first, newest)) = named.iter().max_by_key(|(_, named)| named.epoch) else {
        return Err(Fault::Final(Error::Other(format!(
            "no Sentinel knows a primary named `{name}`; use the name that follows \
             `sentinel monitor` in their configuration"
        ))));
    };
    if !are_most(named.len()) {
        return wait(format!(
            "{} of the {listed} Sentinels in the DSN know a primary named `{name}`; a majority is \
             required",
            named.len()
        ));
    }
    if let Some(known) = known.filter(|known| *known > newest.epoch) {
        return wait(format!(
            "the Sentinels that answer are at failover {}, but failover {known} was already seen; \
             if they were set up anew, restart this program",
            newest.epoch
        ));
    }
    for (from, other) in named.iter().filter(|(_, n)| n.epoch == newest.epoch) {
        if other.leaving {
            return wait(format!(
                "the Sentinel {from} is about to replace {}",
                other.address
            ));
        }
        if other.address != newest.address {
            return wait(format!(
                "the Sentinel {first} names {} as the primary, but {from} names {}",
                newest.address, other.address
            ));
        }
    }
    Ok((*newest).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn list(items: &[&str]) -> Value {
        Value::Array(items.iter().map(|item| bulk(item)).collect())
    }

    fn details(ip: &str, flags: &str, epoch: &str) -> Value {
        list(&[
            "name",
            "n",
            "ip",
            ip,
            "port",
            "6379",
            "flags",
            flags,
            "config-epoch",
            epoch,
        ])
    }

    #[test]
    fn answers_are_read() {
        let parse = |address: &Value, details: &Value| Named::parse(address, details);
        let a = list(&["10.0.0.1", "6379"]);
        let named = parse(&a, &details("10.0.0.1", "master", "7"))
            .expect("an answer")
            .expect("a primary");
        assert_eq!(named.address.to_string(), "10.0.0.1:6379");
        assert_eq!((named.epoch, named.leaving), (7, false));
        for (ip, flags, leaving) in [
            ("10.0.0.1", "s_down,master", false),
            ("10.0.0.1", "s_down,o_down,master", true),
            ("10.0.0.1", "master,failover_in_progress", true),
            // The address is that of the promoted server.
            ("10.0.0.9", "master,failover_in_progress", false),
        ] {
            let named = parse(&a, &details(ip, flags, "7"))
                .expect(flags)
                .expect(flags);
            assert_eq!(named.leaving, leaving, "{ip} {flags}");
        }
        let v6 = parse(&list(&["::1", "1"]), &details("::1", "", "0"));
        let v6 = v6.expect("an answer").expect("a primary");
        assert_eq!(v6.address.to_string(), "[::1]:1");
        let v6 = parse(&list(&["Redis-A.example", "1"]), &details("", "", "0"));
        let v6 = v6.expect("an answer").expect("a primary");
        assert_eq!(v6.address.to_string(), "redis-a.example:1");
        assert_eq!(parse(&Value::Nil, &Value::Nil), Ok(None));
        for (address, details) in [
            (list(&["h"]), details("h", "", "1")),
            (list(&["h", "0"]), details("h", "", "1")),
            (list(&["h", "65536"]), details("h", "", "1")),
            (list(&["h:1", "2"]), details("h", "", "1")),
            (list(&["", "2"]), details("h", "", "1")),
            (list(&["a b", "2"]), details("h", "", "1")),
            (a.clone(), details("h", "", "-1")),
            (a.clone(), details("h", "", "")),
            (a, Value::Nil),
            (Value::Okay, Value::Nil),
        ] {
            assert!(
                parse(&address, &details).is_err(),
                "{address:?} {details:?}"
            );
        }
    }

    fn says(host: &str, epoch: u64) -> Option<Named> {
        Some(Named {
            address: Address::parse(host).expect(host),
            epoch,
            leaving: false,
        })
    }

    fn ask(
        primaries: &[Option<Named>],
        listed: usize,
        known: Option<u64>,
    ) -> Result<String, Fault> {
        let answers: Vec<_> = primaries
            .iter()
            .enumerate()
            .map(|(n, primary)| Answer {
                from: format!("s{n}"),
                primary: primary.clone(),
            })
            .collect();
        decide(&answers, listed, "n", known).map(|named| named.address.to_string())
    }

    #[test]
    fn the_newest_configuration_of_most_sentinels_counts() {
        let (old, new) = (says("a:1", 3), says("b:1", 4));
        assert_eq!(
            ask(&[old.clone(), new.clone(), old.clone()], 3, None),
            Ok("b:1".into())
        );
        assert_eq!(
            ask(&[old.clone(), old.clone()], 3, Some(3)),
            Ok("a:1".into())
        );
        assert_eq!(ask(std::slice::from_ref(&old), 1, None), Ok("a:1".into()));
        assert_eq!(
            ask(&[old.clone(), None, old.clone()], 3, None),
            Ok("a:1".into())
        );
        let mut going = old.clone();
        if let Some(named) = &mut going {
            named.leaving = true;
        }
        assert_eq!(
            ask(&[going.clone(), new.clone()], 3, None),
            Ok("b:1".into())
        );
        for (answers, listed, known) in [
            (vec![], 3, None),
            (vec![old.clone()], 3, None),
            (vec![old.clone(); 2], 4, None),
            (vec![old.clone(), None], 3, None),
            (vec![old.clone(); 3], 3, Some(4)),
            (vec![old.clone(), says("b:1", 3)], 3, None),
            (vec![old.clone(), going, old.clone()], 3, None),
        ] {
            let answer = ask(&answers, listed, known);
            assert!(
                matches!(answer, Err(Fault::Elsewhere(_))),
                "{answers:?}: {answer:?}"
            );
        }
        let nobody = ask(&[None, None], 3, None);
        assert!(
            matches!(&nobody, Err(Fault::Final(Error::Other(why))) if why.contains("`n`")),
            "{nobody:?}"
        );
    }
}

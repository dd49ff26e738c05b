//! Connects to all hosts of the DSN concurrently, to choose the primary.

use crate::choice::{Choice, History, Memory, Seen, Sight, choose};
use crate::refusal::strange;
use crate::rows::TABLE;
use crate::settings::{PORT, Settings};
use crate::wire::Wire;
use engine_dsn::Address;
use engine_guest::Error;
use engine_guest::failover::Fault;
use engine_guest::hosts::{Search, resolve, silent};
use futures::future::join_all;
use std::net::IpAddr;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// A connection to the primary.
pub(crate) struct Primary {
    pub(crate) wire: Wire,
    /// The schema of the table; that in which it would be created if there is none.
    pub(crate) schema: Option<String>,
}

/// The result of asking one host.
type Answer = Result<(Wire, Seen, Option<String>), Fault>;

/// Connects to the primary, and remembers what the hosts reported.
pub(crate) fn find(
    runtime: &Runtime,
    search: Search,
    settings: &Settings,
    memory: &mut Memory,
) -> Result<Primary, Fault> {
    // Resolution blocks, so it comes before the connections.
    let found: Vec<_> = settings
        .nodes
        .iter()
        .map(|node| resolve(node, PORT))
        .collect();
    let asking = found.iter().map(|found| async move {
        let (to, ips) = found.clone()?;
        timeout(search.limit, ask(&to, &ips, settings))
            .await
            .unwrap_or_else(|_| Err(silent(&to)))
    });
    let answers = runtime.block_on(async { join_all(asking).await });

    let mut connections = Vec::new();
    let mut sights = Vec::new();
    let mut refused = None;
    let mut late = false;
    for answer in answers {
        match answer {
            Ok((wire, seen, schema)) => {
                connections.push(Some((wire, schema, seen.history.clone())));
                sights.push(Sight::Seen(seen));
            }
            Err(fault) => {
                connections.push(None);
                sights.push(Sight::Silent(fault.to_string()));
                late |= matches!(fault, Fault::Slow(_));
                if matches!(fault, Fault::Final(_)) {
                    refused.get_or_insert(fault);
                }
            }
        }
    }
    memory.learn(&sights);
    match (choose(&sights, memory), refused) {
        (Choice::Use(_), _) if late && search.is_short => Err(Fault::Slow(search.undecided())),
        (Choice::Use(number), _) => {
            let chosen = connections.get_mut(number).and_then(Option::take);
            let (wire, schema, history) =
                chosen.ok_or_else(|| Fault::Elsewhere("no host can be used".into()))?;
            memory.uses(history.as_ref());
            Ok(Primary { wire, schema })
        }
        (Choice::Refuse(why), _) => Err(Fault::Contested(why)),
        // An error that needs an operator is more useful than the reason why the others cannot be used.
        (Choice::Wait(_), Some(fault)) => Err(fault),
        // With more time the result might have been different.
        (Choice::Wait(why), None) if late => Err(Fault::Slow(why)),
        (Choice::Wait(why), None) => Err(Fault::Elsewhere(why)),
    }
}

/// Connects to a host and asks for its state.
async fn ask(to: &Address, ips: &[IpAddr], settings: &Settings) -> Answer {
    let mut wire = Wire::open(to, ips, settings).await?;
    let state = format!(
        "SELECT pg_is_in_recovery(),current_setting('transaction_read_only'),\
         extract(epoch from pg_postmaster_start_time()),\
         COALESCE((SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
         ON n.oid=c.relnamespace WHERE c.oid=to_regclass('{TABLE}')),current_schema())"
    );
    let rows = wire
        .tell(&state, settings)
        .await
        .map_err(Fault::while_dialling)?;
    let [row] = <[_; 1]>::try_from(rows).map_err(|_| strange(&wire.to))?;
    let [standby, read_only, started, schema] =
        <[_; 4]>::try_from(row).map_err(|_| strange(&wire.to))?;
    let standby = match standby.as_deref() {
        Some("t") => true,
        Some("f") => false,
        _ => return Err(strange(&wire.to)),
    };
    let rows = wire
        .try_to_tell(history_of(standby), settings)
        .await
        .map_err(Fault::while_dialling)?;
    let history = rows
        .and_then(|rows| rows.into_iter().next())
        .and_then(history);
    let seen = Seen {
        name: wire.to.clone(),
        read_only: standby || read_only.as_deref() != Some("off"),
        started: started.unwrap_or_default(),
        history,
    };
    Ok((wire, seen, schema))
}

/// The statement for the system identifier and the latest timeline, both of which every user may see.
///
/// The current timeline of a primary is the beginning of the name of its current file of the write-ahead
/// log: its control file has the new timeline only after the first checkpoint that follows a promotion.
/// A standby's control file is as good as it gets.
fn history_of(standby: bool) -> &'static str {
    if standby {
        "SELECT system_identifier,GREATEST(timeline_id,min_recovery_end_timeline) \
         FROM pg_control_system(),pg_control_checkpoint(),pg_control_recovery()"
    } else {
        "SELECT system_identifier,('x'||substr(pg_walfile_name(pg_current_wal_lsn()),1,8))::bit(32)::int8 \
         FROM pg_control_system()"
    }
}

/// The history in the reply to [`history_of`].
fn history(row: Vec<Option<String>>) -> Option<History> {
    let [system, timeline] = <[_; 2]>::try_from(row).ok()?;
    Some(History {
        system: system?,
        timeline: timeline?.parse().ok()?,
    })
}

/// The error for a database without a usable schema.
pub(crate) fn no_schema(to: &str) -> Fault {
    Fault::Final(Error::Other(format!(
        "{to} has no schema for the table {TABLE}: none of the user's search_path exists or may be used; \
         set one with ALTER ROLE … SET search_path"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_are_read() {
        let row = |system: Option<&str>, timeline: Option<&str>| {
            history(vec![system.map(str::to_owned), timeline.map(str::to_owned)])
        };
        let expected = History {
            system: "7300".into(),
            timeline: 3,
        };
        assert_eq!(row(Some("7300"), Some("3")), Some(expected));
        assert_eq!(row(Some("7300"), None), None);
        assert_eq!(row(Some("7300"), Some("-1")), None);
        assert_eq!(history(vec![Some("7300".into())]), None);
    }
}

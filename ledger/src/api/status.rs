//! How a ledger is, and what it counts.

use super::{Api, Body, FOLLOWERS, Inner, Problem, json_answer};
use crate::stream::Status;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// What a ledger counts.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) appends: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) publishers: AtomicU64,
}

impl Api {
    /// Whether it can answer.
    pub(super) fn alive(&self) -> Result<Response<Body>, Problem> {
        let status = self.0.log.stream().map(|stream| stream.status());
        match status {
            None => Ok(json_answer(StatusCode::OK, &json!({"alive": true}))),
            Some(Status::Stopped(reason)) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                format!("the read model of the stream has stopped: {reason}"),
            )),
            Some(status) => {
                let alive = json!({"alive": true, "stream": status.name()});
                Ok(json_answer(StatusCode::OK, &alive))
            }
        }
    }

    /// Its counters.
    pub(super) fn stats(&self) -> Value {
        let Inner {
            log,
            store,
            counts,
            followers,
            intake,
            intake_of_members,
            begun,
            members,
            ..
        } = &*self.0;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let stored = store.counts();
        let view = members.view();
        let (owned, held) = view
            .me()
            .map_or((0, 0), |me| (me.owned.len(), me.held.len()));
        let counted = members.counted();
        let mut stats = json!({
            "members": view.members.len(),
            "members_alive": view.alive(),
            "partitions_owned": owned,
            "partitions_held": held,
            "forwarded_answered": counted.answered,
            "forwarded_repeated": counted.repeated,
            "forwarded_nobody": counted.nobody,
            "forwarded_lost": counted.lost,
            "gossip_packets": counted.packets,
            "gossip_packets_ignored": counted.ignored,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": begun.elapsed().as_secs(),
            "requests": get(&counts.requests),
            "publishers": get(&counts.publishers),
            "followers": FOLLOWERS - followers.available_permits(),
            "batches": get(&counts.batches),
            "batches_refused": get(&counts.refused),
            "batches_long": intake.long() + intake_of_members.long(),
            "batches_waits": intake.waits() + intake_of_members.waits(),
            "appends": get(&counts.appends),
            "conflicts": get(&counts.conflicts),
            "events": get(&stored.events),
            "duplicates": get(&stored.duplicates),
            "groups": get(&stored.groups),
            "failures": get(&stored.failures),
        });
        if let (Some(stream), Some(stats)) = (log.stream(), stats.as_object_mut()) {
            let counts = stream.counts();
            for (name, count) in [
                ("stream_published", get(&counts.published)),
                ("stream_acknowledged", get(&counts.acknowledged)),
                ("stream_applied", get(&counts.applied)),
                ("stream_refused", get(&counts.refused)),
                ("stream_position", stream.position()),
                ("stream_lag", get(&counts.lag)),
                ("stream_reconnects", get(&counts.reconnects)),
            ] {
                stats.insert(name.into(), count.into());
            }
        }
        stats
    }
}

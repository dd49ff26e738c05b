//! The members, in answers.

use crate::members::{Member, View};
use crate::partition::{PARTITIONS, Share};
use jiff::Timestamp;
use serde_json::{Value, json};

/// All members; with the numbers of their partitions if `numbers`.
pub(super) fn answer(view: &View, numbers: bool) -> Value {
    let members = view.members.iter().map(|one| member(one, numbers));
    json!({
        "member": view.own,
        "partitions": PARTITIONS,
        "members": members.collect::<Vec<_>>(),
    })
}

fn member(member: &Member, numbers: bool) -> Value {
    let since = Timestamp::from_microsecond(member.since.max(0)).unwrap_or(Timestamp::MAX);
    let mut value = json!({
        "name": member.name,
        "address": member.address.as_ref().map(|address| address.to_string().trim_end_matches('/').to_owned()),
        "gossip": member.gossip.map(|gossip| gossip.to_string()),
        "health": member.health.as_str(),
        "since": format!("{since:.6}"),
        "owned": member.owned.len(),
        "held": member.held.len(),
    });
    if let (true, Some(object)) = (numbers, value.as_object_mut()) {
        let list = |share: &Share| share.iter().collect::<Vec<_>>();
        object.insert("owned_partitions".into(), list(&member.owned).into());
        object.insert("held_partitions".into(), list(&member.held).into());
    }
    value
}

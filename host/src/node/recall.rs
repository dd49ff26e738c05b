//! What a node finds out about itself when its process starts.

use super::file::RecordFile;
use super::marks::Marks;
use super::member::{IDENTITY, INCARNATION, Node, RESTARTED, SESSION, State, known, lost, random};
use crate::Error;
use artisanal_quorum::{Describe, NodeState};
use std::collections::BTreeMap;

/// Finds out what the backend and the file say about this node.
pub(super) async fn recall(marks: &Marks, file: &RecordFile) -> Result<State, Error> {
    let record = file.read()?;
    let identity = marks.number(IDENTITY).await?;
    let before = i64::try_from(marks.number(SESSION).await?).unwrap_or(i64::MAX);
    let session = Node::begin_session(marks).await?;
    let generation = Node::generation(marks).await?;
    let mut state = State {
        now: NodeState::Lost,
        reason: None,
        rejoins: false,
        described: Describe {
            node: identity,
            group: 0,
            members: Vec::new(),
        },
        incarnation: 0,
        known: BTreeMap::new(),
        session,
        generation: generation.clone(),
    };
    let Some(mut record) = record else {
        if identity == 0 {
            state.now = NodeState::New;
            state.described.node = random();
            state.reason = Some("it belongs to no group yet (`int-host node init`)".into());
        } else {
            state.reason = Some(lost(&format!(
                "the backend belongs to node {identity}, but the data directory has no node.json"
            )));
        }
        return Ok(state);
    };
    state.described = Describe {
        node: record.node,
        group: record.group,
        members: record.members.clone(),
    };
    let fault = match identity {
        0 => Some("the backend is empty".to_owned()),
        other if other != record.node => Some(format!("the backend belongs to node {other}")),
        _ if before < record.session => Some("the backend was restored from an older copy".into()),
        _ if record.generation != generation => {
            state.rejoins = true;
            Some(RESTARTED.into())
        }
        _ => None,
    };
    if let Some(fault) = fault {
        tracing::error!("this node takes no part: {fault}");
        state.reason = Some(lost(&fault));
        return Ok(state);
    }
    for member in record.members.iter().filter(|m| m.node != record.node) {
        let incarnation = marks.number(&known(member.node)).await?;
        state.known.insert(member.node, incarnation);
    }
    state.incarnation = marks.number(INCARNATION).await?;
    record.session = session;
    file.write(&record)?;
    state.now = NodeState::Serving;
    Ok(state)
}

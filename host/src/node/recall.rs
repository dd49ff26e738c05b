//! What a node finds out about itself when its process starts.

use super::file::{Record, RecordFile};
use super::marks::Marks;
use super::member::{EPOCH, IDENTITY, INCARNATION, Node, SESSION, known};
use super::state::{Cause, RESTARTED, State, lost, replaced};
use crate::Error;
use artisanal_quorum::{Describe, FIRST_EPOCH, NodeState};
use std::collections::{BTreeMap, BTreeSet};

/// Finds out what the backend and the file say about this node.
pub(super) async fn recall(marks: &Marks, file: &RecordFile) -> Result<State, Error> {
    let record = file.read()?;
    let identity = marks.number(IDENTITY).await?;
    let before = i64::try_from(marks.number(SESSION).await?).unwrap_or(i64::MAX);
    let incarnation = marks.number(INCARNATION).await?;
    // The numbers of processes begin anew after a node has lost everything, so a copy from before that may have a greater
    // one. But its incarnation is smaller.
    let older = record
        .as_ref()
        .is_some_and(|record| before < record.session || incarnation < record.incarnation);
    // The number in an older copy stays as it is: each start would bring it nearer to that in the file, until the
    // copy is no longer recognised.
    let session = if older {
        before
    } else {
        Node::begin_session(marks).await?
    };
    let generation = Node::generation(marks).await?;
    let mut state = State {
        now: NodeState::Lost,
        reason: None,
        cause: None,
        rejoins: false,
        described: Describe {
            node: identity,
            group: 0,
            epoch: FIRST_EPOCH,
            members: Vec::new(),
        },
        open: None,
        reached: marks.number(EPOCH).await?,
        incarnation: 0,
        known: BTreeMap::new(),
        session,
        generation: generation.clone(),
    };
    let Some(record) = record else {
        if identity == 0 {
            state.now = NodeState::New;
            state.described.node = marks.random();
            state.reason = Some(
                "it belongs to no group: `int-host node init` makes one, and `int-host node join` lets a node \
                 that lost its data take its place again"
                    .into(),
            );
            state.cause = Some(Cause::NoGroup);
        } else {
            state.reason = Some(lost(&format!(
                "the backend belongs to node {identity}, but the data directory has no node.json"
            )));
            state.cause = Some(Cause::NoRecord);
        }
        return Ok(state);
    };
    state.described = Describe {
        node: record.node,
        group: record.group,
        epoch: record.epoch,
        members: record.members.clone(),
    };
    state.open = record.open.clone();
    if !state.is_member() {
        state.now = NodeState::Replaced;
        state.reason = Some(replaced(&state.described));
        state.cause = Some(Cause::Replaced);
        return Ok(state);
    }
    let fault = match identity {
        0 => Some((Cause::EmptyBackend, "the backend is empty".to_owned())),
        other if other != record.node => Some((
            Cause::ForeignBackend,
            format!("the backend belongs to node {other}"),
        )),
        _ if older => Some((
            Cause::OldBackend,
            "the backend was restored from an older copy".into(),
        )),
        _ if state.reached > record.reached.max(FIRST_EPOCH) => Some((
            Cause::OldRecord,
            "node.json was restored from an older copy".into(),
        )),
        _ if record.generation != generation => {
            state.rejoins = true;
            Some((Cause::Restarted, RESTARTED.into()))
        }
        _ => None,
    };
    if let Some((cause, fault)) = fault {
        tracing::error!("this node takes no part: {fault}");
        state.reason = Some(lost(&fault));
        state.cause = Some(cause);
        return Ok(state);
    }
    let others: BTreeSet<u64> = state.nodes().filter(|node| *node != record.node).collect();
    for node in others {
        let incarnation = marks.number(&known(node)).await?;
        state.known.insert(node, incarnation);
    }
    state.incarnation = incarnation;
    // A crash may have left the file ahead of the backend.
    state.reached = state.reached.max(record.reached);
    file.write(&Record::of(&state))?;
    marks.raise(EPOCH, state.reached).await?;
    state.now = NodeState::Serving;
    Ok(state)
}

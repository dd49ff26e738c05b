//! What a node tells other nodes, and operators.

use super::claims::{client_key, without_backend};
use super::member::{Node, PROMISED};
use super::state::{State, under_way};
use crate::Error;
use artisanal_quorum::{Describe, Join, List, MAX_KEYS, Read, Report};
use std::sync::atomic::Ordering;

impl Node {
    /// Stores another member's new incarnation, then reads what that member may have forgotten.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this node does not take part itself, [`Error::Denied`] for nodes of
    /// other groups; otherwise as its backend.
    pub async fn joining(&self, join: &Join) -> Result<Report, Error> {
        let before = self.serving()?;
        let Describe {
            node,
            group,
            epoch,
            members,
        } = &before.described;
        let is_other = join.node != *node && members.iter().any(|m| m.node == join.node);
        if join.group != *group || !is_other {
            return Err(Error::Denied(format!(
                "node {} of group {} is not another member of group {group}",
                join.node, join.group
            )));
        }
        if let Some(open) = &before.open {
            return Err(Error::Unavailable(under_way(open)));
        }
        if join.epoch != *epoch {
            if join.epoch > *epoch {
                self.hear_of(join);
            }
            return Err(Error::Unavailable(format!(
                "the member list {} is not {epoch}, which is in force here; the members are {}",
                join.epoch,
                before.list().addresses()
            )));
        }
        if join.incarnation > 0 {
            let newer = [(join.node, join.incarnation)].into();
            self.learn(&newer).await.map_err(without_backend)?;
        }
        self.report(&before, &join.read).await
    }

    /// Remembers who may have a newer member list: those that this node knows may all have lost their data, or have been
    /// replaced. It takes the list only from a member that has it in force.
    fn hear_of(&self, join: &Join) {
        let list = List {
            epoch: join.epoch,
            members: join.members.clone(),
        };
        if list.check().is_ok() {
            *self.newer() = list.members;
        }
        self.behind.store(true, Ordering::Relaxed);
    }

    /// Lists sequences and reads their marks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this node does not take part, or its backend denies access; otherwise as its backend.
    pub async fn read(&self, read: &Read) -> Result<Report, Error> {
        let before = self.serving()?;
        self.report(&before, read).await
    }

    pub(super) async fn report(&self, before: &State, read: &Read) -> Result<Report, Error> {
        let report = self.try_report(before, read).await;
        report.map_err(without_backend)
    }

    async fn try_report(&self, before: &State, read: &Read) -> Result<Report, Error> {
        if read.keys.len() > MAX_KEYS {
            return Err(Error::Invalid(format!(
                "{} keys are asked for; the maximum is {MAX_KEYS}",
                read.keys.len()
            )));
        }
        let mut marks = Vec::with_capacity(read.keys.len());
        for key in &read.keys {
            client_key(key)?;
            marks.push(self.marks.sequence(key).await?.last().await?);
        }
        let listed = read
            .after
            .as_ref()
            .map(|key| self.keys.after(key, MAX_KEYS))
            .unwrap_or_default();
        let promised = self.marks.number(PROMISED).await?;
        let now = self.still(before).await?;
        Ok(Report {
            promised,
            node: now.described.node,
            group: now.described.group,
            incarnation: now.incarnation,
            known: now.known.clone(),
            listed,
            marks,
        })
    }
}

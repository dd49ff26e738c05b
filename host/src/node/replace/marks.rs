//! The marks that members of a new list lack.

use super::{Group, MAJORITIES, RAISED, raise};
use crate::Error;
use crate::node::view::Lists;
use artisanal_quorum::{Changed, List, MAX_KEYS, Member, Read, Step, Tally};
use std::collections::{BTreeMap, BTreeSet};

/// The maximum number of pages of one node's list of sequences, which is more than a node has.
const PAGES: usize = 1000;

/// The marks of sequences.
#[derive(Default)]
pub(super) struct Marks {
    /// Those that a majority of the new list lacks.
    pub(super) needed: Vec<(String, i64)>,
    /// What each node lacks.
    pub(super) lacking: BTreeMap<u64, Vec<(String, i64)>>,
}

impl Group<'_> {
    /// Reads the marks of all sequences from nodes that have stored the change. None if that is no longer the one
    /// that they have.
    pub(super) async fn read(
        &self,
        lists: &Lists<'_>,
        nodes: &[Member],
    ) -> Result<Option<Marks>, Error> {
        let Some(keys) = self.keys(lists, nodes).await? else {
            return Ok(None);
        };
        let keys: Vec<String> = keys.into_iter().collect();
        let both = lists.both();
        let next = [both[1]];
        let mut marks = Marks::default();
        for part in keys.chunks(MAX_KEYS) {
            let step = Step::Read {
                epoch: lists.next.epoch,
                read: Read {
                    after: None,
                    keys: part.to_vec(),
                },
            };
            let enough = |tally: &Tally| tally.is_accepted(&both);
            let Ok(tally) = self.gather(nodes, &step, MAJORITIES, enough).await? else {
                return Ok(None);
            };
            let mark =
                |answer: &Changed, index: usize| answer.report.marks.get(index).copied().flatten();
            for (index, key) in part.iter().enumerate() {
                let Some(greatest) = tally.answers().filter_map(|a| mark(a, index)).max() else {
                    continue;
                };
                if !tally.is_majority(&next, |answer| mark(answer, index) == Some(greatest)) {
                    marks.needed.push((key.clone(), greatest));
                }
                for member in &lists.next.members {
                    let mut answers = tally.answers();
                    let answer = answers.find(|answer| answer.report.node == member.node);
                    if answer.and_then(|answer| mark(answer, index)) != Some(greatest) {
                        let lacking = marks.lacking.entry(member.node).or_default();
                        lacking.push((key.clone(), greatest));
                    }
                }
            }
        }
        Ok(Some(marks))
    }

    /// The keys of all sequences that a majority may have accepted claims of.
    async fn keys(
        &self,
        lists: &Lists<'_>,
        nodes: &[Member],
    ) -> Result<Option<BTreeSet<String>>, Error> {
        let both = lists.both();
        let mut keys = BTreeSet::new();
        let mut after = Some(String::new());
        for _ in 0..PAGES {
            let step = Step::Read {
                epoch: lists.next.epoch,
                read: Read {
                    after: after.take(),
                    keys: Vec::new(),
                },
            };
            let enough = |tally: &Tally| tally.is_accepted(&both);
            let Ok(tally) = self.gather(nodes, &step, MAJORITIES, enough).await? else {
                return Ok(None);
            };
            // Pages end at different keys: what is beyond the end of the first one is listed again.
            let ends = tally.answers().filter_map(|a| a.report.next_page());
            after = ends.min().cloned();
            keys.extend(tally.answers().flat_map(|a| a.report.listed.clone()));
            if after.is_none() {
                return Ok(Some(keys));
            }
        }
        Err(Error::Other("a node's list of sequences has no end".into()))
    }

    /// Gives members the marks that they lack, after a command that was interrupted before it had done so.
    pub(super) async fn complete(&self, list: &List) {
        let lists = Lists {
            base: list,
            next: list,
        };
        match self.read(&lists, &list.members).await {
            Ok(Some(marks)) => self.fill(list, marks.lacking).await,
            // A further change has begun, and reads the marks itself.
            Ok(None) => {}
            Err(error) => tracing::warn!("a member may lack marks that the others have: {error}"),
        }
    }

    /// Gives members the marks that they lack. No integer depends on it: a majority has them.
    pub(super) async fn fill(&self, next: &List, lacking: BTreeMap<u64, Vec<(String, i64)>>) {
        let filled = next.members.iter().map(|member| {
            let lacking = lacking.get(&member.node).map_or(&[][..], Vec::as_slice);
            async move {
                for part in lacking.chunks(RAISED) {
                    let step = raise(next.epoch, part);
                    if self.tell(member, &step).await.2.is_err() {
                        break;
                    }
                }
            }
        });
        futures::future::join_all(filled).await;
    }
}

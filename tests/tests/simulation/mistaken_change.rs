//! Mistakes in changes of the member list.

use crate::machine::{KEY, Machine};
use crate::mistake::{BETWEEN, Mistake};
use artisanal_quorum::{Change, Changed, Read, Step};
use bytes::Bytes;
use http::{Request, Response};
use std::future::pending;
use std::sync::PoisonError;
use tokio::time::sleep;

impl Mistake {
    /// The answer of a machine to a step of a change.
    pub(crate) async fn answer_change(
        self,
        machine: &Machine,
        from: &str,
        request: &Request<Bytes>,
        change: Change,
    ) -> Option<Response<Bytes>> {
        let ask = |step: Step| {
            let change = Change {
                step,
                ..change.clone()
            };
            let body = serde_json::to_vec(&change).unwrap_or_default();
            machine.answer(request.clone().map(|_| body.into()), pending())
        };
        let notes = || machine.notes.lock().unwrap_or_else(PoisonError::into_inner);
        match (self, change.step.clone()) {
            (Self::NoRaise, Step::Raise { epoch, .. }) => ask(read(epoch)).await,
            (Self::MarksBeforeBegin, Step::Begin { next, .. }) => {
                let held = machine.copy(&[]).await.ok()?;
                let mark = held.iter().find(|(key, _)| key == KEY).map(|(_, m)| *m);
                notes().marks.entry(next.epoch).or_insert(mark);
                sleep(BETWEEN / 10).await;
                ask(change.step.clone()).await
            }
            (Self::MarksBeforeBegin, Step::Read { epoch, read }) => {
                let answer = ask(change.step.clone()).await?;
                let mark = notes().marks.get(&epoch).copied();
                Some(edit(answer, |changed| {
                    if read.keys == [KEY] && changed.accepted {
                        changed.report.marks = vec![mark.flatten()];
                    }
                }))
            }
            (Self::NotReadAgain, Step::Read { epoch, .. }) => {
                let first = notes()
                    .readers
                    .entry(epoch)
                    .or_insert_with(|| from.to_owned())
                    .clone();
                let answer = ask(change.step.clone()).await?;
                Some(edit(answer, |changed| {
                    if first != from {
                        changed.report.listed.clear();
                        changed.report.marks.fill(None);
                    }
                }))
            }
            (_, step) => ask(step).await,
        }
    }
}

/// A step that does nothing, and is accepted by whoever has this epoch.
fn read(epoch: u64) -> Step {
    Step::Read {
        epoch,
        read: Read::default(),
    }
}

/// The step of a change in a request.
pub(crate) fn changes(request: &Request<Bytes>) -> Option<Change> {
    match request.uri().path() {
        "/v1/node/change" => serde_json::from_slice(request.body()).ok(),
        _ => None,
    }
}

fn edit(answer: Response<Bytes>, change: impl FnOnce(&mut Changed)) -> Response<Bytes> {
    let Ok(mut changed) = serde_json::from_slice(answer.body()) else {
        return answer;
    };
    change(&mut changed);
    answer.map(|_| serde_json::to_vec(&changed).unwrap_or_default().into())
}

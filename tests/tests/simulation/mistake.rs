//! Mistakes that the simulation has to find. They are made on the way between the parts, which are as they are.

use crate::machine::Machine;
use crate::mistaken_change::changes;
use artisanal_quorum::{Claim, Join, Report};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use std::future::pending;
use std::time::Duration;
use tokio::time::sleep;

/// A mistake in the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// A node whose backend was emptied serves at once.
    ServesEmpty,
    /// A node whose backend lost its last writes does not notice.
    ForgetsUnnoticed,
    /// One client takes refusals for acceptances, and so counts a minority.
    CountsRefusals,
    /// Nobody hears of other nodes' incarnations.
    NoVector,
    /// One node reads the incarnations of the others before it takes the claim.
    EarlyVector,
    /// The node's incarnation is that at the time when the answer arrives.
    LateIncarnation,
    /// A node that joins gets marks that were read before its new incarnation was stored.
    EarlyMarks,
    /// A backend loses its last writes unnoticed.
    TailUnnoticed,
    /// One node takes a claim again that it took last, because that could be a repetition by the same client.
    TakesAgain,
    /// Nobody hears of other nodes' incarnations. Instead clients give up after some time, and nodes that lost data wait
    /// longer before they join. That would do if no clock jumped.
    TrustsClocks,
    /// Nodes are not raised to the marks that a change of the members has read.
    NoRaise,
    /// A change of the members has the marks from before it was stored.
    MarksBeforeBegin,
    /// Whoever takes up a change that was interrupted takes the marks for read.
    NotReadAgain,
}

/// The time between two steps that must not be exchanged.
pub(crate) const BETWEEN: Duration = Duration::from_millis(600);

impl Mistake {
    pub(crate) const ALL: [Self; 13] = [
        Self::ServesEmpty,
        Self::ForgetsUnnoticed,
        Self::CountsRefusals,
        Self::NoVector,
        Self::EarlyVector,
        Self::LateIncarnation,
        Self::EarlyMarks,
        Self::TailUnnoticed,
        Self::TakesAgain,
        Self::TrustsClocks,
        Self::NoRaise,
        Self::MarksBeforeBegin,
        Self::NotReadAgain,
    ];

    /// The first seed to look for it. The runs before do not find it, and take long.
    pub(crate) fn first_seed(self) -> u64 {
        match self {
            Self::MarksBeforeBegin => 600,
            Self::EarlyMarks => 270,
            Self::NotReadAgain => 1200,
            Self::TrustsClocks => 240,
            Self::ForgetsUnnoticed => 60,
            Self::LateIncarnation => 570,
            Self::EarlyVector => 380,
            Self::TailUnnoticed => 20,
            _ => 0,
        }
    }

    /// Whether it is one in changes of the members.
    pub(crate) fn is_of_changes(self) -> bool {
        matches!(
            self,
            Self::NoRaise | Self::MarksBeforeBegin | Self::NotReadAgain
        )
    }

    /// The answer of a machine.
    pub(crate) async fn answer(
        self,
        machine: &Machine,
        from: &str,
        request: &Request<Bytes>,
    ) -> Option<Response<Bytes>> {
        if self.is_of_changes()
            && let Some(change) = changes(request)
        {
            return self.answer_change(machine, from, request, change).await;
        }
        let ask = |request| machine.answer(request, pending());
        match self {
            Self::EarlyVector if is_claim(request) && machine.address() == "n2" => {
                let known = machine.node()?.status().known;
                sleep(BETWEEN).await;
                let answer = ask(request.clone()).await?;
                Some(edit(answer, |answer| answer["known"] = json!(known)))
            }
            Self::EarlyMarks => {
                let Some(join) = joins(request) else {
                    return ask(request.clone()).await;
                };
                let lists = join.read.keys.is_empty();
                let only_read = Join {
                    incarnation: 0,
                    ..join
                };
                let body = serde_json::to_vec(&only_read).ok()?;
                let early = ask(request.clone().map(|_| body.into())).await?;
                if lists {
                    return Some(early);
                }
                sleep(BETWEEN).await;
                let answer = ask(request.clone()).await?;
                Some(match serde_json::from_slice::<Report>(early.body()) {
                    Ok(early) => edit(answer, |report| report["marks"] = json!(early.marks)),
                    Err(_) => answer,
                })
            }
            _ => ask(request.clone()).await,
        }
    }

    /// What arrives of an answer.
    pub(crate) fn arrive(
        self,
        machine: &Machine,
        to: &str,
        request: &Request<Bytes>,
        answer: Response<Bytes>,
    ) -> Response<Bytes> {
        let no_vector = matches!(self, Self::NoVector | Self::TrustsClocks);
        if no_vector && joins(request).is_some() {
            return edit(answer, |report| report["known"] = json!({}));
        }
        if !is_claim(request) {
            return answer;
        }
        match self {
            Self::CountsRefusals if to == "c0" && answer.status() == StatusCode::CONFLICT => {
                accept(answer)
            }
            Self::TakesAgain if machine.address() == "n1" => {
                let claim = serde_json::from_slice::<Claim>(request.body());
                let last = claim.ok().map(|claim| json!(claim.last));
                let answered = serde_json::from_slice::<Value>(answer.body());
                if answered.is_ok_and(|a| last.is_some_and(|last| a["mark"] == last)) {
                    accept(answer)
                } else {
                    answer
                }
            }
            Self::NoVector | Self::TrustsClocks => {
                edit(answer, |answer| answer["known"] = json!({}))
            }
            Self::LateIncarnation => match machine.node() {
                Some(node) => edit(answer, |answer| {
                    answer["incarnation"] = json!(node.status().incarnation.max(1));
                }),
                None => answer,
            },
            _ => answer,
        }
    }
}

/// The same answer as an acceptance.
fn accept(answer: Response<Bytes>) -> Response<Bytes> {
    let (mut parts, body) = edit(answer, |answer| answer["accepted"] = json!(true)).into_parts();
    parts.status = StatusCode::OK;
    Response::from_parts(parts, body)
}

fn is_claim(request: &Request<Bytes>) -> bool {
    let path = request.uri().path();
    path.ends_with("/claim") || path.ends_with("/advance")
}

/// The message of a node that has begun to join.
fn joins(request: &Request<Bytes>) -> Option<Join> {
    let is_join = request.uri().path() == "/v1/node/joining";
    let join: Join = serde_json::from_slice(request.body()).ok()?;
    (is_join && join.incarnation > 0).then_some(join)
}

/// The same answer with another message.
fn edit(answer: Response<Bytes>, change: impl FnOnce(&mut Value)) -> Response<Bytes> {
    let Ok(mut message) = serde_json::from_slice::<Value>(answer.body()) else {
        return answer;
    };
    // Problems have no such fields.
    if message.get("known").is_some() {
        change(&mut message);
    }
    answer.map(|_| message.to_string().into())
}

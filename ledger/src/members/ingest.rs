//! Parts of batches that other members have to store, because their answers depend on partitions that this one does not
//! hold: idempotency keys, and lookups of them.

use super::forward::{DIAL, FORWARDED, Unanswered};
use super::placement::OWNERS;
use super::{Member, Members, PATIENCE};
use crate::Error;
use crate::frame::{Batch, Reply};
use crate::partition::Share;
use crate::publisher::Target;
use crate::publisher::connection::Connection;
use artisanal_core::Secret;
use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeMap;

/// Why a member did not store its part.
enum Failed {
    /// It did not get it.
    Unreached,
    /// It may have stored it.
    Lost(Error),
}

impl Members {
    /// Gives a batch to members that hold these partitions, each of them its part, and returns their answers. `first` and
    /// `count` are those of the batch. A member that cannot be reached is followed by the next one; once one has its part, there
    /// is no other attempt here, and the publisher sends the batch again.
    ///
    /// The request for the WebSocket has the header `Artisanal-Forwarded`: what comes on it is not to be passed on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if nobody holds a partition, or an answer is lost; [`Error::Invalid`] if a member says so.
    pub(crate) async fn ingest(
        &self,
        partitions: &Share,
        token: Option<&Secret>,
        frame: &Bytes,
        numbers: (u64, usize),
    ) -> Result<Vec<Reply>, Error> {
        let view = self.view();
        let mut left = partitions.clone();
        let mut replies = Vec::new();
        for attempt in 0..OWNERS {
            let mut parts = BTreeMap::<&str, (&Member, Vec<u16>)>::new();
            for partition in left.iter() {
                let holder = view.holders(partition).into_iter().nth(attempt);
                let Some(holder) = holder else {
                    self.count(Unanswered::Nobody);
                    return Err(Error::Unavailable(
                        "no member that is alive has caught up with a key of a batch".into(),
                    ));
                };
                let part = parts.entry(&holder.name).or_insert((holder, Vec::new()));
                part.1.push(partition);
            }
            let given = parts.into_values().map(|(member, part)| async move {
                let part: Share = part.into_iter().collect();
                let frame = Batch::passed_on(frame, &part);
                (give(member, token, frame, numbers).await, part)
            });
            let mut unreached = Vec::new();
            let mut lost = None;
            for (given, part) in join_all(given).await {
                match given {
                    Ok(reply) => replies.push(reply),
                    Err(Failed::Unreached) => unreached.extend(part.iter()),
                    Err(Failed::Lost(error)) => lost = Some(error),
                }
            }
            if let Some(error) = lost {
                self.count(Unanswered::Lost);
                return Err(error);
            }
            if unreached.is_empty() {
                return Ok(replies);
            }
            left = unreached.into_iter().collect();
        }
        self.count(Unanswered::Nobody);
        Err(Error::Unavailable(
            "the members that hold the keys of a batch cannot be reached".into(),
        ))
    }
}

/// Gives a part of a batch to one member.
async fn give(
    member: &Member,
    token: Option<&Secret>,
    frame: Bytes,
    (first, count): (u64, usize),
) -> Result<Reply, Failed> {
    let target = target(member).ok_or(Failed::Unreached)?;
    let mut headers = HeaderMap::new();
    headers.insert(FORWARDED, HeaderValue::from_static("member"));
    let opened = Connection::open_with(&target, token, headers, DIAL).await;
    let mut connection = opened.map_err(|error| {
        tracing::debug!(member = member.name, %error, "a member takes no batch");
        Failed::Unreached
    })?;
    let reply = connection.send(frame, first, count, PATIENCE).await;
    connection.close().await;
    let name = &member.name;
    let lost = |text: String| Failed::Lost(Error::Unavailable(text));
    let reply =
        reply.map_err(|error| lost(format!("the member {name} did not answer: {error}")))?;
    match reply.refusal {
        None => Ok(reply),
        Some(refusal) if refusal.again => {
            let detail = refusal.detail;
            Err(lost(format!("the member {name} stores no batch: {detail}")))
        }
        Some(refusal) => Err(Failed::Lost(Error::Invalid(refusal.detail))),
    }
}

/// Where a member takes batches.
fn target(member: &Member) -> Option<Target> {
    let address = member.address.as_ref()?;
    Some(Target {
        host: address.host()?.to_owned(),
        port: address.port_u16()?,
    })
}

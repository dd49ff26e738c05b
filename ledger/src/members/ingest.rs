//! Batches that another member has to store, because their answer depends on partitions that this one does not hold:
//! idempotency keys, and lookups of them.

use super::forward::FORWARDED;
use super::{Member, Members};
use crate::Error;
use crate::frame::Reply;
use crate::publisher::Target;
use crate::publisher::connection::Connection;
use artisanal_core::Secret;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

impl Members {
    /// Gives a batch to a member that holds all these partitions, and returns its answer. `first` and `count` are those of
    /// the batch. A member that cannot be reached is followed by the next one; once one has the batch, there is no other
    /// attempt here, and the publisher sends it again.
    ///
    /// The request for the WebSocket has the header `Artisanal-Forwarded`: what comes on it is not to be passed on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if nobody holds them all, or the answer is lost.
    pub async fn ingest(
        &self,
        partitions: &[u16],
        token: Option<&Secret>,
        frame: Bytes,
        (first, count): (u64, usize),
    ) -> Result<Reply, Error> {
        let view = self.view();
        let holds_all = |member: &&Member| partitions.iter().all(|one| member.held.contains(*one));
        let first_choice = partitions.first().copied().unwrap_or_default();
        let holders = view.holders(first_choice).into_iter().filter(holds_all);
        for member in holders {
            let Some(target) = target(member) else {
                continue;
            };
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED, HeaderValue::from_static("member"));
            let opened = Connection::open_with(&target, token, headers).await;
            let mut connection = match opened {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(member = member.name, %error, "a member takes no batch");
                    continue;
                }
            };
            let reply = connection.send(frame, first, count).await;
            connection.close().await;
            return reply.map_err(|error| {
                Error::Unavailable(format!(
                    "the member {} did not answer: {error}",
                    member.name
                ))
            });
        }
        Err(Error::Unavailable(
            "no member that is alive has caught up with the keys of a batch".into(),
        ))
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

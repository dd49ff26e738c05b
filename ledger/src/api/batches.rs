//! The batches of publishers.

use super::Api;
use crate::frame::{Batch, Earlier, Lookup, Malformed, Reply};
use crate::members::forward::FORWARDED;
use crate::partition::{self, Share};
use crate::store::Added;
use crate::stream::Stream;
use crate::{Error, Store};
use artisanal_core::Secret;
use bytes::Bytes;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::sync::atomic::Ordering;

/// Who sends batches on a connection.
pub(super) struct Sender {
    /// Another member needs it too.
    token: Option<Secret>,
    /// Whether this is another member, so that nothing is passed on again.
    member: bool,
}

impl Sender {
    /// Whether this is another member.
    pub(super) fn is_member(&self) -> bool {
        self.member
    }

    pub(super) fn of(headers: &HeaderMap) -> Self {
        let token = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            let bearer = scheme.eq_ignore_ascii_case("bearer");
            bearer.then(|| Secret::new(token.trim().to_owned()))
        });
        Self {
            token,
            member: headers.contains_key(FORWARDED),
        }
    }
}

/// Stores a batch. An error means that the bytes are none: the sender does not follow the protocol.
pub(super) async fn store(api: &Api, sender: &Sender, bytes: &Bytes) -> Result<Reply, Malformed> {
    let batch = Batch::read(bytes)?;
    let (version, first, count) = (batch.version, batch.first, batch.count().unwrap_or(0));
    api.0.counts.batches.fetch_add(1, Ordering::Relaxed);
    let stored = match api.0.log.stream() {
        None => add(&api.0.store, batch).await,
        Some(stream) => add_to_stream(api, stream, sender, (batch, bytes)).await,
    };
    let reply = match stored {
        Ok((added, found)) => Reply {
            earlier: added.earlier,
            found,
            ..Reply::stored(first, count, added.duplicates)
        },
        Err(Error::Invalid(text)) => Reply::refused(first, count, "invalid", text, false),
        Err(error) => {
            tracing::debug!(%error, "a batch was not stored");
            let text = match api.0.log.stream() {
                None => "the ledger cannot write to its disk".to_owned(),
                Some(_) => "the ledger cannot write to its stream".to_owned(),
            };
            Reply::refused(first, count, "unavailable", text, true)
        }
    };
    Ok(Reply { version, ..reply })
}

/// Stores the events of a batch, and then answers its lookups.
async fn add(store: &Store, mut batch: Batch) -> Result<(Added, Vec<Earlier>), Error> {
    if !batch.partitions.is_empty() {
        return Err(Error::Invalid(
            "only members of a ledger that share a stream pass batches on".into(),
        ));
    }
    let lookups = std::mem::take(&mut batch.lookups);
    let added = if is_empty(&batch) {
        Added::default()
    } else {
        store.add(batch).await?
    };
    let found = find(&lookups, |_| true, |lookup, at| store.lookup(lookup, at))?;
    Ok((added, found))
}

/// The same with a stream. Other members get the partitions that only they can answer.
async fn add_to_stream(
    api: &Api,
    stream: &Stream,
    sender: &Sender,
    (batch, frame): (Batch, &Bytes),
) -> Result<(Added, Vec<Earlier>), Error> {
    let meant = batch.meant();
    let is_meant = |partition| meant.as_ref().is_none_or(|all| all.contains(partition));
    let elsewhere = stream.elsewhere(&batch);
    let elsewhere: Share = elsewhere.iter().filter(|one| is_meant(*one)).collect();
    let is_here = |partition| is_meant(partition) && !elsewhere.contains(partition);
    let here = async {
        let added = if is_empty(&batch) {
            Added::default()
        } else {
            stream.add(&batch, is_here).await?
        };
        let lookup = |lookup: &Lookup, at| stream.lookup(lookup, at);
        Ok((added, find(&batch.lookups, is_here, lookup)?))
    };
    if elsewhere.is_empty() {
        return here.await;
    }
    if sender.member {
        return Err(Error::Unavailable(
            "this member does not have all keys of the batch, or not yet".into(),
        ));
    }
    let numbers = (batch.first, batch.count().unwrap_or(0));
    let members = &api.0.members;
    let others = members.ingest(&elsewhere, sender.token.as_ref(), frame, numbers);
    let ((mut added, mut found), replies) = tokio::try_join!(here, others)?;
    for reply in replies {
        added.duplicates += reply.duplicates as usize;
        added.earlier.extend(reply.earlier);
        found.extend(reply.found);
    }
    added.earlier.sort_by_key(|earlier| earlier.index);
    found.sort_by_key(|earlier| earlier.index);
    Ok((added, found))
}

fn is_empty(batch: &Batch) -> bool {
    batch.events.is_empty() && batch.mints.is_empty()
}

fn find(
    lookups: &[Lookup],
    is_here: impl Fn(u16) -> bool,
    lookup: impl Fn(&Lookup, usize) -> Result<Option<Earlier>, Error>,
) -> Result<Vec<Earlier>, Error> {
    if lookups.is_empty() {
        return Ok(Vec::new());
    }
    tokio::task::block_in_place(|| {
        let all = lookups.iter().enumerate();
        let here = all.filter(|(_, lookup)| is_here(partition::of(&lookup.key)));
        here.filter_map(|(at, one)| lookup(one, at).transpose())
            .collect()
    })
}

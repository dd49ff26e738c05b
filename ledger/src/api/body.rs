//! The bodies of answers.

use super::backup::Backup;
use super::json;
use crate::Store;
use crate::event::Event;
use crate::members::Members;
use crate::partition;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

/// How many events a follower gets at a time: they are in memory until the client has read them.
const PAGE: usize = 100;

/// How long a follower waits without a sign of life, so that a client that has gone is noticed.
const ALIVE: Duration = Duration::from_secs(15);

/// The body of an answer.
pub enum Body {
    /// Bytes.
    Whole(Option<Bytes>),
    /// A stream of events that does not end.
    Follow(Box<Follow>),
    /// A backup.
    Backup(Box<Backup>),
    /// A stream of events of another member.
    Forwarded(Box<Incoming>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(None)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Follow(follow) => follow.poll(context),
            Self::Backup(backup) => backup
                .poll(context)
                .map(|piece| Some(Ok(Frame::data(piece?)))),
            // It ends when the other member ends, or is lost: followers ask again.
            Self::Forwarded(incoming) => Pin::new(incoming.as_mut())
                .poll_frame(context)
                .map(|frame| frame?.ok().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Follow(_) | Self::Backup(_) | Self::Forwarded(_) => SizeHint::default(),
        }
    }
}

/// A stream of events.
pub struct Follow {
    /// Makes the next piece; None once the stream has ended.
    making: Option<BoxFuture<'static, Option<(Bytes, Events)>>>,
    _slot: OwnedSemaphorePermit,
}

/// The place of a follower in the log of a key.
pub(super) struct Events {
    pub(super) store: Store,
    pub(super) key: String,
    pub(super) next: u64,
    pub(super) strings: bool,
    pub(super) commits: watch::Receiver<u64>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) members: Members,
}

/// Server-sent events.
pub(super) fn follow(events: Events, slot: OwnedSemaphorePermit) -> Body {
    Body::Follow(Box::new(Follow {
        making: Some(Box::pin(events.piece())),
        _slot: slot,
    }))
}

impl Follow {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(making) = &mut self.making else {
            return Poll::Ready(None);
        };
        let made = ready!(making.as_mut().poll(context));
        self.making = None;
        Poll::Ready(made.map(|(bytes, events)| {
            self.making = Some(Box::pin(events.piece()));
            Ok(Frame::data(bytes))
        }))
    }
}

impl Events {
    /// The next events as text; None when the server ends or the store fails.
    async fn piece(mut self) -> Option<(Bytes, Self)> {
        let texts = self.wait().await?;
        let mut text = String::new();
        for (number, event) in &texts {
            text += &format!("id: {number}\ndata: {event}\n\n");
        }
        if texts.is_empty() {
            text.push_str(": alive\n\n");
        }
        Some((text.into(), self))
    }

    /// As [`Events::more`], each with its number, as JSON.
    pub(super) async fn wait(&mut self) -> Option<Vec<(u64, String)>> {
        let events = self.more().await?;
        let text = |event: &Event| json::event(event, self.strings).to_string();
        let texts = events.iter().map(|event| (event.number, text(event)));
        Some(texts.collect())
    }

    /// Waits for events. An empty answer is a sign of life; None is the end.
    pub(super) async fn more(&mut self) -> Option<Vec<Event>> {
        let partition = partition::of(&self.key);
        loop {
            // Nothing comes any more of a partition that another member has. Whoever follows it asks again.
            if !self.members.holds(partition) {
                return None;
            }
            // Before the question, so that no commit is missed.
            self.commits.mark_unchanged();
            let asked =
                tokio::task::block_in_place(|| self.store.events(&self.key, self.next, PAGE));
            let page = asked.ok()?;
            if let Some(last) = page.events.last() {
                self.next = last.number + 1;
                return Some(page.events);
            }
            let (commits, stopping) = (&mut self.commits, &mut self.stopping);
            let lost = self.members.lost(partition);
            let changed = timeout(ALIVE, async {
                tokio::select! {
                    changed = commits.changed() => changed.is_ok(),
                    _ = stopping.wait_for(|stopping| *stopping) => false,
                    () = lost => false,
                }
            });
            match changed.await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(_) => return Some(Vec::new()),
            }
        }
    }
}

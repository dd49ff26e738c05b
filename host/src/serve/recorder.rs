//! Publishing what clients get, if there is a ledger.

use super::stream::Stream;
use crate::Error;
use artisanal_core::Span;
use intd::Repeatable;

#[cfg(feature = "ledger")]
use super::repeat;
#[cfg(feature = "ledger")]
pub(crate) use crate::ledger::Name;
#[cfg(feature = "ledger")]
use crate::ledger::{Once, Policy, Publisher};

/// The name of a sequence or of a client.
#[cfg(not(feature = "ledger"))]
pub(crate) type Name = std::sync::Arc<str>;

/// Publishes to a ledger, or does nothing.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    #[cfg(feature = "ledger")]
    publisher: Option<Publisher>,
}

/// Who asked: a client's address, or the name of its token; None without a ledger.
#[derive(Clone, Default)]
pub(crate) struct Client(Option<Name>);

impl Recorder {
    #[cfg(feature = "ledger")]
    pub(crate) fn new(publisher: Publisher) -> Self {
        Self {
            publisher: Some(publisher),
        }
    }

    /// The client of a connection.
    pub(crate) fn client(&self, stream: &Stream) -> Client {
        if !self.is_on() {
            return Client::default();
        }
        let address = stream.tcp().peer_addr().map(|address| address.to_string());
        Client(Some(address.unwrap_or_default().into()))
    }
}

impl Client {
    /// The same client, by the name of its token if it has one.
    pub(crate) fn named(&self, token: Option<&str>) -> Self {
        match token {
            Some(token) if self.0.is_some() => Self(Some(token.into())),
            _ => self.clone(),
        }
    }
}

#[cfg(feature = "ledger")]
impl Recorder {
    pub(crate) fn is_on(&self) -> bool {
        self.publisher.is_some()
    }

    /// Whether publishing never waits.
    pub(crate) fn is_instant(&self) -> bool {
        self.publisher
            .as_ref()
            .is_none_or(|publisher| publisher.policy() == Policy::Shed)
    }

    /// Publishes without waiting, if [`Recorder::is_instant`].
    pub(crate) fn note(&self, key: &Name, client: &Client, span: Span) {
        if let (Some(publisher), Some(by)) = (&self.publisher, &client.0) {
            publisher.shed(key, by, span);
        }
    }

    /// Publishes that a client gets these integers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it must not get them after all.
    pub(crate) async fn minted(
        &self,
        key: &Name,
        client: &Client,
        request: Option<&str>,
        span: Span,
    ) -> Result<(), Error> {
        match (&self.publisher, &client.0) {
            (Some(publisher), Some(by)) => publisher
                .minted(key, by, request, span)
                .await
                .map_err(|why| Error::Unavailable(why.to_string())),
            _ => Ok(()),
        }
    }

    /// Whether the ledger is asked about each idempotency key.
    pub(crate) fn remembers(&self) -> bool {
        let publisher = self.publisher.as_ref();
        publisher.is_some_and(|publisher| publisher.policy() == Policy::Strict)
    }

    /// The integers that the idempotency key of a request has already.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the ledger does not answer.
    pub(crate) async fn earlier(
        &self,
        key: &Name,
        client: &Client,
        request: &Repeatable,
    ) -> Result<Option<Span>, Error> {
        let (Some(publisher), Some(by)) = (&self.publisher, &client.0) else {
            return Ok(None);
        };
        let found = publisher.earlier(key, by, &once(request)).await;
        let found = found.map_err(|why| Error::Unavailable(why.to_string()))?;
        found.map(repeat::span).transpose()
    }

    /// Publishes that a client gets these integers for its idempotency key. If that has others already, those are
    /// returned, and the client must get them instead.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it must get none.
    pub(crate) async fn minted_once(
        &self,
        key: &Name,
        client: &Client,
        id: Option<&str>,
        request: &Repeatable,
        span: Span,
    ) -> Result<Option<Span>, Error> {
        let (Some(publisher), Some(by)) = (&self.publisher, &client.0) else {
            return Ok(None);
        };
        let earlier = publisher
            .minted_once(key, by, id, &once(request), span)
            .await;
        let earlier = earlier.map_err(|why| Error::Unavailable(why.to_string()))?;
        earlier.map(repeat::span).transpose()
    }

    /// Publishes that a sequence was raised.
    pub(crate) async fn raised(&self, key: &str, client: &Client, request: &str, last: i64) {
        if let (Some(publisher), Some(by)) = (&self.publisher, &client.0)
            && let Err(error) = publisher.raised(&key.into(), by, Some(request), last).await
        {
            tracing::warn!(%error, key, last, "the ledger does not know of a raise");
        }
    }
}

#[cfg(feature = "ledger")]
fn once(request: &Repeatable) -> Once {
    Once {
        token: request.token().unwrap_or_default().to_owned(),
        idempotency: request.idempotency().to_owned(),
    }
}

#[cfg(not(feature = "ledger"))]
#[expect(clippy::unused_async, reason = "the same interface as with a ledger")]
impl Recorder {
    pub(crate) fn is_on(&self) -> bool {
        false
    }

    pub(crate) fn is_instant(&self) -> bool {
        true
    }

    pub(crate) fn note(&self, _: &Name, _: &Client, _: Span) {}

    pub(crate) async fn minted(
        &self,
        _: &Name,
        _: &Client,
        _: Option<&str>,
        _: Span,
    ) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn remembers(&self) -> bool {
        false
    }

    pub(crate) async fn earlier(
        &self,
        _: &Name,
        _: &Client,
        _: &Repeatable,
    ) -> Result<Option<Span>, Error> {
        Ok(None)
    }

    pub(crate) async fn minted_once(
        &self,
        _: &Name,
        _: &Client,
        _: Option<&str>,
        _: &Repeatable,
        _: Span,
    ) -> Result<Option<Span>, Error> {
        Ok(None)
    }

    pub(crate) async fn raised(&self, _: &str, _: &Client, _: &str, _: i64) {}
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("on", &self.is_on())
            .finish()
    }
}

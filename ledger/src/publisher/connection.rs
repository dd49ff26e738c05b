//! A connection to the ledger.

use super::{Options, Target};
use crate::frame::{MAX_REPLY, PROTOCOL, Reply};
use artisanal_core::Secret;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Response};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// How long it may take to open a connection to a ledger.
const DIAL: Duration = Duration::from_secs(2);

/// How many bytes are read at a time. Most replies are shorter.
const BUFFER: usize = 4 << 10;

/// The path at which a ledger takes batches.
pub(crate) const PATH: &str = "/v1/ingest";

/// A connection with at most one batch under way.
pub(crate) struct Connection(WebSocketStream<TcpStream>);

/// The status and the beginning of an answer that is no WebSocket: it says, for instance, which versions a ledger knows.
fn refusal(response: &Response<Option<Vec<u8>>>) -> String {
    let body = response.body().as_deref().unwrap_or_default();
    let body = String::from_utf8_lossy(body.get(..512).unwrap_or(body));
    let text: String = body.chars().filter(|c| !c.is_control()).collect();
    format!("the ledger answered {}: {text}", response.status())
}

/// Why a connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    WebSocket(#[from] Error),
    #[error("no answer in time")]
    Late,
    #[error("{0}")]
    Reply(String),
}

impl Connection {
    /// Opens a connection to the ledger of a publisher.
    pub(super) async fn open(options: &Options) -> Result<Self, Broken> {
        let token = options.token.as_ref();
        Self::open_with(&options.target, token, HeaderMap::new(), DIAL).await
    }

    /// Opens a connection with further headers in its first request, within `limit`.
    pub(crate) async fn open_with(
        target: &Target,
        token: Option<&Secret>,
        headers: HeaderMap,
        limit: Duration,
    ) -> Result<Self, Broken> {
        let dial = async {
            let host = target.host.trim_matches(['[', ']']);
            let stream = TcpStream::connect((host, target.port)).await?;
            stream.set_nodelay(true)?;
            let mut request = format!("{target}{PATH}").into_client_request()?;
            request
                .headers_mut()
                .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
            request.headers_mut().extend(headers);
            if let Some(token) = token {
                let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.reveal()))
                    .map_err(|_| Broken::Reply("the token is no text for a header".into()))?;
                bearer.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, bearer);
            }
            let config = WebSocketConfig::default()
                .read_buffer_size(BUFFER)
                .max_message_size(Some(MAX_REPLY))
                .max_frame_size(Some(MAX_REPLY));
            match client_async_with_config(request, stream, Some(config)).await {
                Ok((socket, _)) => Ok(Self(socket)),
                Err(Error::Http(response)) => Err(Broken::Reply(refusal(&response))),
                Err(other) => Err(other.into()),
            }
        };
        timeout(limit, dial).await.map_err(|_| Broken::Late)?
    }

    /// Sends a batch and waits for the answer to it, for up to `limit`.
    pub(crate) async fn send(
        &mut self,
        frame: Bytes,
        first: u64,
        count: usize,
        limit: Duration,
    ) -> Result<Reply, Broken> {
        let asking = async {
            self.0.send(Message::Binary(frame)).await?;
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Binary(bytes))) => {
                        let reply = Reply::read(&bytes)
                            .map_err(|malformed| Broken::Reply(malformed.to_string()))?;
                        if reply.first != first || reply.count as usize != count {
                            return Err(Broken::Reply(format!(
                                "an answer to {} events from {} on, instead of {count} from {first} on",
                                reply.count, reply.first
                            )));
                        }
                        return Ok(reply);
                    }
                    // Pings are answered by the library.
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(_)) | None => {
                        return Err(Broken::Reply("the ledger closed the connection".into()));
                    }
                    Some(Err(error)) => return Err(error.into()),
                }
            }
        };
        timeout(limit, asking).await.map_err(|_| Broken::Late)?
    }

    /// Tells the ledger that nothing more comes.
    pub(crate) async fn close(mut self) {
        let _ = timeout(Duration::from_millis(200), self.0.close(None)).await;
    }
}

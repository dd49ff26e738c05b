//! What a client sent on a WebSocket for binary messages.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Message(Bytes),
    /// A control frame with a payload of this length, which has been dealt with.
    Control(usize),
    /// Something for which the connection has to be closed, with this code and reason.
    Refused(CloseCode, String),
    /// The connection has ended.
    End,
}

impl Received {
    pub(crate) fn of(message: Option<Result<Message, Error>>) -> Self {
        match message {
            Some(Ok(Message::Binary(bytes))) => Self::Message(bytes),
            Some(Ok(Message::Ping(payload) | Message::Pong(payload))) => {
                Self::Control(payload.len())
            }
            Some(Ok(Message::Text(_))) => Self::Refused(
                CloseCode::Unsupported,
                "a message has to be binary, and this one is a text".into(),
            ),
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { size, max_size }))) => {
                Self::Refused(
                    CloseCode::Size,
                    format!("a message of {size} bytes; {max_size} are allowed"),
                )
            }
            // The client has gone.
            Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Self::End,
            Some(Err(Error::Protocol(error))) => {
                Self::Refused(CloseCode::Protocol, error.to_string())
            }
            Some(Ok(Message::Close(_) | Message::Frame(_)) | Err(_)) | None => Self::End,
        }
    }
}

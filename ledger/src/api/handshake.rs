//! The beginning of a WebSocket, RFC 6455.

use super::{Body, Problem};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Whether a request asks for a WebSocket.
pub(crate) fn asks(headers: &HeaderMap) -> bool {
    has(headers, &header::UPGRADE, "websocket") && has(headers, &header::CONNECTION, "upgrade")
}

/// Whether a request offers this subprotocol.
pub(crate) fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    has(headers, &header::SEC_WEBSOCKET_PROTOCOL, protocol)
}

/// The answer that begins a WebSocket with this subprotocol.
///
/// # Errors
/// For a request with another version.
pub(crate) fn accept(
    headers: &HeaderMap,
    protocol: Option<&'static str>,
) -> Result<Response<Body>, Problem> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    let (Some(key), true) = (key, version.is_some_and(|version| version == "13")) else {
        return Err(Problem::invalid("a WebSocket of version 13 is expected"));
    };
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accepted) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        answer.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    }
    if let Some(protocol) = protocol {
        let protocol = HeaderValue::from_static(protocol);
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response)
}

/// The WebSocket on a connection after the answer, with messages of at most `most` bytes.
pub(crate) async fn begin<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    most: usize,
) -> WebSocketStream<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await
}

/// Whether a header lists a word.
fn has(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let texts = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    texts
        .flat_map(|text| text.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(word))
}

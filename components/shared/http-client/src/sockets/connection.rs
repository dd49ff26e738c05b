//! One connection.

use super::bindings::wasi::sockets::ip_name_lookup::{self, resolve_addresses};
use super::bindings::wasi::sockets::types::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
    TcpSocket,
};
use super::bindings::wit_stream;
use super::response::{Parser, Whole};
use crate::{Failure, Quoter, sleep};
use engine_dsn::Address;
use futures::future::{Either, select};
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;
use wit_bindgen::{StreamReader, StreamResult, StreamWriter};

/// How much is read at a time, in bytes; most responses are shorter.
const CHUNK: usize = 4 * 1024;

/// A connection with no request under way. It must be dropped when a request is given up: otherwise its answer would be
/// taken for that to the next one.
pub(super) struct Connection {
    /// The streams are its.
    _socket: TcpSocket,
    reader: StreamReader<u8>,
    writer: StreamWriter<u8>,
}

/// Why there is no answer.
pub(super) enum Lost {
    /// The server closed the connection before it sent any of the answer, as it may do with one that was idle.
    Unanswered,
    /// Another connection would not help.
    Failed(Failure),
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Unanswered => Self::Passing("connection lost".into()),
            Lost::Failed(failure) => failure,
        }
    }
}

impl Connection {
    /// Connects to the first of the host's addresses that answers. Each gets an equal share of `limit`.
    pub(super) async fn open(
        to: &Address,
        port: u16,
        limit: Duration,
        quoter: &Quoter,
    ) -> Result<Self, Failure> {
        let ips = addresses(to).await?;
        let share = limit / u32::try_from(ips.len().max(1)).unwrap_or(u32::MAX);
        let mut last = Failure::Passing("the host name has no address".into());
        for ip in ips {
            let connected = pin!(Self::connect(ip, to.port_or(port)));
            match select(connected, pin!(sleep(share))).await {
                Either::Left((Ok(connection), _)) => return Ok(connection),
                Either::Left((Err(code), _)) => last = failure(&code, quoter),
                Either::Right(((), _)) => last = failure(&ErrorCode::Timeout, quoter),
            }
        }
        Err(last)
    }

    async fn connect(ip: IpAddress, port: u16) -> Result<Self, ErrorCode> {
        let (family, address) = match ip {
            IpAddress::Ipv4(address) => (
                IpAddressFamily::Ipv4,
                IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }),
            ),
            IpAddress::Ipv6(address) => (
                IpAddressFamily::Ipv6,
                IpSocketAddress::Ipv6(Ipv6SocketAddress {
                    port,
                    flow_info: 0,
                    address,
                    scope_id: 0,
                }),
            ),
        };
        let socket = TcpSocket::create(family)?;
        socket.connect(address).await?;
        let (writer, data) = wit_stream::new();
        // How the streams end shows in the streams.
        let _sent = socket.send(data);
        let (reader, _received) = socket.receive();
        Ok(Self {
            _socket: socket,
            reader,
            writer,
        })
    }

    /// Sends a request, and reads the answer, whose body may have up to `most` bytes.
    ///
    /// No read is left under way: the call of the component could not end before it.
    pub(super) async fn exchange(&mut self, request: Vec<u8>, most: usize) -> Result<Whole, Lost> {
        if !self.writer.write_all(request).await.is_empty() {
            return Err(Lost::Unanswered);
        }
        let mut parser = Parser::new(most);
        let mut bytes = Vec::with_capacity(CHUNK);
        loop {
            let (result, filled) = self.reader.read(bytes).await;
            bytes = filled;
            let ended = !matches!(result, StreamResult::Complete(_));
            if let Some(whole) = parser.read(&bytes, ended).map_err(Lost::Failed)? {
                return Ok(whole);
            }
            match (ended, bytes.len()) {
                (false, _) => bytes.reserve(CHUNK),
                (true, 0) => return Err(Lost::Unanswered),
                (true, _) => return Err(Lost::Failed(Lost::Unanswered.into())),
            }
        }
    }
}

/// The addresses of a host.
async fn addresses(of: &Address) -> Result<Vec<IpAddress>, Failure> {
    match of.ip() {
        Some(IpAddr::V4(ip)) => Ok(vec![IpAddress::Ipv4(ip.octets().into())]),
        Some(IpAddr::V6(ip)) => Ok(vec![IpAddress::Ipv6(ip.segments().into())]),
        None => resolve_addresses(of.host.clone())
            .await
            .map_err(|code| match code {
                ip_name_lookup::ErrorCode::AccessDenied => Failure::Denied,
                _ => Failure::Passing("the host name cannot be resolved".into()),
            }),
    }
}

/// In the words of [`Failure`] for `wasi:http`.
fn failure(code: &ErrorCode, quoter: &Quoter) -> Failure {
    Failure::Passing(match code {
        ErrorCode::AccessDenied => return Failure::Denied,
        ErrorCode::ConnectionRefused => "connection refused".into(),
        ErrorCode::ConnectionReset | ErrorCode::ConnectionAborted | ErrorCode::ConnectionBroken => {
            "connection lost".into()
        }
        ErrorCode::Timeout => "connection timeout".into(),
        ErrorCode::RemoteUnreachable | ErrorCode::InvalidArgument => {
            "the host cannot be reached".into()
        }
        ErrorCode::Other(Some(text)) => quoter.quote(text),
        code => quoter.quote(&format!("{code:?}")),
    })
}

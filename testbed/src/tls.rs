//! A client that uses TLS.

use crate::certificates::{Authority, Certificate};
use crate::error::{Error, Result};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// The timeout of a read or a write.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection over TLS.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A client that trusts one authority.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// Makes a client, which shows `own` if a server asks for a certificate, and offers these protocols (ALPN).
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn new(authority: &Authority, own: Option<&Certificate>, alpn: &[&str]) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots
            .add(authority.der().clone())
            .map_err(|error| unusable(&error))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let cert = CertificateDer::from_pem_slice(own.cert.as_bytes())
                    .map_err(|error| unusable(&error))?;
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes())
                    .map_err(|error| unusable(&error))?;
                builder
                    .with_client_auth_cert(vec![cert], key)
                    .map_err(|error| unusable(&error))?
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self(Arc::new(config)))
    }

    /// Connects to a port of 127.0.0.1 and makes the handshake.
    ///
    /// # Errors
    /// When either side refuses it.
    pub fn connect(&self, port: u16) -> Result<Stream> {
        let server = format!("127.0.0.1:{port}");
        let failed = || Error::refused(&server, "a connection");
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(failed())?;
        tcp.set_read_timeout(Some(LIMIT)).map_err(failed())?;
        tcp.set_write_timeout(Some(LIMIT)).map_err(failed())?;
        tcp.set_nodelay(true).map_err(failed())?;
        let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        let session =
            ClientConnection::new(Arc::clone(&self.0), name).map_err(|error| unusable(&error))?;
        let mut stream = StreamOwned::new(session, tcp);
        while stream.conn.is_handshaking() {
            let (conn, sock) = (&mut stream.conn, &mut stream.sock);
            conn.complete_io(sock).map_err(failed())?;
        }
        Ok(stream)
    }

    /// Sends `GET path` on a connection over HTTP/1.1 and returns status and body. The connection can be used again.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn get(stream: &mut Stream, path: &str) -> Result<(u16, String)> {
        let failed = || Error::refused("the server", format!("GET {path}"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(failed())?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).map_err(failed())?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let after = |name: &str| {
            let (_, rest) = head.split_once(name)?;
            rest.split_ascii_whitespace().next()?.parse::<usize>().ok()
        };
        let missing = || Error::unexpected("a head without status or length", &head);
        let length = after("content-length:").ok_or_else(missing)?;
        let status = after("http/1.1").and_then(|status| u16::try_from(status).ok());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).map_err(failed())?;
        Ok((
            status.ok_or_else(missing)?,
            String::from_utf8_lossy(&body).into_owned(),
        ))
    }
}

fn unusable(error: &dyn std::fmt::Display) -> Error {
    Error::refused("rustls", "a client")(error)
}

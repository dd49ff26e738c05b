//! Certificates, and a client that uses TLS.

use crate::error::{Error, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The timeout of a read or a write.
const LIMIT: Duration = Duration::from_secs(30);

/// An authority that signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, both as PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

impl Certificate {
    /// Writes both to files, whose names begin with this path.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, path: &std::path::Path) -> Result<(PathBuf, PathBuf)> {
        let (cert, key) = (path.with_extension("pem"), path.with_extension("key"));
        std::fs::write(&cert, &self.cert).map_err(Error::io(cert.display().to_string()))?;
        std::fs::write(&key, &self.key).map_err(Error::io(key.display().to_string()))?;
        Ok((cert, key))
    }
}

impl Authority {
    /// Makes an authority.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self> {
        let failed = Error::refused("rcgen", "an authority");
        let make = || {
            let mut params = CertificateParams::new(Vec::new())?;
            // A certificate with the same name as its authority looks self-signed.
            params
                .distinguished_name
                .push(DnType::CommonName, "the authority of a test");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate()?)
        };
        make().map(Self).map_err(failed)
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate for `localhost` and 127.0.0.1.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn sign(&self) -> Result<Certificate> {
        self.sign_with(|_| {})
    }

    /// The same, which is valid from 2019 to 2020.
    ///
    /// # Errors
    /// As [`Authority::sign`].
    pub fn sign_expired(&self) -> Result<Certificate> {
        self.sign_with(|params| {
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        })
    }

    fn sign_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Result<Certificate> {
        let failed = Error::refused("rcgen", "a certificate");
        let make = || {
            let names = ["localhost", "127.0.0.1"].map(str::to_owned);
            let mut params = CertificateParams::new(names)?;
            change(&mut params);
            let key = KeyPair::generate()?;
            let cert = params.signed_by(&key, &self.0)?.pem();
            Ok::<_, rcgen::Error>(Certificate {
                cert,
                key: key.serialize_pem(),
            })
        };
        make().map_err(failed)
    }
}

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
            .add(authority.0.der().clone())
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

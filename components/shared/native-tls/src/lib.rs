//! The part of the crate `native-tls` that `mysql_async` uses, done by the host of the component.
//!
//! `mysql_async` has TLS by `native-tls` or by `rustls`, and no way to another one. The first needs OpenSSL,
//! and the second would bring keys and authorities into the sandbox. So this crate takes the place of the first.
//! Certificates and keys are the host's, so the functions for them have no effect or fail.

use engine_tls::Verification;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

/// Why TLS could not be started.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    /// An error with this reason.
    pub fn new(why: String) -> Self {
        Self(why)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// There are no errors of this kind.
#[derive(Debug)]
pub struct HandshakeError<S>(Infallible, PhantomData<S>);

impl<S> fmt::Display for HandshakeError<S> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

impl<S: fmt::Debug> std::error::Error for HandshakeError<S> {}

/// An authority. The host has its own.
#[derive(Debug)]
pub struct Certificate(());

impl Certificate {
    /// # Errors
    /// Always: authorities are given to the host.
    pub fn from_der(_: &[u8]) -> Result<Self, Error> {
        Err(Error(AT_THE_HOST.to_owned()))
    }

    /// # Errors
    /// Always: authorities are given to the host.
    pub fn from_pem(_: &[u8]) -> Result<Self, Error> {
        Err(Error(AT_THE_HOST.to_owned()))
    }
}

/// A client certificate. The host has its own.
#[derive(Debug)]
pub struct Identity(());

impl Identity {
    /// # Errors
    /// Always: client certificates are given to the host.
    pub fn from_pkcs12(_: &[u8], _: &str) -> Result<Self, Error> {
        Err(Error(AT_THE_HOST.to_owned()))
    }
}

const AT_THE_HOST: &str = "certificates are given to the host of the component";

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub struct TlsConnector {
    /// What is verified.
    pub verification: Verification,
}

impl TlsConnector {
    /// A connector that verifies certificates and names.
    pub fn builder() -> TlsConnectorBuilder {
        TlsConnectorBuilder {
            any_name: false,
            anything: false,
        }
    }
}

/// Makes a [`TlsConnector`].
#[derive(Debug)]
pub struct TlsConnectorBuilder {
    any_name: bool,
    anything: bool,
}

impl TlsConnectorBuilder {
    /// Has no effect, as there are no [`Certificate`]s.
    pub fn add_root_certificate(&mut self, _: Certificate) -> &mut Self {
        self
    }

    /// Has no effect, as there are no [`Identity`]s.
    pub fn identity(&mut self, _: Identity) -> &mut Self {
        self
    }

    /// Has no effect: the host decides.
    pub fn disable_built_in_roots(&mut self, _: bool) -> &mut Self {
        self
    }

    /// Accepts certificates for other names.
    pub fn danger_accept_invalid_hostnames(&mut self, accept: bool) -> &mut Self {
        self.any_name = accept;
        self
    }

    /// Accepts every certificate.
    pub fn danger_accept_invalid_certs(&mut self, accept: bool) -> &mut Self {
        self.anything = accept;
        self
    }

    /// The connector.
    ///
    /// # Errors
    /// None; the signature is that of the original.
    pub fn build(&self) -> Result<TlsConnector, Error> {
        Ok(TlsConnector {
            verification: match (self.anything, self.any_name) {
                (true, _) => Verification::Nothing,
                (false, true) => Verification::Authority,
                (false, false) => Verification::Name,
            },
        })
    }
}

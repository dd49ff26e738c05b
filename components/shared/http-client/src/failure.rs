//! The reasons why a request has no usable answer.

use crate::Quoter;
use crate::bindings::wasi::http::types::ErrorCode;
use std::time::Duration;

/// Why there is no answer. The texts are short and have no secrets that the [`Quoter`] knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No whole answer arrived within this time.
    Late(Duration),
    /// The connection failed, or the upstream did not answer the request properly. Another try may
    /// succeed. The request may have taken effect.
    Passing(String),
    /// The host does not let the component reach the address.
    Denied,
    /// The TLS connection failed.
    Tls(String),
    /// The upstream does not speak HTTP, or the host cannot send such a request.
    Protocol(String),
    /// The host takes the address for malformed.
    Address,
    /// The host does not let the component set these headers.
    Headers,
    /// The answer is longer than this number of bytes.
    TooLong(usize),
}

impl Failure {
    /// The failure for an error code of the host.
    pub(crate) fn of(code: &ErrorCode, quoter: &Quoter) -> Self {
        match code {
            ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Self::Denied,
            ErrorCode::TlsProtocolError
            | ErrorCode::TlsCertificateError
            | ErrorCode::TlsAlertReceived(_) => Self::Tls(describe(code, quoter)),
            ErrorCode::HttpProtocolError | ErrorCode::ConfigurationError => {
                Self::Protocol(describe(code, quoter))
            }
            _ => Self::Passing(describe(code, quoter)),
        }
    }
}

fn describe(code: &ErrorCode, quoter: &Quoter) -> String {
    match code {
        ErrorCode::ConnectionRefused => "connection refused".into(),
        ErrorCode::ConnectionTerminated => "connection lost".into(),
        ErrorCode::ConnectionTimeout => "connection timeout".into(),
        ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => "read timeout".into(),
        ErrorCode::DnsTimeout | ErrorCode::DnsError(_) => "the host name cannot be resolved".into(),
        ErrorCode::InternalError(Some(text)) => quoter.quote(text),
        code => quoter.quote(&format!("{code:?}")),
    }
}

//! The files of certificates and keys.

use crate::Error;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore, ServerConfig};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The maximum size of a file. Certificates have a few kilobytes.
const MOST: u64 = 1 << 20;

/// Where the certificate, its key, and the certificates of an authority are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate of the server, followed by those of its intermediate authorities, as PEM.
    pub cert: PathBuf,
    /// The private key of the certificate, as PEM: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
    /// The certificates of the authorities of clients, as PEM. With them a client needs a certificate of one of
    /// these authorities.
    pub client_ca: Option<PathBuf>,
}

/// What is in the files.
pub(super) struct Loaded {
    pub(super) config: ServerConfig,
    /// When the certificate expires, if that is known.
    pub(super) expires: Option<SystemTime>,
}

impl TlsFiles {
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let files = [&self.cert, &self.key].into_iter();
        files.chain(&self.client_ca).cloned().collect()
    }

    pub(super) fn load(&self) -> Result<Loaded, Error> {
        let chain = certificates(
            &self.cert,
            "the certificate of the server and its intermediates",
        )?;
        let key = self.key()?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Misconfigured(format!("TLS is not available: {error}")))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = authorities(path)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(&provider),
                );
                let verifier = verifier.build().map_err(|error| wrong(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let validity = chain.first().map(|first| validity(first, &provider));
        let expires = validity.and_then(|validity| self.check(validity));
        let config = builder
            .with_single_cert(chain, key)
            .map_err(|error| self.unusable(&error))?;
        Ok(Loaded { config, expires })
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        let bytes = read(&self.key)?;
        // The reason is left out: it may quote a line of the file.
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
            let why = "it has no private key as PEM, which begins with `-----BEGIN PRIVATE KEY-----`; keys with a \
                       password cannot be used";
            wrong(&self.key, &why)
        })
    }

    fn unusable(&self, error: &rustls::Error) -> Error {
        let (cert, key) = (self.cert.display(), self.key.display());
        Error::Misconfigured(match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "the key in {key} does not belong to the first certificate in {cert}; give the key that the \
                 certificate was made with, and put the certificate of the server first"
            ),
            rustls::Error::InvalidCertificate(_) => {
                format!("cannot use the certificate in {cert}: {error}")
            }
            _ => format!("cannot use the key in {key} with the certificate in {cert}: {error}"),
        })
    }

    /// Warns of a certificate that clients will refuse. Returns when it expires.
    fn check(&self, validity: Validity) -> Option<SystemTime> {
        let (now, cert) = (SystemTime::now(), self.cert.display());
        if validity.expires.is_some_and(|expires| expires <= now) {
            tracing::warn!("the certificate in {cert} has expired: clients refuse it");
        }
        if validity.begins.is_some_and(|begins| begins > now) {
            tracing::warn!("the certificate in {cert} is not valid yet: clients refuse it");
        }
        validity.expires
    }
}

/// When a certificate is valid, as far as that is known.
#[derive(Debug)]
struct Validity {
    begins: Option<SystemTime>,
    expires: Option<SystemTime>,
}

/// Asks the verification of certificates at the beginning and at the end of time: its errors name the dates.
fn validity(certificate: &CertificateDer<'_>, provider: &CryptoProvider) -> Validity {
    let error_at = |time| {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        let algorithms = provider.signature_verification_algorithms.all;
        let nobody = RootCertStore::empty();
        let verified = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &nobody,
            &[],
            UnixTime::since_unix_epoch(time),
            algorithms,
        );
        match verified {
            Err(rustls::Error::InvalidCertificate(error)) => Some(error),
            _ => None,
        }
    };
    let time =
        |time: UnixTime| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    // Year 9999 is the end of time of certificates.
    let end = Duration::from_secs(253_402_300_799);
    Validity {
        begins: match error_at(Duration::ZERO) {
            Some(CertificateError::NotValidYetContext { not_before, .. }) => time(not_before),
            _ => None,
        },
        expires: match error_at(end) {
            Some(CertificateError::ExpiredContext { not_after, .. }) => time(not_after),
            _ => None,
        },
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, "the certificates of the authorities of clients")? {
        roots
            .add(certificate)
            .map_err(|error| wrong(path, &error))?;
    }
    Ok(roots)
}

/// The certificates of a file, at least one.
fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => {
            let why = format!(
                "expected {what} as PEM, each of which begins with `-----BEGIN CERTIFICATE-----`"
            );
            Err(wrong(path, &why))
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(path, &error))?;
    if bytes.len() as u64 > MOST {
        return Err(wrong(path, &"it has more than 1 MiB"));
    }
    Ok(bytes)
}

fn wrong(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::Misconfigured(format!("cannot use {}: {why}", path.display()))
}

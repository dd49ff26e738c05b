//! The authorities and the client certificate, read once from files.

use super::verifier::{AnyName, Anything};
use crate::bindings::tls::artisanal::integers::tls::Verification;
use crate::{Error, Options};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, NamedGroup, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// How to connect with TLS, for each verification. Clones share it.
#[derive(Clone)]
pub(crate) struct Settings {
    name: Arc<ClientConfig>,
    authority: Arc<ClientConfig>,
    nothing: Arc<ClientConfig>,
}

impl Settings {
    /// Reads the files of the options.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] when a file cannot be used.
    pub(crate) fn read(options: &Options) -> Result<Self, Error> {
        let mut provider = rustls::crypto::ring::default_provider();
        // PostgreSQL before version 18 accepts only P-256 by default. Another first guess costs it a round trip.
        provider
            .kx_groups
            .sort_by_key(|group| group.name() != NamedGroup::secp256r1);
        let provider = Arc::new(provider);
        let roots = roots(options.ca_file.as_deref())?;
        let client = match (&options.client_cert, &options.client_key) {
            (None, None) => None,
            (Some(chain), Some(key)) => Some((certificates(chain)?, private_key(key)?, chain)),
            (Some(_), None) => {
                return Err(Error::Misconfigured(
                    "a client certificate needs its key; give that with --client-key".into(),
                ));
            }
            (None, Some(_)) => {
                return Err(Error::Misconfigured(
                    "a client key needs its certificate; give that with --client-cert".into(),
                ));
            }
        };
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| {
                    Error::Misconfigured(format!("the authorities cannot be used: {error}"))
                })?;
        let config = |verifier| config(&provider, verifier, client.as_ref());
        let name = config(Arc::clone(&verifier) as _)?;
        let authority = config(Arc::new(AnyName(Arc::clone(&verifier))))?;
        Ok(Self {
            name,
            // Whoever names authorities wants them to count, as in libpq.
            nothing: match options.ca_file {
                Some(_) => Arc::clone(&authority),
                None => config(Arc::new(Anything(verifier)))?,
            },
            authority,
        })
    }

    pub(super) fn config(&self, verification: Verification) -> Arc<ClientConfig> {
        Arc::clone(match verification {
            Verification::Name => &self.name,
            Verification::Authority => &self.authority,
            Verification::Nothing => &self.nothing,
        })
    }

    /// The configuration that verifies names.
    pub(crate) fn strict(&self) -> ClientConfig {
        (*self.name).clone()
    }
}

type Client<'a> = (
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
    &'a std::path::PathBuf,
);

fn config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    client: Option<&Client<'_>>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Misconfigured(format!("TLS cannot be used: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some((chain, key, file)) => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|error| {
                Error::Misconfigured(format!(
                    "the client certificate in {} and its key cannot be used: {error}",
                    file.display()
                ))
            })?,
    };
    Ok(Arc::new(config))
}

/// The authorities of a file, in place of the public ones.
fn roots(file: Option<&Path>) -> Result<RootCertStore, Error> {
    let Some(file) = file else {
        return Ok(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        });
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| {
            Error::Misconfigured(format!(
                "an authority in {} cannot be used: {error}",
                file.display()
            ))
        })?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let refuse = |why: String| {
        Error::Misconfigured(format!(
            "cannot read certificates from {}: {why}",
            file.display()
        ))
    };
    let text = std::fs::read(file).map_err(|error| refuse(error.to_string()))?;
    let found = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refuse(error.to_string()))?;
    if found.is_empty() {
        return Err(refuse(
            "it has no `BEGIN CERTIFICATE`; the format is PEM".to_owned(),
        ));
    }
    Ok(found)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let refuse = |why: String| {
        Error::Misconfigured(format!("cannot read a key from {}: {why}", file.display()))
    };
    let text = std::fs::read(file).map_err(|error| refuse(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => refuse(
            "it has no `BEGIN PRIVATE KEY`; the format is PEM, without a password".to_owned(),
        ),
        error => refuse(error.to_string()),
    })
}

//! Options that must fit each other, and files that must be readable, before anything is served.

use super::{Protocol, Serve};
use crate::cli::mode::Mode;
use crate::serve::{Tls, TlsFiles};
use crate::{Error, Host, Source};

impl Serve {
    /// What is served, and how.
    pub(super) fn mode(&self, host: &Host, source: &Source) -> Result<Mode, Error> {
        let shape = match source {
            Source::Builtin(_) | Source::Flake(_) => None,
            Source::File(_) => Some(host.inspect(source)?),
        };
        let protocols: Vec<_> = self
            .listens()
            .iter()
            .map(|listen| listen.protocol)
            .collect();
        Mode::of(shape.as_ref(), &protocols, source)
    }

    /// Rejects a token that one of several protocols cannot check.
    pub(super) fn check_tokens(&self) -> Result<(), Error> {
        let tcp = self.listens().iter().any(|l| l.protocol == Protocol::Tcp);
        let option = match (&self.mint_token, &self.tokens) {
            (None, None) => return Ok(()),
            (Some(_), _) => "--mint-token",
            (None, Some(_)) => "--tokens",
        };
        if tcp {
            return Err(Error::Invalid(format!(
                "over TCP a client sends nothing, so tcp:// would serve everybody in spite of {option}; \
                 leave one of them out"
            )));
        }
        if self.tokens.is_some() && (self.mint_token.is_some() || self.admin_token.is_some()) {
            return Err(Error::Invalid(
                "--tokens takes the place of --mint-token and --admin-token; give those tokens entries in the file, \
                 or leave the file out"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Reads the certificate and the key.
    pub(super) fn tls(&self) -> Result<Option<Tls>, Error> {
        if let (Some(cert), Some(key)) = (self.tls_cert.clone(), self.tls_key.clone()) {
            let client_ca = self.client_ca.clone();
            return Tls::load(TlsFiles {
                cert,
                key,
                client_ca,
            })
            .map(Some);
        }
        match self.listens().iter().find(|listen| listen.tls) {
            None => Ok(None),
            Some(listen) => Err(Error::Invalid(format!(
                "{}:// needs a certificate: give --tls-cert and --tls-key",
                listen.protocol.scheme(true)
            ))),
        }
    }
}

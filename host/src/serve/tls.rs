//! TLS for clients: certificates that are read anew, and handshakes that have an end.

mod files;
mod handshake;

pub use files::TlsFiles;
pub(crate) use handshake::Handshakes;

use super::watch::stamp;
use crate::Error;
use files::Loaded;
use rustls::ServerConfig;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

/// What clients speak within a connection. It decides what TLS offers them, and what a client without TLS is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Http,
    Resp,
    Line,
}

impl Wire {
    /// The names of the protocols for the client to choose from (ALPN).
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Resp | Self::Line => Vec::new(),
        }
    }

    /// The answer to a client that speaks without TLS.
    fn needs_tls(self) -> &'static [u8] {
        match self {
            Self::Http => {
                b"HTTP/1.1 400 Bad Request\r\n\
                  Content-Type: text/plain\r\n\
                  Content-Length: 59\r\n\
                  Connection: close\r\n\r\n\
                  this port speaks HTTPS: ask again with https:// in the URL\n"
            }
            Self::Resp => {
                b"-ERR this port speaks TLS: connect with redis-cli --tls or rediss://\r\n"
            }
            Self::Line => b"",
        }
    }
}

/// The certificate and the key of a server, and whom it trusts as a client. Clones share them, so all servers see
/// what [`Tls::reload`] read.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    stamp: u64,
    current: RwLock<Current>,
}

struct Current {
    http: Arc<ServerConfig>,
    others: Arc<ServerConfig>,
    /// When the certificate expires.
    expires: Option<SystemTime>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] with the name of the file that cannot be used, and what it should contain.
    pub fn load(files: TlsFiles) -> Result<Self, Error> {
        let stamp = stamp(&files.paths());
        let current = files.load()?.into();
        Ok(Self(Arc::new(Inner {
            files,
            stamp,
            current: RwLock::new(current),
        })))
    }

    /// Reads the files again. New connections use what is in them; open ones go on with what they have.
    ///
    /// # Errors
    /// As [`Tls::load`]. Then everything stays as it was.
    pub fn reload(&self) -> Result<(), Error> {
        let loaded = self.0.files.load()?.into();
        *self
            .0
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// When the certificate that is in use expires, if that is known.
    pub fn expires(&self) -> Option<SystemTime> {
        self.current(|current| current.expires)
    }

    /// The files that are read.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.files.paths()
    }

    /// The stamp of the files before they were loaded for the first time.
    pub(crate) fn stamp(&self) -> u64 {
        self.0.stamp
    }

    fn config(&self, wire: Wire) -> Arc<ServerConfig> {
        self.current(|current| {
            Arc::clone(match wire {
                Wire::Http => &current.http,
                Wire::Resp | Wire::Line => &current.others,
            })
        })
    }

    fn current<T>(&self, look: impl FnOnce(&Current) -> T) -> T {
        look(
            &self
                .0
                .current
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl From<Loaded> for Current {
    fn from(loaded: Loaded) -> Self {
        let with_alpn = |wire: Wire| {
            let mut config = loaded.config.clone();
            config.alpn_protocols = wire.alpn();
            Arc::new(config)
        };
        Self {
            http: with_alpn(Wire::Http),
            others: with_alpn(Wire::Resp),
            expires: loaded.expires,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.files).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_without_tls_has_the_length_that_it_says() {
        let text = std::str::from_utf8(Wire::Http.needs_tls()).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{head}"
        );
    }
}

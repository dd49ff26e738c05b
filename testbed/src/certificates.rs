//! Certificates for servers and clients, by an authority of their own.

use crate::error::{Error, Result};
use crate::scratch::Scratch;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// An authority, and the folder with its own certificate and those that it stored.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    scratch: Scratch,
}

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
    pub fn write(&self, path: &Path) -> Result<(PathBuf, PathBuf)> {
        let (cert, key) = (path.with_extension("pem"), path.with_extension("key"));
        write(&cert, &self.cert)?;
        write(&key, &self.key)?;
        Ok((cert, key))
    }
}

/// The files of a certificate and of its key, in the folder of the authority.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The certificate.
    pub chain: PathBuf,
    /// The key, readable for its owner only.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn new() -> Result<Self> {
        let scratch = Scratch::new("certificates")?;
        // With one name for all authorities, the certificates of another one would look forged; with the name of its
        // authority, a certificate would look self-signed.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let mut params = named(&format!("authority {number} of a test"))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(failed)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(failed)?;
        let authority = Self { issuer, scratch };
        write(&authority.file(), &authority.issuer.pem())?;
        // Servers that give up root's rights have to read it, too.
        open_up(authority.scratch.path(), 0o755)?;
        Ok(authority)
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its own certificate, as DER.
    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }

    /// The file with its own certificate.
    pub fn file(&self) -> PathBuf {
        self.scratch.join("authority.pem")
    }

    /// Signs a certificate for `localhost` and 127.0.0.1.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn sign(&self) -> Result<Certificate> {
        self.issue(&for_names("server", &["127.0.0.1", "localhost"])?)
    }

    /// The same, which is valid on 1 January 2020 only.
    ///
    /// # Errors
    /// As [`Authority::sign`].
    pub fn sign_expired(&self) -> Result<Certificate> {
        let mut params = for_names("expired", &["127.0.0.1", "localhost"])?;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 2);
        self.issue(&params)
    }

    /// A certificate for servers on this machine.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn for_this_machine(&self) -> Result<Stored> {
        self.store("server", &self.sign()?)
    }

    /// A certificate for servers with these names.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn for_names(&self, file: &str, names: &[&str]) -> Result<Stored> {
        self.store(file, &self.issue(&for_names(file, names)?)?)
    }

    /// A certificate for this machine that expired on 2 January 2020.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn expired(&self) -> Result<Stored> {
        self.store("expired", &self.sign_expired()?)
    }

    /// A certificate of a client; the common name is the user's.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn for_client(&self, user: &str) -> Result<Stored> {
        self.store(&format!("client-{user}"), &self.issue(&named(user)?)?)
    }

    fn issue(&self, params: &CertificateParams) -> Result<Certificate> {
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(Certificate {
            cert,
            key: key.serialize_pem(),
        })
    }

    fn store(&self, file: &str, certificate: &Certificate) -> Result<Stored> {
        let (chain, key) = certificate.write(&self.scratch.join(file))?;
        open_up(&key, 0o600)?;
        Ok(Stored { chain, key })
    }
}

fn for_names(name: &str, names: &[&str]) -> Result<CertificateParams> {
    let mut params = named(name)?;
    params.subject_alt_names = alternatives(names)?;
    Ok(params)
}

fn alternatives(names: &[&str]) -> Result<Vec<SanType>> {
    let one = |name: &&str| match name.parse() {
        Ok(ip) => Ok(SanType::IpAddress(ip)),
        Err(_) => Ok(SanType::DnsName((*name).try_into().map_err(failed)?)),
    };
    names.iter().map(one).collect()
}

fn named(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new([]).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn write(path: &Path, text: &str) -> Result {
    std::fs::write(path, text).map_err(Error::io(path.display().to_string()))
}

fn open_up(path: &Path, mode: u32) -> Result {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(Error::io(path.display().to_string()))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that `map_err` takes"
)]
fn failed(error: rcgen::Error) -> Error {
    Error::unexpected("a certificate", error.to_string())
}

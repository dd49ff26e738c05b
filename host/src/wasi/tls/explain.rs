//! The failures of TLS, in words.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};
use std::time::{Duration, UNIX_EPOCH};

/// The error of TLS that caused another one, if one did.
pub(crate) fn inside<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        // `source` of an I/O error skips the error that it wraps, which may be an I/O error as well.
        cause = match error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// The reason for a user, with the remedy where there is one.
pub(crate) fn explain(error: &Error, server: &str) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error, server),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::AccessDenied => format!(
                "{server} refuses TLS without a client certificate that it trusts ({alert:?}); give one with \
                 --client-cert and --client-key"
            ),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError => {
                format!("{server} refuses the client certificate ({alert:?})")
            }
            alert => format!("{server} refuses TLS ({alert:?})"),
        },
        Error::InvalidMessage(_) => format!("{server} does not speak TLS on this port"),
        Error::PeerIncompatible(_) => {
            format!("{server} has no version or method of TLS that this program has ({error})")
        }
        error => format!("TLS with {server} failed: {error}"),
    }
}

fn certificate(error: &CertificateError, server: &str) -> String {
    match error {
        CertificateError::UnknownIssuer => format!(
            "the certificate of {server} is by an unknown authority; give that with --ca-file"
        ),
        CertificateError::BadSignature => format!(
            "the certificate of {server} is not by the authority of that name that is trusted here; give the \
             right one with --ca-file"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the certificate of {server} is not valid for {server}")
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!(
                "the certificate of {server} expired on {}",
                date(*not_after)
            )
        }
        CertificateError::Expired => format!("the certificate of {server} has expired"),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the certificate of {server} is not valid before {}",
            date(*not_before)
        ),
        error => format!("the certificate of {server} is not valid: {error}"),
    }
}

fn date(time: UnixTime) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs())) {
        // The years that the format has.
        Some(time) if time < UNIX_EPOCH + Duration::from_secs(253_402_300_800) => {
            httpdate::fmt_http_date(time)
        }
        _ => "an impossible date".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_readable_however_strange() {
        let expired = |seconds| {
            let not_after = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            let error = CertificateError::ExpiredContext {
                time: not_after,
                not_after,
            };
            explain(&error.into(), "h")
        };
        assert_eq!(
            expired(1_704_067_200),
            "the certificate of h expired on Mon, 01 Jan 2024 00:00:00 GMT"
        );
        assert!(expired(u64::MAX).ends_with("an impossible date"));
    }

    #[test]
    fn a_cause_is_found_inside_of_other_errors() {
        let tls = || Error::General("x".into());
        let io = std::io::Error::other(std::io::Error::other(tls()));
        assert!(inside(&std::io::Error::other(tls())).is_some());
        assert!(inside(&io).is_some(), "as HTTP clients wrap it");
        assert!(inside(&std::io::Error::other("else")).is_none());
    }
}

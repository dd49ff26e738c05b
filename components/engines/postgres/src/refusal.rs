//! Classifies errors of the server, the driver and the network.

use crate::quote;
use crate::rows::TABLE;
use crate::settings::Settings;
use engine_guest::failover::Fault;
use engine_guest::{Error, exhausted};
use std::error::Error as _;
use std::io;
use tokio_postgres::error::DbError;

/// An error reply of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The SQLSTATE, whose first two characters are a class.
    pub(crate) code: String,
    /// In the server's language.
    pub(crate) message: String,
}

impl From<&DbError> for Refusal {
    fn from(error: &DbError) -> Self {
        Self {
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
        }
    }
}

/// The fault for an error of the driver. `to` names the server.
pub(crate) fn fault(error: &tokio_postgres::Error, to: &str, settings: &Settings) -> Fault {
    if let Some(error) = error.as_db_error() {
        return said(&error.into(), to, settings);
    }
    if error.is_closed() {
        return Fault::Lost(format!("lost {to}: connection closed"));
    }
    // The messages of the other errors may contain bytes of packets. The driver has no public name
    // for their kinds but this text.
    match (error.to_string().as_str(), error.source()) {
        ("error communicating with the server", Some(source)) => {
            match source.downcast_ref::<io::Error>() {
                Some(error) => network(error, &format!("lost {to}")),
                None => Fault::Lost(format!("lost {to}")),
            }
        }
        ("invalid configuration", _) => Fault::Final(Error::Denied(format!(
            "{to} requires a password, and the DSN has none"
        ))),
        ("authentication error", _) => Fault::Final(Error::Denied(format!(
            "the login to {to} failed: it requires another method than scram-sha-256, md5 and \
             password, or it does not know this user's password itself"
        ))),
        ("error performing TLS handshake", Some(source)) => Fault::Final(Error::Denied(format!(
            "cannot use TLS with {to}, so it got no password: {source}; `sslmode=disable` in the DSN \
                 would do without"
        ))),
        _ => strange(to),
    }
}

/// The fault for an error of a socket. `what` is the beginning of a sentence.
pub(crate) fn network(error: &io::Error, what: &str) -> Fault {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Fault::Final(Error::Other(format!(
                "{what}: it sent a reply that PostgreSQL does not send; is it the right server?"
            )))
        }
        _ => Fault::network(error, what),
    }
}

/// The fault for an error reply.
pub(crate) fn said(error: &Refusal, to: &str, settings: &Settings) -> Fault {
    let words = words(error, settings);
    let says = format!("{to} says: {words}");
    let denied = |hint: String| Fault::Final(Error::Denied(format!("{says}; {hint}")));
    let code = &*error.code;
    match (code, code.get(..2).unwrap_or_default()) {
        ("22003", _) => Fault::Final(exhausted()),
        (_, "28") => denied(
            "check the DSN's user and password, and that the server's pg_hba.conf admits this \
             user with the DSN's `sslmode`, and without a client certificate or with the right one"
                .to_owned(),
        ),
        ("42501", _) => denied(format!(
            "as an administrator run in the database {}: GRANT SELECT, INSERT, UPDATE ON {TABLE} \
             TO {}",
            quote::name(&settings.database),
            quote::name(&settings.user),
        )),
        ("3D000", _) => denied(format!(
            "as an administrator run: CREATE DATABASE {}",
            quote::name(&settings.database)
        )),
        // A column that is missing, is no key, or has another type.
        ("42703" | "42P10" | "42804" | "42883", _) => Fault::Final(Error::Other(format!(
            "{says}; the table {TABLE} must have the columns name text PRIMARY KEY and mark bigint \
             NOT NULL"
        ))),
        ("25006", _) => Fault::Elsewhere(read_only(to)),
        // A row that is locked; a serialization failure; a deadlock.
        ("55P03", _) => Fault::Conflict(format!(
            "{says}; another transaction, perhaps one left open, keeps the sequence's row locked"
        )),
        ("40001" | "40P01", _) => Fault::Conflict(says),
        // Too many connections, no memory, a full disk; an error of the system, such as of a disk.
        (_, "53" | "58") => Fault::Elsewhere(says),
        // A table that is missing by now; a statement that was cancelled; a server that stops or
        // starts; a connection that a pooler lost.
        ("42P01" | "57014", _) | (_, "08" | "40" | "57") => Fault::Lost(says),
        _ => Fault::Final(Error::Other(says)),
    }
}

/// Why a read-only server is not used.
pub(crate) fn read_only(to: &str) -> String {
    format!("{to} is read-only, like a standby, so it cannot mint; list the primary in the DSN")
}

/// The fault for a reply that no PostgreSQL sends.
pub(crate) fn strange(to: &str) -> Fault {
    Fault::Final(Error::Other(format!(
        "{to} sent a reply that PostgreSQL does not send; is it the right server?"
    )))
}

/// The fault for an error of a `CREATE TABLE`.
pub(crate) fn cannot_create(error: &Refusal, create: &str, to: &str, settings: &Settings) -> Fault {
    if error.code != "42501" {
        return said(error, to, settings);
    }
    Fault::Final(Error::Denied(format!(
        "{to} says: {}; as an administrator run in the database {}: {create}; GRANT SELECT, INSERT, \
         UPDATE ON {TABLE} TO {}",
        words(error, settings),
        quote::name(&settings.database),
        quote::name(&settings.user),
    )))
}

/// The text of an error reply, with the password masked if the server repeats it.
fn words(error: &Refusal, settings: &Settings) -> String {
    let quoter = settings.quoter();
    let (text, code) = (quoter.quote(&error.message), quoter.quote(&error.code));
    format!("{text} (SQLSTATE {code})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::read(&"postgres://alice:s3cret@h/ids".parse().expect("a DSN")).expect("valid")
    }

    fn said(code: &str, message: &str) -> Fault {
        let refusal = Refusal {
            code: code.into(),
            message: message.into(),
        };
        super::said(&refusal, "h:5432", &settings())
    }

    #[test]
    fn errors_of_the_server() {
        assert_eq!(
            said("22003", "bigint out of range"),
            Fault::Final(exhausted())
        );
        for code in ["28000", "28P01", "42501", "3D000"] {
            assert!(
                matches!(said(code, "no"), Fault::Final(Error::Denied(_))),
                "{code}"
            );
        }
        for code in [
            "57P01", "57P05", "57014", "08P01", "08006", "42P01", "40003",
        ] {
            assert!(matches!(said(code, "later"), Fault::Lost(_)), "{code}");
        }
        for code in ["40001", "40P01", "55P03"] {
            assert!(matches!(said(code, "again"), Fault::Conflict(_)), "{code}");
        }
        for code in ["25006", "53300", "53100", "58030"] {
            assert!(
                matches!(said(code, "not me"), Fault::Elsewhere(_)),
                "{code}"
            );
        }
        for code in ["42703", "42P10", "XX001", "", "é", "?????"] {
            assert!(
                matches!(said(code, "?"), Fault::Final(Error::Other(_))),
                "{code}"
            );
        }
        let Fault::Final(Error::Denied(message)) = said("3D000", "database \"ids\" does not exist")
        else {
            panic!("not denied");
        };
        assert_eq!(
            message,
            "h:5432 says: database \"ids\" does not exist (SQLSTATE 3D000); as an administrator run: \
             CREATE DATABASE \"ids\""
        );
        let lost = said("57P03", "starting up").while_dialling();
        assert!(matches!(lost, Fault::Elsewhere(_)), "{lost:?}");
    }

    #[test]
    fn messages_are_one_short_line_without_the_password() {
        for code in ["28P01", "57014", "40001", "XX000"] {
            let fault = said(
                code,
                &format!("you said s3cret\n\u{1b}[2J{}", "x".repeat(5000)),
            );
            let shown = fault.to_string();
            assert!(
                shown.contains("***") && !shown.contains("s3cret"),
                "{shown}"
            );
            assert!(!shown.contains(char::is_control), "{shown}");
            assert!(shown.chars().count() < 600, "{shown}");
        }
        let create = Refusal {
            code: "42501".into(),
            message: "permission denied for schema public".into(),
        };
        let fault = cannot_create(&create, "CREATE TABLE …", "h:5432", &settings()).to_string();
        for text in [
            "permission denied",
            "in the database \"ids\": CREATE TABLE …",
            "TO \"alice\"",
        ] {
            assert!(fault.contains(text), "{fault}");
        }
    }

    #[test]
    fn errors_of_the_network() {
        let lost = network(&io::ErrorKind::ConnectionReset.into(), "lost h");
        assert_eq!(lost, Fault::Lost("lost h: the connection broke".into()));
        let strange = network(&io::ErrorKind::InvalidData.into(), "lost h");
        assert!(matches!(strange, Fault::Final(Error::Other(_))));
    }
}

//! Classifies errors of the server, the driver and the network.

use crate::quote;
use crate::settings::Settings;
use engine_guest::failover::Fault;
use engine_guest::{Error, Quoter, exhausted};
use mysql_async::{DriverError, IoError, ServerError};
use std::io;

/// The fault for an error of the driver. `to` names the server.
pub(crate) fn fault(error: &mysql_async::Error, to: &str, settings: &Settings) -> Fault {
    match error {
        mysql_async::Error::Server(error) => said(error, to, settings),
        mysql_async::Error::Io(IoError::Io(error)) => network(error, &format!("lost {to}")),
        mysql_async::Error::Driver(error) => driver(error, to),
        _ => Fault::Final(Error::Other(format!(
            "{to} sent a packet that neither MySQL nor MariaDB sends; is it the right server?"
        ))),
    }
}

/// The fault for an error of a socket. `what` is the beginning of a sentence.
pub(crate) fn network(error: &io::Error, what: &str) -> Fault {
    match error.kind() {
        io::ErrorKind::InvalidData => Fault::Final(Error::Other(format!(
            "{what}: it sent a packet that neither MySQL nor MariaDB sends; is it the right server?"
        ))),
        _ => Fault::network(error, what),
    }
}

fn driver(error: &DriverError, to: &str) -> Fault {
    match error {
        DriverError::ConnectionClosed => Fault::Lost(format!("lost {to}: connection closed")),
        DriverError::UnknownAuthPlugin { name } => Fault::Final(Error::Denied(format!(
            "{to} requires a login with {}; only mysql_native_password and \
             caching_sha2_password are supported",
            Quoter::default().quote(name)
        ))),
        DriverError::MysqlOldPasswordDisabled | DriverError::CleartextPluginDisabled => {
            Fault::Final(Error::Denied(format!(
                "{to} requires a login that would send the password in clear text; make the \
                 user log in with mysql_native_password or caching_sha2_password"
            )))
        }
        DriverError::NoClientSslFlagFromServer => Fault::Final(Error::Denied(format!(
            "{to} offers no TLS, so it got no password; `tls=false` in the DSN would do without"
        ))),
        // The messages of the other errors may contain bytes of packets.
        _ => Fault::Final(Error::Other(format!(
            "{to} sent a packet that neither MySQL nor MariaDB sends; is it the right server?"
        ))),
    }
}

/// The fault for an error reply. The codes are those of the servers, the same in both up to about
/// 1900.
fn said(error: &ServerError, to: &str, settings: &Settings) -> Fault {
    let words = words(error, settings);
    let denied = |hint: &str| Fault::Final(Error::Denied(format!("{to} says: {words}; {hint}")));
    let other = |hint: &str| Fault::Final(Error::Other(format!("{to} says: {words}; {hint}")));
    match error.code {
        // An unsigned or signed result out of range; a counter or column that is full.
        1690 | 1467 | 1264 | 167 => Fault::Final(exhausted()),
        1045 | 1698 | 1130 | 1862 | 1820 | 3118 | 4151 => denied(
            "check the DSN's user and password, the hosts that user may log in from, and whether \
                 it needs TLS or a client certificate",
        ),
        1251 | 1275 | 2059 => {
            denied("make the user log in with mysql_native_password or caching_sha2_password")
        }
        3159 => denied("add `tls=true` to the DSN"),
        1044 | 1142 | 1143 | 1227 => denied(&format!(
            "as an administrator run: GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, LOCK \
             TABLES ON {}.* TO {}",
            quote::name(&settings.database),
            quote::name(settings.user.as_deref().unwrap_or_default()),
        )),
        1049 => other(&format!(
            "as an administrator run: CREATE DATABASE {}",
            quote::name(&settings.database)
        )),
        // 126, 127, 145: codes of MyISAM that the server passes on.
        126 | 127 | 144 | 145 | 1034 | 1035 | 1194 | 1195 => other(
            "the table is damaged, as MyISAM tables are after a crash; run REPAIR TABLE, check \
             that its id is not below the greatest integer handed out, and then: ALTER TABLE … \
             ENGINE=InnoDB",
        ),
        1290 | 1792 | 1836 => {
            Fault::Elsewhere(format!("{to} is read-only, so it cannot mint ({words})"))
        }
        // Too many connections, out of resources, a limit of the user's, blocked, shutting down, a Galera
        // node that is not in sync; a member of a replication group that is leaving, recovering or in
        // error.
        1040 | 1041 | 1203 | 1226 | 1129 | 1053 | 1047 | 3100 | 3796..=3799 => {
            Fault::Elsewhere(format!("{to} says: {words}"))
        }
        // A record that changed since it was read; a commit that a cluster refused, as reported by
        // MariaDB, by MySQL if a row lock was in the way, and by MySQL otherwise.
        1020 | 1180 | 1213 | 3101 => Fault::Conflict(format!("{to} says: {words}")),
        1205 => Fault::Lost(format!(
            "{to} says: {words}; another transaction, perhaps one left open or a backup, \
             keeps the table locked"
        )),
        // The table is missing, which needs a new decision; killed queries and connections, network
        // errors on the server's side, idle connections.
        1146 | 1317 | 1927 | 1152..=1161 | 1184 | 4031 => {
            Fault::Lost(format!("{to} says: {words}"))
        }
        _ => Fault::Final(Error::Other(format!("{to} says: {words}"))),
    }
}

/// The fault for an error of a `CREATE TABLE`.
pub(crate) fn cannot_create(
    error: &mysql_async::Error,
    create: &str,
    to: &str,
    settings: &Settings,
) -> Fault {
    match error {
        mysql_async::Error::Server(server) if matches!(server.code, 1044 | 1142 | 1227) => {
            Fault::Final(Error::Denied(format!(
                "{to} says: {}; as an administrator run in the database {}: {create}",
                words(server, settings),
                quote::name(&settings.database),
            )))
        }
        error => fault(error, to, settings),
    }
}

/// The text of an error reply, with the password masked if the server repeats it.
fn words(error: &ServerError, settings: &Settings) -> String {
    let text = settings.quoter().quote(&error.message);
    format!("{text} (error {})", error.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::read(&"mysql://alice:s3cret@h/ids".parse().expect("a DSN")).expect("valid")
    }

    fn said(code: u16, message: &str) -> Fault {
        let error = mysql_async::Error::Server(ServerError {
            code,
            message: message.into(),
            state: "HY000".into(),
        });
        fault(&error, "h:3306", &settings())
    }

    #[test]
    fn errors_of_the_server() {
        let full = said(1690, "BIGINT UNSIGNED value is out of range in '…'");
        assert_eq!(full, Fault::Final(exhausted()));
        for code in [1045, 1044, 1142, 1227, 3159] {
            assert!(
                matches!(said(code, "no"), Fault::Final(Error::Denied(_))),
                "{code}"
            );
        }
        for code in [1146, 1205, 1317, 4031] {
            assert!(matches!(said(code, "later"), Fault::Lost(_)), "{code}");
        }
        for code in [1020, 1180, 1213, 3101] {
            assert!(
                matches!(said(code, "deadlock"), Fault::Conflict(_)),
                "{code}"
            );
        }
        for code in [1290, 1792, 1040, 1047, 3100, 3797] {
            assert!(
                matches!(said(code, "not me"), Fault::Elsewhere(_)),
                "{code}"
            );
        }
        let Fault::Final(Error::Other(message)) = said(1049, "Unknown database 'ids'") else {
            panic!("not other");
        };
        assert_eq!(
            message,
            "h:3306 says: Unknown database 'ids' (error 1049); as an administrator run: CREATE \
             DATABASE `ids`"
        );
        let Fault::Final(Error::Denied(message)) = said(1044, "Access denied") else {
            panic!("not denied");
        };
        assert!(
            message.contains("LOCK TABLES ON `ids`.* TO `alice`"),
            "{message}"
        );
        assert!(matches!(said(9999, "?"), Fault::Final(Error::Other(_))));
    }

    #[test]
    fn no_error_shows_the_password() {
        for code in [1045, 1290, 1213, 9999] {
            let fault = format!("{:?}", said(code, "you said s3cret\u{1b}[2J"));
            assert!(
                fault.contains("***") && !fault.contains("s3cret"),
                "{fault}"
            );
            assert!(!fault.contains("u{1b}"), "{fault}");
        }
        let payload = mysql_async::Error::Driver(DriverError::UnexpectedPacket {
            payload: b"s3cret".to_vec(),
        });
        let fault = format!("{:?}", fault(&payload, "h:3306", &settings()));
        assert!(
            !fault.contains("s3cret") && !fault.contains("115"),
            "{fault}"
        );
    }

    #[test]
    fn errors_of_the_network() {
        let lost = network(&io::ErrorKind::ConnectionReset.into(), "lost h");
        assert_eq!(lost, Fault::Lost("lost h: the connection broke".into()));
        let strange = network(&io::ErrorKind::InvalidData.into(), "lost h");
        assert!(matches!(strange, Fault::Final(Error::Other(_))));
    }
}

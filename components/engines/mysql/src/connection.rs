//! One open connection: logged in, with the session settings that the engine relies on.

use crate::refusal;
use crate::reply::{Reply, text};
use crate::server::{self, Server};
use crate::settings::{PORT, Settings};
use engine_dsn::Address;
use engine_guest::Error;
use engine_guest::failover::Fault;
use engine_tls::Verification;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, SslOpts};
use std::net::IpAddr;

/// The maximum size of a packet that is read, in bytes. The replies to this engine are far shorter.
const MAX_PACKET_BYTES: usize = 1 << 20;

/// One open connection.
pub(crate) struct Connection {
    conn: Conn,
    /// The kind of the server.
    pub(crate) server: Server,
    /// The server's address in messages.
    pub(crate) to: String,
}

impl Connection {
    /// Connects, logs in, applies the settings that do not depend on the server, and reads its kind.
    pub(crate) async fn open(
        to: &Address,
        ips: Vec<IpAddr>,
        settings: &Settings,
    ) -> Result<Self, Fault> {
        let port = to.port_or(PORT);
        let host = to.host.clone();
        let to = to.to_string();
        let secure = settings.tls.map(|verification| {
            SslOpts::default()
                .with_danger_tls_hostname_override(Some(host.clone()))
                .with_danger_skip_domain_validation(verification == Verification::Authority)
                .with_danger_accept_invalid_certs(verification == Verification::Nothing)
        });
        // Values that are given here are not queried from the server, which saves a round trip.
        let options = OptsBuilder::default()
            .ip_or_hostname(ips.first().map_or_else(String::new, IpAddr::to_string))
            .resolved_ips(Some(ips))
            .tcp_port(port)
            .user(settings.user.clone())
            .pass(settings.password.as_ref().map(|p| p.reveal()))
            .db_name(Some(&settings.database))
            .prefer_socket(false)
            .ssl_opts(secure)
            .max_allowed_packet(Some(MAX_PACKET_BYTES))
            .wait_timeout(Some(0))
            .stmt_cache_size(0)
            // The count of an UPDATE is the number of rows found, not changed: a raise that finds a
            // greater mark changes none.
            .client_found_rows(true);
        let conn = Conn::new(options).await.map_err(|error| {
            if let Some(why) = engine_tls::failure_of(&host, port) {
                return Fault::Final(Error::Denied(format!("cannot connect to {to}: {why}")));
            }
            match &error {
                mysql_async::Error::Io(mysql_async::IoError::Io(io)) => {
                    refusal::network(io, &format!("cannot connect to {to}"))
                }
                error => refusal::fault(error, &to, settings),
            }
            .while_dialling()
        })?;
        let mut connection = Self {
            conn,
            server: Server::default(),
            to,
        };
        connection.server = connection
            .greet(settings)
            .await
            .map_err(Fault::while_dialling)?;
        Ok(connection)
    }

    async fn greet(&mut self, settings: &Settings) -> Result<Server, Fault> {
        let names = server::VARIABLES.map(|name| format!("'{name}'")).join(",");
        // Overrides the server's defaults: strict arithmetic, no `ANSI_QUOTES`, text in UTF-8, and an
        // isolation level that every format of the binary log accepts.
        let text = format!(
            "SET NAMES utf8mb4;\
             SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',autocommit=1,\
             lock_wait_timeout={};\
             SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;\
             SHOW VARIABLES WHERE Variable_name IN ({names})",
            settings.lock_seconds()
        );
        let replies = self.tell(&text, 4, settings).await?;
        Ok(Server::read(pairs(replies.get(3))))
    }

    /// Sends a text with this many statements and reads the reply to each.
    pub(crate) async fn ask(
        &mut self,
        text: &str,
        statements: usize,
    ) -> mysql_async::Result<Vec<Reply>> {
        let mut result = self.conn.query_iter(text).await?;
        let mut replies = Vec::with_capacity(statements);
        for _ in 0..statements {
            replies.push(Reply {
                insert_id: result.last_insert_id().unwrap_or_default(),
                found: result.affected_rows(),
                rows: result.collect().await?,
            });
        }
        result.drop_result().await?;
        Ok(replies)
    }

    /// As [`Connection::ask`], with errors converted by [`refusal::fault`].
    pub(crate) async fn tell(
        &mut self,
        text: &str,
        statements: usize,
        settings: &Settings,
    ) -> Result<Vec<Reply>, Fault> {
        self.ask(text, statements)
            .await
            .map_err(|error| refusal::fault(&error, &self.to, settings))
    }

    /// As [`Connection::tell`], for a statement that the server may deny to this user: None in that case.
    pub(crate) async fn try_to_tell(
        &mut self,
        text: &str,
        settings: &Settings,
    ) -> Result<Option<Reply>, Fault> {
        match self.ask(text, 1).await {
            Ok(replies) => Ok(replies.into_iter().next()),
            Err(mysql_async::Error::Server(_)) => Ok(None),
            Err(error) => Err(refusal::fault(&error, &self.to, settings)),
        }
    }

    /// The fault for a read-only server, which is a replica, or about to be one: it may lag behind, and
    /// its primary never learns of the integers that it hands out.
    pub(crate) fn read_only(&self) -> Fault {
        Fault::Elsewhere(format!(
            "{} is read-only, like a replica, so it cannot mint; list the primary in the DSN",
            self.to
        ))
    }
}

/// The names and values in a reply with two columns.
pub(crate) fn pairs(reply: Option<&Reply>) -> impl Iterator<Item = (&str, &str)> {
    let rows = reply.map_or(&[][..], |reply| &reply.rows);
    rows.iter().map(|row| (text(row, 0), text(row, 1)))
}

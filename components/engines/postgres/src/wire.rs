//! One open connection: logged in, asked one message at a time.

use crate::refusal::{self, Refusal};
use crate::settings::{PORT, Settings};
use crate::socket::Bounded;
use crate::tls::{Upgrade, distrust};
use engine_dsn::Address;
use engine_guest::failover::Fault;
use std::cell::Cell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, SimpleQueryMessage};

/// How many bytes a server may send in reply to one message. The replies to this engine are far shorter.
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// The name of this client in `pg_stat_activity`.
const APPLICATION: &str = "artisanal integers";

/// The function of the server that waits for synchronous standbys. Unlike the words of a message, it does
/// not depend on the server's language.
const REPLICATION_WAIT: &str = "SyncRepWaitForLSN";

/// One open connection.
pub(crate) struct Wire {
    client: Client,
    connection: Connection<Bounded, Bounded>,
    /// How many more bytes the server may send.
    allowance: Rc<Cell<usize>>,
    /// The server's address in messages.
    pub(crate) to: String,
}

/// The rows of a reply, as text.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

/// Why there is no reply.
pub(crate) enum Trouble {
    /// The server refused. The connection can be used again.
    Said(Refusal),
    /// The connection cannot be used again.
    Fault(Fault),
}

impl Wire {
    /// Connects to the first of these addresses that accepts, and logs in.
    pub(crate) async fn open(
        to: &Address,
        ips: &[IpAddr],
        settings: &Settings,
    ) -> Result<Self, Fault> {
        let stream = connect(to, ips).await.map_err(Fault::while_dialling)?;
        // Replies would otherwise wait for more data. It is only about speed, so an error does not matter.
        let _ = stream.set_nodelay(true);
        let allowance = Rc::new(Cell::new(MAX_REPLY_BYTES));
        let mut config = Config::new();
        config
            .user(&settings.user)
            .dbname(&settings.database)
            .application_name(APPLICATION)
            .ssl_mode(match settings.tls {
                Some(_) => SslMode::Require,
                None => SslMode::Disable,
            });
        if let Some(password) = &settings.password {
            config.password(password.reveal());
        }
        let stream = Bounded {
            stream,
            allowance: Rc::clone(&allowance),
        };
        let upgrade = Upgrade::new(&to.host, settings.tls);
        let session = upgrade.session();
        let to = to.to_string();
        let connected = config.connect_raw(stream, upgrade).await;
        let (client, connection) = connected.map_err(|error| {
            distrust(&session, &to)
                .unwrap_or_else(|| refusal::fault(&error, &to, settings).while_dialling())
        })?;
        Ok(Self {
            client,
            connection,
            allowance,
            to,
        })
    }

    /// Sends statements as one message, in one round trip, and returns the rows of all replies.
    ///
    /// If the server stopped to wait for its synchronous standbys, it has committed, but a standby that is
    /// promoted may not have the commit: the reply is discarded.
    pub(crate) async fn ask(&mut self, text: &str, settings: &Settings) -> Result<Rows, Trouble> {
        self.allowance.set(MAX_REPLY_BYTES);
        let Self {
            client,
            connection,
            to,
            ..
        } = self;
        let mut query = pin!(client.simple_query(text));
        let mut unreplicated = false;
        // How the connection ended. Until it is dropped, the query would wait for the rest of its reply.
        let mut ended = None;
        let answer = poll_fn(|context| {
            loop {
                if let Poll::Ready(answer) = query.as_mut().poll(context) {
                    return Poll::Ready(Some(answer));
                }
                if ended.is_some() {
                    return Poll::Ready(None);
                }
                match connection.poll_message(context) {
                    Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                        unreplicated |= notice.routine() == Some(REPLICATION_WAIT);
                    }
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => ended = Some(Some(error)),
                    Poll::Ready(None) => ended = Some(None),
                    Poll::Pending => break,
                }
            }
            // The connection may have passed on the reply.
            query.as_mut().poll(context).map(Some)
        })
        .await;
        match answer {
            Some(Ok(_)) if unreplicated => Err(Trouble::Fault(Fault::Lost(format!(
                "{to} stopped to wait for its synchronous standby, so the change may not survive a \
                 failover, and its integers are skipped"
            )))),
            Some(Ok(messages)) => Ok(rows(messages)),
            Some(Err(error)) => Err(match (error.as_db_error(), ended.flatten()) {
                (Some(said), _) => Trouble::Said(said.into()),
                // The connection's own error says more than that of the query, which is that it ended.
                (None, Some(error)) => Trouble::Fault(refusal::fault(&error, to, settings)),
                (None, None) => Trouble::Fault(refusal::fault(&error, to, settings)),
            }),
            None => Err(Trouble::Fault(match ended.flatten() {
                Some(error) => refusal::fault(&error, to, settings),
                None => Fault::Lost(format!("lost {to}: connection closed")),
            })),
        }
    }

    /// As [`Wire::ask`], with errors of the server converted by [`refusal::said`].
    pub(crate) async fn tell(&mut self, text: &str, settings: &Settings) -> Result<Rows, Fault> {
        self.ask(text, settings)
            .await
            .map_err(|trouble| trouble.into_fault(&self.to, settings))
    }

    /// As [`Wire::tell`], for statements that the server may not know or may deny to this user: None in
    /// that case.
    pub(crate) async fn try_to_tell(
        &mut self,
        text: &str,
        settings: &Settings,
    ) -> Result<Option<Rows>, Fault> {
        match self.ask(text, settings).await {
            Ok(rows) => Ok(Some(rows)),
            Err(Trouble::Said(_)) => Ok(None),
            Err(Trouble::Fault(fault)) => Err(fault),
        }
    }
}

impl Trouble {
    pub(crate) fn into_fault(self, to: &str, settings: &Settings) -> Fault {
        match self {
            Self::Said(error) => refusal::said(&error, to, settings),
            Self::Fault(fault) => fault,
        }
    }
}

async fn connect(to: &Address, ips: &[IpAddr]) -> Result<TcpStream, Fault> {
    let mut fault = Fault::Elsewhere(format!("{} has no address", to.host));
    for ip in ips {
        match TcpStream::connect((*ip, to.port_or(PORT))).await {
            Ok(stream) => return Ok(stream),
            Err(error) => fault = refusal::network(&error, &format!("cannot connect to {to}")),
        }
    }
    Err(fault)
}

fn rows(messages: Vec<SimpleQueryMessage>) -> Rows {
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| {
        (0..row.len())
            .map(|column| row.try_get(column).ok().flatten().map(str::to_owned))
            .collect()
    })
    .collect()
}

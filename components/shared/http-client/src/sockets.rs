//! Requests over the component's own sockets, instead of `wasi:http`.
//!
//! A request over `wasi:http` takes dozens of calls of the host: for its parts, its streams, its timeouts and those of the
//! response. Over a kept connection it takes a write and a read. In return, the host has to let the component open
//! sockets, and there is no TLS.

mod bindings;
mod connection;
mod request;
mod response;

use crate::{Answer, Failure, Quoter, Request};
use connection::{Connection, Lost};
use engine_dsn::Address;
use response::Whole;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// The port of an authority that has none.
const PORT: u16 = 80;

/// Connections that are kept between requests, at most one to each authority.
#[derive(Default)]
pub struct Connections {
    idle: RefCell<BTreeMap<String, Connection>>,
}

impl Connections {
    /// As [`Request::send`], except that `limit` is only the time to connect: the caller bounds the whole by dropping
    /// the future, which saves the timer of each request. The request arrives twice if the server closes a kept connection
    /// when it has read it, so it must be one that may.
    ///
    /// # Errors
    /// As the cases of [`Failure`] say; [`Failure::Tls`] for a request that needs TLS.
    pub async fn send(
        &self,
        request: &Request<'_>,
        limit: Duration,
        most: usize,
        quoter: &Quoter,
    ) -> Result<Answer, Failure> {
        if request.secure {
            return Err(Failure::Tls("this component has no TLS".into()));
        }
        let text = request::encode(request)?;
        // While it is in use, it is not in the map, so a request that is given up closes its connection.
        let kept = self.idle.borrow_mut().remove(request.authority);
        if let Some(mut kept) = kept {
            match kept.exchange(text.clone(), most).await {
                Ok(whole) => return Ok(self.keep(request.authority, kept, whole)),
                // The server has closed it since the last answer.
                Err(Lost::Unanswered) => {}
                Err(Lost::Failed(failure)) => return Err(failure),
            }
        }
        let address = Address::parse(request.authority).map_err(|_| Failure::Address)?;
        let mut connection = Connection::open(&address, PORT, limit, quoter).await?;
        let whole = connection.exchange(text, most).await?;
        Ok(self.keep(request.authority, connection, whole))
    }

    /// Keeps the connection if the server does.
    fn keep(&self, authority: &str, connection: Connection, whole: Whole) -> Answer {
        if whole.keeps {
            self.idle
                .borrow_mut()
                .insert(authority.to_owned(), connection);
        }
        whole.answer
    }
}

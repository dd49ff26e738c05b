//! The driver's way to TLS: the host secures the socket, which the driver then uses as before.

use crate::socket::Bounded;
use engine_guest::Error;
use engine_guest::failover::Fault;
use engine_tls::{Session, Verification};
use std::cell::OnceCell;
use std::future::{Ready, ready};
use std::rc::Rc;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// Starts TLS, once the server has agreed to it.
pub(crate) struct Upgrade {
    server_name: String,
    /// None without TLS, and then the driver does not start it.
    verification: Option<Verification>,
    session: Rc<OnceCell<Session>>,
}

impl Upgrade {
    pub(crate) fn new(server_name: &str, verification: Option<Verification>) -> Self {
        Self {
            server_name: server_name.to_owned(),
            verification,
            session: Rc::default(),
        }
    }

    /// The session, once there is one.
    pub(crate) fn session(&self) -> Rc<OnceCell<Session>> {
        Rc::clone(&self.session)
    }

    fn start(&self, stream: &Bounded) -> Result<(), String> {
        let Some(verification) = self.verification else {
            return Err("it was not asked for".to_owned());
        };
        let (local, peer) = stream.addresses().map_err(|error| error.to_string())?;
        let session = Session::start(local, peer, &self.server_name, verification)?;
        let _ = self.session.set(session);
        Ok(())
    }
}

impl TlsConnect<Bounded> for Upgrade {
    type Stream = Bounded;
    type Error = String;
    type Future = Ready<Result<Bounded, String>>;

    fn connect(self, stream: Bounded) -> Self::Future {
        ready(self.start(&stream).map(|()| stream))
    }
}

impl TlsStream for Bounded {
    /// The component does not see the certificate to bind the login to.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// The fault for a server that is not to be trusted. None if TLS did not fail.
pub(crate) fn distrust(session: &OnceCell<Session>, to: &str) -> Option<Fault> {
    let why = session.get()?.failure()?;
    Some(Fault::Final(Error::Denied(format!(
        "cannot connect to {to}: {why}"
    ))))
}

//! TLS on the sockets of engine components, done by the host: `artisanal:integers/tls`.
//!
//! The interface is imported with the feature `import`. Hosts other than `int-host` do not have it, and would
//! refuse to load a component that imports it, so engines are built a second time without the feature. That
//! build answers a DSN that asks for TLS with [`MISSING`].

#[cfg(feature = "import")]
mod bindings;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Why the build without TLS refuses a DSN.
pub const MISSING: &str = "this build of the engine has no TLS, because its host offers none to components; use \
                           int-host with its built-in engine, or put a TLS tunnel such as stunnel in between";

/// What the certificate of the server must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Valid, by a trusted authority, and for the server's name.
    Name,
    /// Valid and by a trusted authority, for whatever name.
    Authority,
    /// Anything.
    Nothing,
}

/// Whether this build has TLS.
pub const fn is_available() -> bool {
    cfg!(feature = "import")
}

/// A connection with TLS, or on the way to it: the handshake takes place while the socket is first written.
#[derive(Clone, Debug)]
pub struct Session {
    /// Identifies the connection, also after its socket was closed.
    #[cfg_attr(
        not(feature = "import"),
        expect(dead_code, reason = "a build without TLS has no sessions")
    )]
    addresses: [SocketAddr; 2],
}

impl Session {
    /// Starts TLS on the socket with these two addresses.
    ///
    /// # Errors
    /// The reason why that is impossible. The socket must be closed then, for it has no TLS.
    pub fn start(
        local: SocketAddr,
        peer: SocketAddr,
        server_name: &str,
        verification: Verification,
    ) -> Result<Self, String> {
        start([local, peer], server_name, verification)?;
        let session = Self {
            addresses: [local, peer],
        };
        LATEST.with_borrow_mut(|latest| {
            latest.insert((server_name.to_owned(), peer.port()), session.clone())
        });
        Ok(session)
    }

    /// Why TLS failed; None if the connection works or was lost for another reason.
    pub fn failure(&self) -> Option<String> {
        failure(self)
    }
}

thread_local! {
    /// The latest session with each server, by its name and port.
    static LATEST: RefCell<BTreeMap<(String, u16), Session>> = const { RefCell::new(BTreeMap::new()) };
}

/// Why the latest TLS with a server failed, once: for clients that start it themselves and keep the session.
pub fn failure_of(server_name: &str, port: u16) -> Option<String> {
    let latest = LATEST.with_borrow_mut(|latest| latest.remove(&(server_name.to_owned(), port)));
    latest?.failure()
}

#[cfg(feature = "import")]
fn start(
    addresses: [SocketAddr; 2],
    server_name: &str,
    verification: Verification,
) -> Result<(), String> {
    use bindings::artisanal::integers::tls;
    let verification = match verification {
        Verification::Name => tls::Verification::Name,
        Verification::Authority => tls::Verification::Authority,
        Verification::Nothing => tls::Verification::Nothing,
    };
    tls::start(&connection(addresses), server_name, verification)
}

#[cfg(feature = "import")]
fn failure(session: &Session) -> Option<String> {
    bindings::artisanal::integers::tls::failure(&connection(session.addresses))
}

#[cfg(feature = "import")]
fn connection([local, peer]: [SocketAddr; 2]) -> bindings::artisanal::integers::tls::Connection {
    bindings::artisanal::integers::tls::Connection {
        local: local.to_string(),
        peer: peer.to_string(),
    }
}

#[cfg(not(feature = "import"))]
fn start(_: [SocketAddr; 2], _: &str, _: Verification) -> Result<(), String> {
    Err(MISSING.to_owned())
}

#[cfg(not(feature = "import"))]
fn failure(_: &Session) -> Option<String> {
    None
}

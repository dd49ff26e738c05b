//! TLS to backends: the settings, and the interface `artisanal:integers/tls`, with which a component turns one
//! of its own sockets into a TLS connection.
//!
//! `wasi:tls` would do the same with the streams of a socket. The clients that engines are built on use the
//! sockets of Rust's standard library or of tokio, which do not give their streams away. So the host puts its
//! own streams in front of those of every connection, and a component names a connection by its addresses.

mod demand;
mod explain;
mod half;
mod link;
mod session;
mod settings;
mod streams;
mod verifier;

pub(crate) use demand::Demand;
pub(crate) use explain::{explain, inside};
pub(crate) use settings::Settings;

use crate::bindings::tls::artisanal::integers::tls::{Connection, Host, Verification};
use crate::state::State;
use crate::wasi::network::Grant;
use link::{Failure, Link};
use rustls::ClientConnection;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpSocketAddress};
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, SocketResult, TcpSocket};
use wasmtime_wasi::sockets::{WasiSocketsCtxView, WasiSocketsView};

/// How many connections of one component are remembered. Engines have a few; the oldest are forgotten first.
const MOST: usize = 256;

/// The connections of one component, latest last.
pub(crate) struct Links {
    settings: Settings,
    demand: Demand,
    links: Vec<Entry>,
}

struct Entry {
    local: SocketAddr,
    peer: SocketAddr,
    /// Only the component's streams own the connection, so that it is closed when the component drops them.
    link: Weak<Link>,
    /// Why TLS failed, which the component may ask after it has dropped the connection.
    failure: Failure,
}

impl Entry {
    fn is_useless(&self) -> bool {
        self.link.strong_count() == 0 && self.failure.get().is_none()
    }
}

impl Links {
    pub(crate) fn new(settings: Settings, demand: Demand) -> Self {
        Self {
            settings,
            demand,
            links: Vec::new(),
        }
    }

    /// Remembers a new connection.
    fn add(&mut self, local: SocketAddr, link: &Arc<Link>) {
        self.links.retain(|entry| !entry.is_useless());
        if self.links.len() >= MOST {
            self.links.remove(0);
        }
        self.links.push(Entry {
            local,
            peer: link.peer,
            link: Arc::downgrade(link),
            failure: Arc::clone(&link.failure),
        });
    }

    fn find(&self, connection: &Connection) -> Option<&Entry> {
        let local = connection.local.parse::<SocketAddr>().ok()?;
        let peer = connection.peer.parse::<SocketAddr>().ok()?;
        // The scope of an IPv6 address is no part of the text.
        let same = |a: SocketAddr, b: SocketAddr| (a.ip(), a.port()) == (b.ip(), b.port());
        self.links
            .iter()
            .rev()
            .find(|entry| same(entry.local, local) && same(entry.peer, peer))
    }
}

/// One component's view of the interface.
pub(crate) struct Tls<'a> {
    pub(crate) links: &'a mut Links,
    pub(crate) grant: &'a Grant,
}

impl Host for Tls<'_> {
    fn start(
        &mut self,
        connection: Connection,
        server_name: String,
        verification: Verification,
    ) -> Result<(), String> {
        let link = self
            .links
            .find(&connection)
            .and_then(|entry| entry.link.upgrade())
            .ok_or("there is no such connection")?;
        let name = permitted(self.grant, &server_name, link.peer)?;
        let config = self
            .links
            .settings
            .config(self.links.demand.and(verification));
        let server = name
            .clone()
            .try_into()
            .map_err(|_| format!("{name} is no name that a certificate can have"))?;
        let tls = ClientConnection::new(config, server).map_err(|error| explain(&error, &name))?;
        link.secure(tls, name).map_err(str::to_owned)
    }

    fn failure(&mut self, connection: Connection) -> Option<String> {
        self.links.find(&connection)?.failure.get().cloned()
    }
}

/// The name to verify. It must be one that the component may connect to, or the address it is connected to:
/// otherwise it could present its client certificate to a server of its choice.
fn permitted(grant: &Grant, name: &str, peer: SocketAddr) -> Result<String, String> {
    match name.parse::<IpAddr>() {
        Ok(ip) if ip.to_canonical() == peer.ip().to_canonical() => Ok(name.to_owned()),
        Ok(_) => Err("the connection is to another address".to_owned()),
        Err(_) => grant
            .name(name)
            .ok_or_else(|| "the host does not permit this name".to_owned()),
    }
}

/// The instance whose function for a finished connection is replaced.
const TCP: &str = "wasi:sockets/tcp@0.2.12";

/// Adds the interface, and replaces wasmtime's own `finish-connect` and `remote-address` in the linker.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    crate::bindings::tls::artisanal::integers::tls::add_to_linker::<_, HasTls>(linker, State::tls)?;
    linker.allow_shadowing(true);
    linker.instance(TCP)?.func_wrap(
        "[method]tcp-socket.finish-connect",
        |mut store: wasmtime::StoreContextMut<'_, State>, (socket,): (Resource<TcpSocket>,)| {
            Ok((match finish_connect(store.data_mut(), &socket) {
                Ok(streams) => Ok(streams),
                Err(error) => Err(network::Host::convert_error_code(
                    &mut store.data_mut().sockets(),
                    error,
                )?),
            },))
        },
    )?;
    linker.instance(TCP)?.func_wrap(
        "[method]tcp-socket.remote-address",
        |mut store: wasmtime::StoreContextMut<'_, State>, (socket,): (Resource<TcpSocket>,)| {
            let mut view = store.data_mut().sockets();
            Ok((match remote_address(&mut view, &socket) {
                Ok(address) => Ok(address),
                Err(error) => Err(network::Host::convert_error_code(&mut view, error)?),
            },))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

struct HasTls;

impl wasmtime::component::HasData for HasTls {
    type Data<'a> = Tls<'a>;
}

type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

fn finish_connect(state: &mut State, socket: &Resource<TcpSocket>) -> SocketResult<Streams> {
    let this = || Resource::<TcpSocket>::new_borrow(socket.rep());
    let written = state.written();
    let mut view = state.sockets();
    let (input, output) = HostTcpSocket::finish_connect(&mut view, this())?;
    let local = HostTcpSocket::local_address(&mut view, this());
    let peer = remote_address(&mut view, socket);
    let failed = |_| ErrorCode::Unknown;
    let input = view.table.delete(input).map_err(failed)?;
    let output = view.table.delete(output).map_err(failed)?;
    let (local, peer) = (local?, peer?);
    let link = Arc::new(Link::new(input, output, peer.into(), written));
    let (input, output) = link.streams();
    let input = view.table.push_child(input, socket).map_err(failed)?;
    let output = view.table.push_child(output, socket).map_err(failed)?;
    state.links().add(local.into(), &link);
    Ok((input, output))
}

/// The address of the server. A connection that the server has reset already has none: the system says "not connected",
/// which is `invalid-state` in WASI, and at that the C library of components aborts.
fn remote_address(
    view: &mut WasiSocketsCtxView<'_>,
    socket: &Resource<TcpSocket>,
) -> SocketResult<IpSocketAddress> {
    let socket = Resource::<TcpSocket>::new_borrow(socket.rep());
    HostTcpSocket::remote_address(view, socket).map_err(|error| match error.downcast_ref() {
        Some(ErrorCode::InvalidState) => ErrorCode::ConnectionReset.into(),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_dsn::Address;

    #[test]
    fn a_name_is_one_that_may_be_connected_to() {
        let allowed = [Address::parse("db.example:6379").expect("an address")];
        let grant = Grant::new(&allowed, &[], false);
        let peer = "192.0.2.1:6379".parse().expect("an address");
        assert_eq!(
            permitted(&grant, "DB.example", peer).as_deref(),
            Ok("db.example")
        );
        assert_eq!(
            permitted(&grant, "192.0.2.1", peer).as_deref(),
            Ok("192.0.2.1")
        );
        for other in ["192.0.2.2", "example", "evil.example", ""] {
            assert!(permitted(&grant, other, peer).is_err(), "{other}");
        }
    }
}

//! Attempts to access resources for which the engine has no permission.

use crate::bindings::artisanal::integers::tls;
use crate::bindings::wasi::sockets::ip_name_lookup;
use engine_guest::Error;
use std::fmt::Display;
use std::io::Write;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

/// Converts the result of an attempt to an error.
fn outcome<T>(what: &str, result: Result<T, impl Display>) -> Error {
    match result {
        Ok(_) => Error::Other(format!("ESCAPED: {what}")),
        Err(why) => Error::Denied(format!("{what}: {why}")),
    }
}

pub(crate) fn dial(to: &str) -> Error {
    outcome(&format!("dialling {to}"), TcpStream::connect(to))
}

pub(crate) fn listen() -> Error {
    outcome("listening", TcpListener::bind("127.0.0.1:0"))
}

pub(crate) fn talk(to: &str) -> Error {
    let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"hello", to));
    outcome(&format!("sending to {to}"), sent)
}

pub(crate) fn resolve(name: &str) -> Error {
    let found = (name, 80)
        .to_socket_addrs()
        .map(Iterator::collect::<Vec<_>>)
        .and_then(|found| {
            if found.is_empty() {
                Err(std::io::Error::other("no addresses"))
            } else {
                Ok(found)
            }
        });
    outcome(&format!("resolving {name}"), found)
}

pub(crate) async fn resolve_p3(name: &str) -> Error {
    let found = ip_name_lookup::resolve_addresses(name.to_owned()).await;
    outcome(
        &format!("resolving {name}"),
        found.map_err(|code| format!("{code:?}")),
    )
}

/// Sends something to a server with TLS, whatever its certificate is.
pub(crate) fn trust(to: &str, name: &str) -> Error {
    let sent = || -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(to).map_err(text)?;
        let connection = tls::Connection {
            local: stream.local_addr().map_err(text)?.to_string(),
            peer: stream.peer_addr().map_err(text)?.to_string(),
        };
        tls::start(&connection, name, tls::Verification::Nothing)?;
        let sent = stream.write_all(b"PING\r\n").map_err(text);
        tls::failure(&connection).map_or(sent, Err)
    };
    outcome(&format!("trusting {to} as {name}"), sent())
}

pub(crate) fn read(path: &str) -> Error {
    let read = std::fs::read(path).map(drop);
    let listed = std::fs::read_dir("/").map(drop);
    outcome(&format!("reading {path}"), read.or(listed))
}

pub(crate) fn environment() -> Error {
    let names: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
    let arguments: Vec<_> = std::env::args().collect();
    let found = if names.is_empty() && arguments.is_empty() {
        Err("nothing there")
    } else {
        Ok(())
    };
    outcome(
        &format!("variables {names:?}, arguments {arguments:?}"),
        found,
    )
}

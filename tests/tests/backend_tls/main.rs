//! TLS to backends: real servers with certificates that are right, wrong, expired, by another authority and for
//! another name; client certificates; servers that have no TLS.

mod component;
mod lost;
mod mysql;
mod postgres;
mod program;
mod redis;
mod rqlite;

use int_host::{Config, Error, Host, Options, Source};
use redis::{ANYBODY, server as redis_with};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread::JoinHandle;
use testbed::backend;
use testbed::certificates::{Authority, Stored};
use testbed::contract::assert_fails;
use testbed::runtime::run;

/// The files that the host is given.
#[derive(Clone, Debug, Default)]
struct Files {
    authority: Option<PathBuf>,
    client: Option<Stored>,
}

impl Files {
    fn trusting(authority: &Authority) -> Self {
        Self {
            authority: Some(authority.file()),
            client: None,
        }
    }

    fn with_client(mut self, client: Stored) -> Self {
        self.client = Some(client);
        self
    }

    fn host(&self) -> Result<Host, Error> {
        let mut options = Options::default();
        options.cache = Some(backend::cache());
        options.ca_file = self.authority.clone();
        if let Some(client) = &self.client {
            options.client_cert = Some(client.chain.clone());
            options.client_key = Some(client.key.clone());
        }
        Host::new(options)
    }

    /// Mints one integer on a new host.
    fn mint(&self, engine: impl Into<Source>, dsn: &str) -> Result<i64, Error> {
        let config = Config {
            dsn: dsn.to_owned(),
            ..Config::default()
        };
        run(async {
            let sequence = self.host()?.open(engine, config).await?;
            Ok(sequence.next(1).await?.first())
        })
    }
}

/// A server that answers the first message of its only client, reads on until the client goes away, and returns all
/// that it read. It says `greeting` first.
fn listener(
    greeting: &'static [u8],
    answer: &'static [u8],
) -> std::io::Result<(u16, JoinHandle<std::io::Result<Vec<u8>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(greeting)?;
        let mut heard = vec![0; 1024];
        let count = stream.read(&mut heard)?;
        heard.truncate(count);
        if count > 0 {
            stream.write_all(answer)?;
            // The client may reset the connection.
            let _ = stream.read_to_end(&mut heard);
        }
        Ok(heard)
    });
    Ok((port, serving))
}

//! A mock server for the Redis protocol (RESP), whose replies come from a script.
//!
//! It implements only as much of the protocol as tests need to show an engine behaviour that a real Redis or
//! SummitDB shows seldom or cannot be made to show.

use crate::error::{Error, Result};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How the mock server reacts to a command.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Replies with an integer.
    Integer(i64),
    /// Replies with a bulk string.
    Text(String),
    /// Replies with nil.
    Nil,
    /// Replies with an array of bulk strings.
    List(Vec<String>),
    /// Replies with an error: its code and the message.
    Error(String),
    /// Closes the connection without a reply.
    Close,
    /// Never replies.
    Silence,
}

type Script = Box<dyn FnMut(&[String]) -> Reply + Send>;

struct Shared {
    script: Mutex<Script>,
    accepted: AtomicUsize,
    stopped: AtomicBool,
}

/// A running mock server. It stops on drop.
pub struct StandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl StandIn {
    /// Listens on a free port of an address of this machine and replies to each command with the result of
    /// `script`, which gets the command with its first word in upper case. Commands of all connections are
    /// handled one at a time.
    ///
    /// # Errors
    /// When the address does not belong to this machine.
    pub fn on(
        ip: impl Into<IpAddr>,
        script: impl FnMut(&[String]) -> Reply + Send + 'static,
    ) -> Result<Self> {
        let ip = ip.into();
        let bound = TcpListener::bind((ip, 0)).and_then(|l| Ok((l.local_addr()?, l)));
        let (address, listener) = bound.map_err(Error::io(format!("listening on {ip}")))?;
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(script)),
            accepted: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                serving.accepted.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&serving);
                // The thread ends when its client disconnects.
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Ok(Self { address, shared })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the script.
    pub fn play(&self, script: impl FnMut(&[String]) -> Reply + Send + 'static) {
        *lock(&self.shared.script) = Box::new(script);
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread. An error means that it has ended already.
        let _ = TcpStream::connect(self.address);
    }
}

fn lock(script: &Mutex<Script>) -> std::sync::MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one connection until the client or the script closes it.
fn serve(stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut words = read(&mut reader)?;
        words.first_mut()?.make_ascii_uppercase();
        let reply = (lock(&shared.script))(&words);
        let text = match reply {
            Reply::Integer(n) => format!(":{n}\r\n"),
            Reply::Text(text) => bulk(&text),
            Reply::Nil => "$-1\r\n".to_owned(),
            Reply::List(items) => {
                let all: String = items.iter().map(|item| bulk(item)).collect();
                format!("*{}\r\n{all}", items.len())
            }
            Reply::Error(text) => format!("-{text}\r\n"),
            Reply::Close => return None,
            Reply::Silence => continue,
        };
        writer.write_all(text.as_bytes()).ok()?;
    }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// Reads one command: an array of bulk strings.
fn read(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let count = header(reader, '*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let length = header(reader, '$')?;
        let mut text = vec![0; length + 2];
        reader.read_exact(&mut text).ok()?;
        text.truncate(length);
        words.push(String::from_utf8_lossy(&text).into_owned());
    }
    Some(words)
}

fn header(reader: &mut impl BufRead, kind: char) -> Option<usize> {
    let mut line = String::new();
    reader.take(64).read_line(&mut line).ok()?;
    line.strip_prefix(kind)?.trim_end().parse().ok()
}

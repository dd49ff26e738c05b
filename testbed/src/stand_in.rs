//! A stand-in for a server that speaks Redis's protocol: it answers what a script says.
//!
//! It is no Redis and no SummitDB: only so much of the wire protocol (RESP) as tests need to show an engine
//! what a real server does seldom or cannot be made to do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a stand-in does with a command.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An integer.
    Integer(i64),
    /// A text.
    Text(String),
    /// Nothing stored.
    Nil,
    /// A list of texts.
    List(Vec<String>),
    /// An error: its code, and the rest.
    Error(String),
    /// Closes the connection without a word.
    Close,
    /// Never answers.
    Silence,
}

type Script = Box<dyn FnMut(&[String]) -> Reply + Send>;

struct Shared {
    script: Mutex<Script>,
    accepted: AtomicUsize,
    stopped: AtomicBool,
}

/// A listening stand-in. It stops when dropped.
pub struct StandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl StandIn {
    /// Listens on a free port of an address of this machine, and answers commands, whose first word is in upper
    /// case, as `script` says: one at a time, whoever asks.
    ///
    /// # Panics
    /// When the address is not this machine's.
    pub fn on(
        ip: impl Into<IpAddr>,
        script: impl FnMut(&[String]) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip.into(), 0)).expect("an address of this machine");
        let address = listener.local_addr().expect("bound");
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
                // A client that goes away in the middle ends its thread.
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers as another script says from now on.
    pub fn play(&self, script: impl FnMut(&[String]) -> Reply + Send + 'static) {
        *lock(&self.shared.script) = Box::new(script);
    }

    /// How many connections there were.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that listens; where that fails it is gone already.
        let _ = TcpStream::connect(self.address);
    }
}

fn lock(script: &Mutex<Script>) -> std::sync::MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends when the client does, or the script has nothing to say to it any more.
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

/// Reads one command: an array of texts.
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

//! A mock server: answers commands from a script, to reproduce faults that are rare with real
//! servers. It is not a database.

use crate::{Value, text};
use redis::Parser;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The answer of the script to one command.
pub enum Answer {
    /// Sends these bytes.
    Reply(Vec<u8>),
    /// Sends nothing and closes the connection.
    Close,
}

impl Answer {
    /// A reply of one line, to which `\r\n` is added: `:1`, `+OK`, `-ERR no`, `$-1`.
    pub fn line(line: &str) -> Self {
        Self::Reply(format!("{line}\r\n").into_bytes())
    }
}

/// A scripted server on a free local port, which runs until the end of the test.
pub struct StandIn {
    port: u16,
    commands: Arc<AtomicUsize>,
}

impl StandIn {
    /// Starts the server. The script is called for each command, with its words.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start(script: impl Fn(&[&str]) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let commands = Arc::new(AtomicUsize::new(0));
        let (script, count) = (Arc::new(script), Arc::clone(&commands));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, count) = (Arc::clone(&script), Arc::clone(&count));
                thread::spawn(move || serve(stream, &*script, &count));
            }
        });
        Self { port, commands }
    }

    /// The address, as `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The number of commands received so far.
    pub fn commands(&self) -> usize {
        self.commands.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, script: &dyn Fn(&[&str]) -> Answer, count: &AtomicUsize) {
    let mut parser = Parser::new();
    while let Ok(Value::Array(words)) = parser.parse_value(&mut stream) {
        count.fetch_add(1, Ordering::SeqCst);
        let words: Vec<&str> = words.iter().filter_map(text).collect();
        match script(&words) {
            Answer::Reply(bytes) if stream.write_all(&bytes).is_ok() => {}
            Answer::Reply(_) | Answer::Close => return,
        }
    }
}

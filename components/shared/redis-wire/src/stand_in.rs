//! A protocol stand-in: answers commands by a script, to show faults that real servers show
//! rarely. It is no database.

use crate::{Value, text};
use redis::Parser;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What the script says to one command.
pub enum Answer {
    /// These bytes.
    Reply(Vec<u8>),
    /// Nothing, and the connection is closed.
    Close,
}

impl Answer {
    /// One line, `\r\n` added: `:1`, `+OK`, `-ERR no`, `$-1`.
    pub fn line(line: &str) -> Self {
        Self::Reply(format!("{line}\r\n").into_bytes())
    }
}

/// A scripted server on a free port of this machine, for the rest of the test.
pub struct StandIn {
    port: u16,
    commands: Arc<AtomicUsize>,
}

impl StandIn {
    /// Starts it. The script is asked for each command, given its words.
    ///
    /// # Panics
    /// When there is no free port.
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

    /// Where it listens, as `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many commands it was sent so far.
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

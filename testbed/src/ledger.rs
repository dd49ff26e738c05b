//! A ledger as a process of its own, `int-host ledger`, and servers that publish to it.

use crate::cli::{Place, Serving};
use crate::error::Result;
use crate::http::Answer;
use crate::port;
use rustix::process::Signal;
use serde_json::Value;
use std::sync::{Mutex, PoisonError};

/// A ledger with a data directory and a port that stay the same when it starts again. Killed on drop.
pub struct Ledger {
    place: Place,
    port: u16,
    serving: Mutex<Option<Serving>>,
}

impl Ledger {
    /// Starts a ledger with an empty data directory.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start() -> Result<Self> {
        let ledger = Self {
            place: Place::new()?,
            port: port::free()?,
            serving: Mutex::default(),
        };
        ledger.start_again()?;
        Ok(ledger)
    }

    /// Starts it again on its files.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start_again(&self) -> Result {
        let port = self.port.to_string();
        let command = self
            .place
            .command(&["ledger", "--host", "127.0.0.1", "--port", &port])?;
        let script = "trap '' XFSZ; exec \"$@\"";
        let serving = Serving::start(crate::cli::within_shell(script, &command))?;
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(serving);
        Ok(())
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&self) -> Result {
        let serving = self
            .serving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(serving) = serving {
            serving.signal(Signal::KILL);
            serving.end()?;
        }
        Ok(())
    }

    /// The process id, if it runs.
    pub fn id(&self) -> Option<u32> {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        serving.as_ref().map(Serving::id)
    }

    /// The URL for publishers.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The environment, with its data directory.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When there is no response.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        crate::http::request(method, &url, &[], body)
    }

    /// The JSON at a path.
    ///
    /// # Errors
    /// When there is no response.
    pub fn get(&self, path: &str) -> Result<Value> {
        Ok(self.request("GET", path, "")?.json())
    }

    /// All events of a key. Checks that their numbers are gap-free.
    ///
    /// # Errors
    /// When there is no response.
    ///
    /// # Panics
    /// When a number is missing or comes twice.
    pub fn events(&self, key: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        loop {
            let from = all.len() + 1;
            let path = format!("/v1/keys/{key}/events?from={from}&limit=1000");
            let page = self.get(&path)?;
            let events = page["events"].as_array().cloned().unwrap_or_default();
            for event in events {
                assert_eq!(event["number"], all.len() + 1, "{event}");
                all.push(event);
            }
            if page["next"].is_null() {
                assert_eq!(page["last"], all.len(), "the last page");
                return Ok(all);
            }
        }
    }
}

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
    options: Vec<String>,
    serving: Mutex<Option<Serving>>,
}

impl Ledger {
    /// Starts a ledger with an empty data directory.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same with further options.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start_with(options: &[&str]) -> Result<Self> {
        let ledger = Self {
            options: options.iter().map(|&option| option.to_owned()).collect(),
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
        let mut all = vec!["ledger", "--host", "127.0.0.1", "--port", &port];
        all.extend(self.options.iter().map(String::as_str));
        let command = self.place.command(&all)?;
        let script = "trap '' XFSZ; exec \"$@\"";
        let serving = Serving::start(crate::cli::within_shell(script, &command))?;
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(serving);
        Ok(())
    }

    /// Sends a signal to it, if it runs.
    pub fn signal(&self, signal: Signal) {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(serving) = &*serving {
            serving.signal(signal);
        }
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&self) -> Result {
        if let Some(serving) = self.take() {
            serving.signal(Signal::KILL);
            serving.end()?;
        }
        Ok(())
    }

    /// Stops it with SIGTERM, and returns its log.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&self) -> Result<String> {
        let serving = self.take();
        let ended = serving.map(Serving::stop).transpose()?;
        Ok(ended.map(|(_, log)| log).unwrap_or_default())
    }

    fn take(&self) -> Option<Serving> {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        serving.take()
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
    ///
    /// # Panics
    /// When the ledger's OpenAPI document does not describe the response.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let answer = crate::http::request(method, &url, &[], body)?;
        check_described(method, path, &answer);
        Ok(answer)
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

/// The OpenAPI document of ledgers.
const OPENAPI: &str = include_str!("../../ledger/src/api/openapi.json");

/// Checks that the OpenAPI document has the status and the media type of an answer.
///
/// # Panics
/// When it has not.
pub fn check_described(method: &str, path: &str, answer: &Answer) {
    let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
    let path = path.split('?').next().unwrap_or_default();
    let fits = |pattern: &str| {
        let parts: Vec<_> = pattern.split('/').collect();
        let given: Vec<_> = path.split('/').collect();
        let fit = |(part, given): (&&str, &&str)| part.starts_with('{') || part == given;
        parts.len() == given.len() && parts.iter().zip(&given).all(fit)
    };
    let paths = document["paths"].as_object().expect("paths");
    let Some((_, item)) = paths.iter().find(|(pattern, _)| fits(pattern)) else {
        assert!(
            matches!(answer.status, 401 | 404),
            "{path}: {}",
            answer.status
        );
        return;
    };
    let operation = &item[method.to_ascii_lowercase()];
    let status = answer.status.to_string();
    if operation.is_null() {
        assert_eq!(answer.status, 405, "{method} {path}");
        return;
    }
    let mut described = &operation["responses"][&status];
    if let Some(pointer) = described["$ref"].as_str() {
        let target = document.pointer(pointer.trim_start_matches('#'));
        described = target.expect("a reference that resolves");
    }
    let kind = answer.header("content-type");
    assert!(
        described["content"][kind].is_object(),
        "{method} {path} {status} {kind} is not in the OpenAPI document"
    );
}

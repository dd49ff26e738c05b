//! `int-host ledger backup` and `restore`.

use crate::Error;
use crate::ledger::backup::{Checked, restore};
use artisanal_core::Secret;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the ledger may send nothing.
const SILENCE: Duration = Duration::from_secs(30);

/// The maximum length of the answer that says why there is no backup, in bytes.
const MAX_PROBLEM: usize = 4 << 10;

/// Writes a backup of the ledger at this address to the standard output.
pub(super) async fn save(host: &str, port: u16, token: Option<&Secret>) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        return Err(Error::Invalid(
            "a backup is not for a terminal; write it to a file: int-host ledger backup > FILE"
                .into(),
        ));
    }
    let away = |why: &dyn std::fmt::Display| {
        Error::Unavailable(format!("the ledger at {host}:{port}: {why}"))
    };
    let late = |_| away(&"no answer in time");
    let name = host.trim_matches(['[', ']']);
    let connecting = TcpStream::connect((name, port));
    let stream = timeout(SILENCE, connecting).await.map_err(late)?;
    let stream = TokioIo::new(stream.map_err(|error| away(&error))?);
    let (mut sender, connection) = http1::handshake(stream)
        .await
        .map_err(|error| away(&error))?;
    tokio::spawn(connection);
    let mut request = Request::get("/v1/backup").header(header::HOST, format!("{host}:{port}"));
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| Error::Invalid(error.to_string()))?;
    let sending = sender.send_request(request);
    let response = timeout(SILENCE, sending).await.map_err(late)?;
    let response = response.map_err(|error| away(&error))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(Error::Denied(
                "the ledger wants a token that may read all keys; give it with --ledger-token"
                    .into(),
            ));
        }
        StatusCode::BAD_REQUEST => {
            let said = timeout(SILENCE, detail(response.into_body())).await;
            let said = said.map_err(late)?;
            return Err(Error::Invalid(format!(
                "the ledger at {host}:{port} makes no backup: {said}"
            )));
        }
        other => return Err(away(&other)),
    }
    let mut body = response.into_body();
    let mut checked = Checked::default();
    while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(late)? {
        let frame = frame.map_err(|error| away(&error))?;
        if let Some(piece) = frame.data_ref() {
            checked.update(piece);
            out.write_all(piece).map_err(|error| unwritable(&error))?;
        }
    }
    let length = checked.finish().map_err(|why| away(&why))?;
    out.flush().map_err(|error| unwritable(&error))?;
    tracing::info!("a backup of {length} bytes");
    Ok(())
}

/// What a problem says.
async fn detail(body: Incoming) -> String {
    let read = Limited::new(body, MAX_PROBLEM).collect().await;
    let problem = read
        .ok()
        .and_then(|read| serde_json::from_slice::<Value>(&read.to_bytes()).ok());
    let detail = problem
        .as_ref()
        .and_then(|problem| problem["detail"].as_str());
    let detail = detail.unwrap_or("it does not say why");
    detail.chars().filter(|c| !c.is_control()).collect()
}

/// Restores the backup on the standard input to a directory.
pub(super) fn load(directory: &Path) -> Result<(), Error> {
    let input = std::io::stdin().lock();
    let entries = restore(input, directory).map_err(|why| Error::Misconfigured(why.to_string()))?;
    tracing::info!("restored {entries} entries to {}", directory.display());
    Ok(())
}

fn unwritable(error: &std::io::Error) -> Error {
    Error::Misconfigured(format!("cannot write the backup: {error}"))
}

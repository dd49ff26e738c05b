//! A client of rqlite on hyper.

use anyhow::{Context, bail};
use bytes::Bytes;
use engine_dsn::Dsn;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::fmt::Write;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

const PORT: u16 = 4001;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS artisanal_integers \
    (name TEXT NOT NULL PRIMARY KEY, mark INTEGER NOT NULL) STRICT, WITHOUT ROWID";

const ADVANCE: &str = "INSERT INTO artisanal_integers (name, mark) VALUES (CAST(? AS TEXT), ?) \
    ON CONFLICT (name) DO UPDATE SET mark = mark + excluded.mark \
    WHERE mark <= 9223372036854775807 - excluded.mark \
    RETURNING CASE typeof(mark) WHEN 'integer' THEN mark END AS mark";

pub(super) struct Rqlite {
    connection: Mutex<SendRequest<Full<Bytes>>>,
    host: String,
}

impl Rqlite {
    pub(super) async fn connect(dsn: &Dsn) -> anyhow::Result<Self> {
        let address = dsn.addresses().first().context("the DSN names no host")?;
        let host = format!("{}:{}", address.host, address.port_or(PORT));
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        let (connection, worker) = handshake(TokioIo::new(stream)).await?;
        // The task ends with the connection. Its errors also appear in the requests.
        tokio::spawn(worker);
        let new = Self {
            connection: Mutex::new(connection),
            host,
        };
        new.execute(json!([[CREATE]])).await?;
        Ok(new)
    }

    pub(super) async fn advance(&self, key: &str, by: i64) -> anyhow::Result<i64> {
        let key = key.bytes().fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let answer = self
            .execute(json!([[ADVANCE, format!("x'{key}'"), by]]))
            .await?;
        answer["results"][0]["values"][0][0]
            .as_i64()
            .with_context(|| format!("no mark in {answer}"))
    }

    async fn execute(&self, statements: Value) -> anyhow::Result<Value> {
        let request = Request::post("/db/execute?timeout=2s")
            .header("host", &self.host)
            .header("content-type", "application/json")
            .body(Full::from(statements.to_string()))?;
        let mut connection = self.connection.lock().await;
        connection.ready().await?;
        let answer = connection.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status != 200 {
            bail!("status {status}: {}", String::from_utf8_lossy(&body));
        }
        let answer: Value = serde_json::from_slice(&body)?;
        match answer["results"][0]["error"].as_str() {
            Some(error) => bail!("{error}"),
            None => Ok(answer),
        }
    }
}

//! A client of rqlite on hyper.

use super::connection::Connection;
use anyhow::{Context, bail};
use engine_dsn::Dsn;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use std::fmt::Write;
use tokio::sync::Mutex;

const PORT: u16 = 4001;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS artisanal_integers \
    (name TEXT NOT NULL PRIMARY KEY, mark INTEGER NOT NULL) STRICT, WITHOUT ROWID";

const ADVANCE: &str = "INSERT INTO artisanal_integers (name, mark) VALUES (CAST(? AS TEXT), ?) \
    ON CONFLICT (name) DO UPDATE SET mark = mark + excluded.mark \
    WHERE mark <= 9223372036854775807 - excluded.mark \
    RETURNING CASE typeof(mark) WHEN 'integer' THEN mark END AS mark";

pub(super) struct Rqlite(Mutex<Connection>);

impl Rqlite {
    pub(super) async fn connect(dsn: &Dsn) -> anyhow::Result<Self> {
        let address = dsn.addresses().first().context("the DSN names no host")?;
        let host = format!("{}:{}", address.host, address.port_or(PORT));
        let new = Self(Mutex::new(Connection::open(host).await?));
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
        let mut connection = self.0.lock().await;
        let request = Request::post("/db/execute?timeout=2s")
            .header("host", connection.host())
            .header("content-type", "application/json")
            .body(Full::from(statements.to_string()))?;
        let body = connection.ask(request, &[StatusCode::OK]).await?;
        let answer: Value = serde_json::from_slice(&body)?;
        match answer["results"][0]["error"].as_str() {
            Some(error) => bail!("{error}"),
            None => Ok(answer),
        }
    }
}

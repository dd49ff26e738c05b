//! A client of a server of integers on hyper, with one connection.

use super::connection::Connection;
use anyhow::Context;
use bytes::Bytes;
use engine_dsn::Dsn;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::sync::Mutex;

pub(super) struct Http {
    connection: Mutex<Connection>,
    authorization: Option<String>,
}

#[derive(serde::Deserialize)]
struct Minted {
    first: i64,
    step: i64,
    count: i64,
}

impl Http {
    pub(super) async fn connect(dsn: &Dsn) -> anyhow::Result<Self> {
        let address = dsn.addresses().first().context("a host")?;
        let host = format!("{}:{}", address.host, address.port_or(8080));
        Ok(Self {
            connection: Mutex::new(Connection::open(host).await?),
            authorization: dsn.user().map(|token| format!("Bearer {token}")),
        })
    }

    /// Mints integers and returns the last one.
    pub(super) async fn next(&self, key: &str, count: i64) -> anyhow::Result<i64> {
        let mut connection = self.connection.lock().await;
        let mut request = Request::post(format!("/v1/sequences/{key}/next?count={count}"))
            .header("host", connection.host());
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Full::<Bytes>::default())?;
        let body = connection.ask(request, &[StatusCode::OK]).await?;
        let Minted { first, step, count } = serde_json::from_slice(&body)?;
        let length = (count - 1).checked_mul(step);
        length
            .and_then(|length| first.checked_add(length))
            .context("a span beyond the range")
    }
}

//! A client of a server of integers on hyper, with one connection.

use anyhow::{Context, bail};
use bytes::Bytes;
use engine_dsn::Dsn;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

pub(super) struct Http {
    connection: Mutex<SendRequest<Empty<Bytes>>>,
    host: String,
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
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        let (connection, worker) = handshake(TokioIo::new(stream)).await?;
        // The task ends with the connection. Its errors also appear in the requests.
        tokio::spawn(worker);
        Ok(Self {
            connection: Mutex::new(connection),
            host,
            authorization: dsn.user().map(|token| format!("Bearer {token}")),
        })
    }

    /// Mints integers and returns the last one.
    pub(super) async fn next(&self, key: &str, count: i64) -> anyhow::Result<i64> {
        let mut request = Request::post(format!("/v1/sequences/{key}/next?count={count}"))
            .header("host", &self.host);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Empty::new())?;
        let mut connection = self.connection.lock().await;
        connection.ready().await?;
        let answer = connection.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        if status != 200 {
            bail!("status {status}: {}", String::from_utf8_lossy(&body));
        }
        let Minted { first, step, count } = serde_json::from_slice(&body)?;
        let length = (count - 1).checked_mul(step);
        length
            .and_then(|length| first.checked_add(length))
            .context("a span beyond the range")
    }
}

//! One kept HTTP connection, which is opened again after the server has closed it as idle.

use anyhow::bail;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Host and port.
    host: String,
}

impl Connection {
    pub(super) async fn open(host: String) -> anyhow::Result<Self> {
        let sender = dial(&host).await?;
        Ok(Self { sender, host })
    }

    /// Host and port, for the request's header.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Sends a request and returns the body of its answer, which has one of these statuses.
    pub(super) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
        statuses: &[StatusCode],
    ) -> anyhow::Result<Bytes> {
        if self.sender.is_closed() || self.sender.ready().await.is_err() {
            self.sender = dial(&self.host).await?;
        }
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !statuses.contains(&status) {
            bail!("status {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}

async fn dial(host: &str) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (sender, worker) = handshake(TokioIo::new(stream)).await?;
    // The task ends with the connection. Its errors also appear in the requests.
    tokio::spawn(worker);
    Ok(sender)
}

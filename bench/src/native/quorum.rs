//! A client of a quorum on hyper, which waits for all nodes.

use anyhow::{Context, bail};
use artisanal_quorum::{Answer, Ballot, Claim, FIRST_EPOCH, PORT};
use bytes::Bytes;
use engine_dsn::Dsn;
use futures::future::try_join_all;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

pub(super) struct Quorum(Mutex<State>);

struct State {
    nodes: Vec<Node>,
    /// The greatest mark that was heard of.
    mark: i64,
}

struct Node {
    connection: SendRequest<Full<Bytes>>,
    host: String,
}

impl Quorum {
    pub(super) async fn connect(dsn: &Dsn) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        for address in dsn.addresses() {
            let host = format!("{}:{}", address.host, address.port_or(PORT));
            let stream = TcpStream::connect(&host).await?;
            stream.set_nodelay(true)?;
            let (connection, worker) = handshake(TokioIo::new(stream)).await?;
            // The task ends with the connection. Its errors also appear in the requests.
            tokio::spawn(worker);
            nodes.push(Node { connection, host });
        }
        Ok(Self(Mutex::new(State { nodes, mark: 0 })))
    }

    pub(super) async fn advance(&self, key: &str, by: i64) -> anyhow::Result<i64> {
        let mut state = self.0.lock().await;
        loop {
            let (first, last) = (state.mark + 1, state.mark + by);
            let body = Bytes::from(serde_json::to_vec(&Claim {
                first,
                last,
                epoch: FIRST_EPOCH,
            })?);
            let count = state.nodes.len();
            let asked = state.nodes.iter_mut().map(|node| node.claim(key, &body));
            let mut ballot = Ballot::new(count, None, FIRST_EPOCH);
            for answer in try_join_all(asked).await? {
                ballot.add(answer)?;
            }
            if ballot.is_accepted() {
                state.mark = last;
                return Ok(last);
            }
            state.mark = ballot.mark().context("no node has a mark")?;
        }
    }
}

impl Node {
    async fn claim(&mut self, key: &str, body: &Bytes) -> anyhow::Result<Answer> {
        let request = Request::post(format!("/v1/sequences/{key}/claim"))
            .header("host", &self.host)
            .body(Full::from(body.clone()))?;
        self.connection.ready().await?;
        let answer = self.connection.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        match status {
            200 | 409 => Ok(serde_json::from_slice(&body)?),
            _ => bail!("status {status}: {}", String::from_utf8_lossy(&body)),
        }
    }
}

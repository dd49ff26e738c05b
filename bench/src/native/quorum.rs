//! A client of a quorum on hyper, which waits for all nodes.

use super::connection::Connection;
use anyhow::Context;
use artisanal_quorum::{Answer, Ballot, Claim, FIRST_EPOCH, PORT};
use bytes::Bytes;
use engine_dsn::Dsn;
use futures::future::try_join_all;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::sync::Mutex;

pub(super) struct Quorum(Mutex<State>);

struct State {
    nodes: Vec<Node>,
    /// The greatest mark that was heard of.
    mark: i64,
}

struct Node(Connection);

impl Quorum {
    pub(super) async fn connect(dsn: &Dsn) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        for address in dsn.addresses() {
            let host = format!("{}:{}", address.host, address.port_or(PORT));
            nodes.push(Node(Connection::open(host).await?));
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
            .header("host", self.0.host())
            .body(Full::from(body.clone()))?;
        let answered = [StatusCode::OK, StatusCode::CONFLICT];
        let body = self.0.ask(request, &answered).await?;
        Ok(serde_json::from_slice(&body)?)
    }
}

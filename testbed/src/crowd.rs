//! Clients that mint from real servers at the same time.

use crate::cli::Serving;
use crate::clock;
use crate::error::Result;
use crate::history::{History, Record, Span};
use crate::http::Client;
use crate::runtime::run;

/// Lets eight clients, spread over the servers, mint `calls` integers each, one at a time. The process of a record is
/// its server.
///
/// # Errors
/// When a server does not answer with an integer.
///
/// # Panics
/// When an answer is no integer.
pub fn mint_at_once(servers: &[&Serving], calls: u32) -> Result<History> {
    let minted: Result<Vec<Vec<Record>>> = run(async {
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..8_u32 {
            let at = client as usize % servers.len();
            let url = servers[at].url("/");
            let process = u32::try_from(at).expect("few servers");
            clients.spawn(async move {
                let client = Client::default();
                let mut records = Vec::new();
                for _ in 0..calls {
                    let begin = clock::now();
                    let answer = client.send("GET", &url, &[], "").await?;
                    let end = clock::now();
                    let span = Span::one(answer.integer());
                    records.push(Record {
                        process,
                        begin,
                        end,
                        span,
                    });
                }
                Ok(records)
            });
        }
        clients.join_all().await.into_iter().collect()
    });
    Ok(minted?.into_iter().flatten().collect())
}

//! Clients that mint while members are replaced.

use super::*;

/// What clients and the test share.
#[derive(Clone, Default)]
pub(super) struct Clients {
    pub(super) stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Clients {
    /// Waits until so many further calls of these clients have succeeded.
    pub(super) async fn mint(&self, further: usize) {
        let goal = self.calls.load(Ordering::Relaxed) + further;
        let minted = async {
            while self.calls.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let minted = tokio::time::timeout(LIMIT, minted).await;
        minted.expect("clients mint");
    }
}

/// Mints until it is stopped; a call may fail while too few members are reached.
pub(super) async fn mint_on(
    host: Host,
    dsn: String,
    process: u32,
    count: u32,
    clients: Clients,
) -> Vec<Record> {
    let sequence = open(&host, &dsn, "k").await;
    let mut records = Vec::new();
    while !clients.stop.load(Ordering::Relaxed) {
        match backend::mint(&sequence, process, count).await {
            Ok(record) => {
                records.push(record);
                clients.calls.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => assert_eq!(kind(&error), "unavailable", "{error}"),
        }
    }
    records
}

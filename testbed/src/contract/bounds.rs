//! C8: invalid counts, keys, lattices and DSNs are refused with `invalid`, before any I/O.

use super::stage::{Stage, refused};
use crate::failure::TestResult;
use crate::proxy::Proxy;

pub(super) fn test(stage: &Stage) -> TestResult {
    stage.run(counts(stage));
    stage.run(keys(stage));
    stage.run(before_any_io(stage))
}

async fn counts(stage: &Stage) {
    let sequence = stage.open("c8 counts").await;
    for count in [0, 100_001, u32::MAX] {
        refused("invalid", sequence.next(count).await, "next");
    }
    assert_eq!(sequence.last().await, Ok(None), "nothing was minted");
    for count in [1, 100_000] {
        assert_eq!(sequence.next(count).await.expect("minted").count(), count);
    }
}

async fn keys(stage: &Stage) {
    let dsn = stage.backend.dsn();
    let long = "k".repeat(129);
    let wide = "é".repeat(65);
    for bad in ["", &long, &wide, "a\nb", "a\0", "\u{7f}", "\u{85}"] {
        let opened = stage.try_open(&dsn, bad).await.map(drop);
        refused("invalid", opened, &format!("open {bad:?}"));
    }
    let long = "k".repeat(128);
    let wide = "é".repeat(64);
    let emoji = "🔢".repeat(32);
    for good in [
        "integers",
        "a",
        &long,
        &wide,
        &emoji,
        "日本語",
        "a b\u{a0}c",
        "\"'`;$",
    ] {
        let sequence = stage.open(good).await;
        let minted = sequence.next(2).await;
        let minted = minted.unwrap_or_else(|e| panic!("next of {good:?}: {e}"));
        assert!(minted.first() <= 2, "{good:?} is a fresh key: {minted:?}");
        let last = sequence.last().await.expect("last");
        assert!(last >= Some(minted.last()), "{good:?}: {last:?}");
    }
}

/// Invalid lattices and DSNs are refused without a connection: a proxy counts the connections.
async fn before_any_io(stage: &Stage) -> TestResult {
    let proxy = stage.backend.port().map(Proxy::to).transpose()?;
    let dsn = match &proxy {
        Some(proxy) => stage.backend.dsn_on(proxy.port()),
        None => stage.backend.dsn(),
    };
    for (increment, offset) in [(0, 0), (-1, 0), (i64::MIN, 0), (2, -1), (1, i64::MIN)] {
        let opened = stage.on_lattice("c8", increment, offset).await.map(drop);
        refused("invalid", opened, &format!("{increment}, {offset}"));
    }
    let mut bad = vec![
        "nonsense".to_owned(),
        "://".to_owned(),
        "gopher://127.0.0.1".to_owned(),
        "redis//127.0.0.1".to_owned(),
        format!("{dsn}\n"),
        format!("{dsn}?timeot=1s"),
        format!("{dsn}{}x=1", "&".repeat(4096)),
    ];
    if proxy.is_some() {
        for parameters in [
            "timeout=2",
            "timeout=0s",
            "timeout=-1s",
            "timeout=1h",
            "timeout=",
        ] {
            bad.push(format!("{dsn}?{parameters}"));
        }
        bad.push(dsn.replace("127.0.0.1", "127.0.0.1:x"));
        bad.push(dsn.replace("127.0.0.1", "127.0.0.1:99999,h"));
        bad.push(dsn.replace("127.0.0.1", ""));
        bad.push(dsn.replace("127.0.0.1", "::1"));
        bad.push(dsn.replace("127.0.0.1", "a b"));
    }
    for bad in bad {
        let opened = stage.try_open(&bad, "c8").await.map(drop);
        refused("invalid", opened, &format!("open {bad:?}"));
    }
    for bad in ["", "a\nb"] {
        let opened = stage.try_open(&dsn, bad).await.map(drop);
        refused("invalid", opened, &format!("open {bad:?}"));
    }
    if let Some(proxy) = proxy {
        assert_eq!(proxy.accepted(), 0, "something was sent to the backend");
    }
    Ok(())
}

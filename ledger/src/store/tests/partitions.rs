//! Messages of a stream.

use super::*;
use crate::frame::Batch;
use crate::partition;
use crate::stream::{Entry, Outgoing, split};
use std::time::Duration;

const DAY: u64 = 24 * 3600 * 1_000_000;

fn kind() -> Kind {
    Kind::Stream("L".into())
}

fn open(directory: &TempDir) -> Store {
    loop {
        match Store::open_as(directory.path(), Options::default(), kind()) {
            Ok(store) => return store,
            Err(Error::Misconfigured(text)) if text.contains("in use") => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// The messages of a stream, in order.
#[derive(Default)]
struct Log(Vec<(u16, u64, bytes::Bytes)>);

impl Log {
    fn send(&mut self, messages: Vec<Outgoing>, at: u64) {
        let messages = messages.into_iter();
        let messages = messages.map(|message| (message.partition, at, message.payload));
        self.0.extend(messages);
    }

    fn batch(&mut self, batch: &Batch, at: u64) {
        self.send(split(batch, 1 << 20).unwrap(), at);
    }

    fn message(&self, index: usize) -> Message {
        let (partition, at, payload) = &self.0[index];
        Message {
            partition: *partition,
            sequence: index as u64 + 1,
            at: *at,
            entry: Entry::read(payload, *partition).unwrap(),
        }
    }
}

async fn apply(store: &Store, messages: Vec<Message>) -> Vec<Applied> {
    let answer = store.apply(messages, None).await.unwrap();
    answer.await.unwrap().unwrap()
}

fn once(key: &str, idempotency: &str, first: i64) -> Event {
    Event {
        idempotency: idempotency.into(),
        ..mint(key, first, 2, 1)
    }
}

fn events(store: &Store, key: &str) -> Vec<Event> {
    store.events(key, 1, 1000).unwrap().events
}

#[tokio::test]
async fn a_folder_belongs_to_one_stream() {
    let (directory, store) = store();
    drop(store);
    drop(again(&directory).await);
    let refused = |directory: &TempDir, kind| {
        let opened = Store::open_as(directory.path(), Options::default(), kind);
        opened.map(drop).expect_err("refused").to_string()
    };
    let text = refused(&directory, kind());
    assert!(text.contains("without --store"), "{text}");
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory));
    drop(open(&directory));
    let text = refused(&directory, Kind::Embedded);
    assert!(text.contains("stream L"), "{text}");
    let text = refused(&directory, Kind::Stream("M".into()));
    assert!(text.contains("stream L; this one is M"), "{text}");
}

#[tokio::test]
async fn a_message_is_applied_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let mut log = Log::default();
    log.batch(
        &batch(7, 1, vec![mint("a", 2, 2, 1), mint("a", 4, 2, 1)]),
        5,
    );
    // The same events again, long after, and one more.
    let more = vec![mint("a", 4, 2, 1), mint("a", 6, 2, 1)];
    log.batch(&batch(7, 2, more), 6);
    let added = |duplicates| {
        Applied::Added(Added {
            duplicates,
            earlier: Vec::new(),
        })
    };
    assert_eq!(apply(&store, vec![log.message(0)]).await, [added(0)]);
    let again = vec![log.message(0), log.message(1)];
    assert_eq!(apply(&store, again).await, [Applied::Before, added(1)]);
    drop(store);
    let store = open(&directory);
    assert_eq!(apply(&store, vec![log.message(1)]).await, [Applied::Before]);
    let firsts: Vec<_> = events(&store, "a")
        .iter()
        .map(|e| (e.number, e.span().unwrap().first()))
        .collect();
    assert_eq!(firsts, [(1, 2), (2, 4), (3, 6)]);
    assert_eq!(store.applied(partition::of("a")), Ok(2));
}

#[tokio::test]
async fn the_order_of_the_stream_decides_who_expected_the_right_number() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let mut log = Log::default();
    let note = || event("a", Payload::Json("1".into()));
    for (publisher, expected) in [(7, Some(0)), (8, Some(0)), (8, Some(1)), (7, None)] {
        let number = log.0.len() as u64 + 1;
        log.send(
            vec![Outgoing::appended(note(), publisher, number, expected)],
            5,
        );
    }
    // The ledger did not see that it was stored, and published it again.
    log.send(vec![Outgoing::appended(note(), 7, 1, Some(0))], 5);
    let all = apply(&store, (0..5).map(|index| log.message(index)).collect()).await;
    let numbered = |number| Applied::Appended(Box::new(Event { number, ..note() }));
    let conflict = Applied::Refused(Error::Conflict { current: 1 });
    assert_eq!(
        all,
        [
            numbered(1),
            conflict,
            numbered(2),
            numbered(3),
            Applied::Before
        ]
    );
    assert_eq!(events(&store, "a").len(), 3);
}

/// The time of an idempotency key is that of the stream.
#[tokio::test]
async fn a_key_is_free_again_a_day_later_in_the_stream() {
    let mut log = Log::default();
    for (first, at) in [
        (2, DAY),
        (4, 2 * DAY - 1),
        (6, 2 * DAY),
        (8, DAY),
        (10, 3 * DAY),
    ] {
        let number = u64::try_from(first).unwrap();
        log.batch(&batch(7, number, vec![once("a", "x", first)]), at);
    }
    let mut kinds = Vec::new();
    // One group for all, and a group for each.
    for size in [5, 1] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        for first in (0..5).step_by(size) {
            apply(
                &store,
                (first..first + size)
                    .map(|index| log.message(index))
                    .collect(),
            )
            .await;
        }
        let all = events(&store, "a");
        kinds.push(
            all.iter()
                .map(|event| event.kind().to_owned())
                .collect::<Vec<_>>(),
        );
    }
    // The clock of the fourth one is behind.
    let expected = ["mint", "unused", "mint", "unused", "mint"];
    assert_eq!(kinds, [expected, expected]);
}

/// Too many increments are refused whatever was refused before, also by a ledger that was started again.
#[tokio::test]
async fn what_is_refused_leaves_nothing() {
    let mut log = Log::default();
    let many = |steps: std::ops::Range<i64>| steps.map(|step| mint("a", step, step, 1)).collect();
    log.batch(&batch(7, 1, many(1..1023)), 5);
    log.batch(&batch(7, 2000, many(1023..1027)), 5);
    log.batch(&batch(7, 3000, many(1030..1032)), 5);
    let mut answers = Vec::new();
    for restart in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(&directory);
        let mut all = Vec::new();
        for index in 0..3 {
            if restart {
                drop(store);
                store = open(&directory);
            }
            let applied = apply(&store, vec![log.message(index)]).await;
            all.push(matches!(&*applied, [Applied::Added(_)]));
        }
        answers.push(all);
    }
    assert_eq!(answers, [[true, false, true], [true, false, true]]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// All ledgers come to the same result, whatever partitions they have, however the messages are grouped, and however
    /// often they start again. Each event of a publisher is stored once, however often and in whatever pieces it comes.
    #[test]
    fn the_result_depends_on_the_messages_of_the_partition_alone(
        batches in proptest::collection::vec((1..3_u64, 0..60_u64, 1..8_u64), 1..40),
        groups in proptest::collection::vec((1..6_usize, any::<bool>()), 60),
    ) {
        const KEYS: [&str; 3] = ["a", "b", "c"];
        let mut log = Log::default();
        let mut sent = BTreeMap::new();
        for (n, (publisher, first, count)) in (0..).zip(&batches) {
            let all = (*first + 1..=first + count).map(|number| {
                // The key and the integer of a number never change.
                let key = KEYS[usize::try_from(number * 7 / 3 % 3).unwrap()];
                let integer = i64::try_from(number * 10 + publisher).unwrap();
                sent.insert((key, integer), ());
                match number % 4 {
                    0 => once(key, &format!("{}", number / 8), integer),
                    _ => mint(key, integer, 10, 1),
                }
            });
            let batch = batch(*publisher, first + 1, all.collect());
            log.batch(&batch, DAY + n * 1_000_000);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let result = runtime.block_on(async {
            let one = tempfile::tempdir().unwrap();
            let whole = open(&one);
            for index in 0..log.0.len() {
                apply(&whole, vec![log.message(index)]).await;
            }
            for key in KEYS {
                let other = tempfile::tempdir().unwrap();
                let mut store = open(&other);
                let own: Vec<_> = (0..log.0.len()).filter(|index| log.0[*index].0 == partition::of(key)).collect();
                let mut rest = &own[..];
                for (size, restart) in &groups {
                    let size = (*size).min(rest.len());
                    let (next, more) = rest.split_at(size);
                    apply(&store, next.iter().map(|index| log.message(*index)).collect()).await;
                    rest = more;
                    if *restart && !rest.is_empty() {
                        drop(store);
                        store = open(&other);
                    }
                }
                apply(&store, rest.iter().map(|index| log.message(*index)).collect()).await;
                prop_assert_eq!(events(&store, key), events(&whole, key));
            }
            let mut stored = BTreeMap::new();
            for key in KEYS {
                for event in events(&whole, key) {
                    let integer = match &event.payload {
                        Some(Payload::Mint(mint)) => mint.first,
                        Some(Payload::Unused(unused)) => unused.first,
                        _ => 0,
                    };
                    prop_assert_eq!(stored.insert((key, integer), ()), None);
                }
            }
            prop_assert_eq!(stored, sent);
            Ok(())
        });
        result?;
    }
}

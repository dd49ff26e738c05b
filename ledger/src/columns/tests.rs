use super::*;
use proptest::prelude::*;

fn span(first: i64, step: i64, count: u32) -> Span {
    Span::checked(first, step, count).unwrap()
}

fn row<'a>(key: &'a str, by: &'a str, at: i64, first: i64) -> Row<'a> {
    Row {
        key,
        at,
        by,
        request: "",
        span: span(first, 2, 1),
    }
}

fn message(rows: &[Row<'_>]) -> Vec<u8> {
    let mut columns = Columns::default();
    let mut bytes = Vec::new();
    rows.iter().for_each(|row| columns.push(row));
    columns.finish(0, 0, &mut bytes);
    bytes
}

/// The fields of a message that `field` changes.
fn with(change: impl Fn(u32, &mut Vec<u8>)) -> Vec<u8> {
    let rows = [
        row("a", "x", 1, 2),
        row("b", "y", 3, 4),
        row("a", "x", 5, 10),
    ];
    let bytes = message(&rows);
    let mut rest = &*bytes;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (tag, wire) = decode_key(&mut rest).unwrap();
        if wire == WireType::Varint {
            let mut value = Vec::new();
            prost::encoding::encode_varint(decode_varint(&mut rest).unwrap(), &mut value);
            change(tag, &mut value);
            prost::encoding::encode_key(tag, wire, &mut out);
            out.extend(value);
        } else {
            let mut part = take(&mut rest).unwrap().to_vec();
            change(tag, &mut part);
            column::put(tag, &part, &mut out);
        }
    }
    out
}

fn refused(bytes: &[u8]) -> String {
    let read = Mints::read(bytes);
    match read.map_err(|unfit| (0, unfit)).and_then(|m| m.check()) {
        Err((_, Unfit(text))) => text,
        Ok(()) => panic!("{bytes:?} is good"),
    }
}

#[test]
fn what_is_the_same_is_there_once() {
    let rows: Vec<_> = (1..=1000)
        .map(|n| row("integers", "127.0.0.1:5000", 7, 2 * n))
        .collect();
    let bytes = message(&rows);
    // The differences of `at` are 7, 0, 0, …, and those of the integers 2.
    assert!(bytes.len() < 1000 + 64, "{}", bytes.len());
    let mints = Mints::read(&bytes).unwrap();
    assert_eq!((mints.count(), mints.check()), (1000, Ok(())));
    let read: Vec<_> = mints.rows().map(Result::unwrap).collect();
    assert_eq!(read, rows);
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let other = |_: u32, _: &mut Vec<u8>| {};
    let put = |value, bytes: &mut Vec<u8>| prost::encoding::encode_varint(value, bytes);
    assert_eq!(Mints::read(&with(other)).unwrap().check(), Ok(()));
    let varints = |values: &[u64]| {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| put(*value, &mut bytes));
        bytes
    };
    let all = u64::MAX;
    for (tag, values, reason) in [
        (field::COUNT, &[0][..], "without mints"),
        (field::COUNT, &[4], "shorter"),
        (field::COUNT, &[2], "longer"),
        (field::COUNT, &[MAX_EVENTS as u64 + 1], "more than"),
        (field::COUNT, &[all], "more than"),
        (field::BEFORE, &[all], "more than"),
        (field::KEYS, &[0, 9, 0], "out of range"),
        (field::KEYS, &[0, all, 0], "out of range"),
        (field::BY, &[9], "out of range"),
        (field::BY, &[1, 3], "shorter"),
        (field::AT, &[2, 2], "shorter"),
        (field::AT, &[2, 2, 2, 2], "longer"),
        (field::AT, &[2, 1, 2], ""),
        (field::AT, &[2, 7, 2], "difference"),
        (field::AT, &[all - 1, all - 1, 2], "difference"),
        (field::FIRST, &[all - 1, all - 1, 2], "difference"),
        (field::FIRST, &[0, 2, 2], "no span"),
        (field::FIRST, &[4, 7, 2], "no span"),
        (field::STEP, &[0], "no span"),
        (field::STEP, &[all], "no span"),
        (field::COUNTS, &[0], "no span"),
        (field::COUNTS, &[100_001], "no span"),
        (field::COUNTS, &[(1 << 32) + 1], "no span"),
        (field::LENGTHS, &[1], "length of a request"),
        (field::LENGTHS, &[0, all, 0], "length of a request"),
    ] {
        let bytes = with(|found, part| {
            if found == tag {
                *part = varints(values);
            }
        });
        let has = |tag| {
            with(|found, part| {
                if found == tag {
                    part.clear()
                }
            }) != with(other)
        };
        // A field that is 0 or empty is not written.
        let bytes = if has(tag) {
            bytes
        } else {
            let mut bytes = with(other);
            column::put_number(tag, values[0], &mut bytes);
            bytes
        };
        if reason.is_empty() {
            assert_eq!(Mints::read(&bytes).unwrap().check(), Ok(()));
            continue;
        }
        let text = refused(&bytes);
        assert!(text.contains(reason), "{tag} {values:?}: {text}");
    }
    for (tag, bytes, reason) in [
        (field::NAMES, &b"\xff"[..], "UTF-8"),
        (field::NAMES, b"a\n", "control"),
        (field::NAMES, &[b'x'; 129], "bytes"),
        (field::AT, &[0x80; 3], "shorter"),
        (field::AT, &[0xff; 30], "shorter"),
        (field::LENGTHS, b"", ""),
    ] {
        let bytes = with(|found, part| {
            if found == tag {
                *part = bytes.to_vec();
            }
        });
        match reason {
            "" => assert_eq!(Mints::read(&bytes).unwrap().check(), Ok(())),
            _ => {
                let text = refused(&bytes);
                assert!(text.contains(reason), "{tag}: {text}");
            }
        }
    }
    // A length beyond the end, an unknown field, another kind of field, and too many names.
    for bytes in [
        &[0x22, 0xff, 0xff, 0xff, 0xff, 0x0f][..],
        &[0x6a, 0],
        &[0x13, 0],
        &[0x15, 0, 0, 0, 0],
        &[],
        &[0x22, 0].repeat(MAX_NAMES + 1),
    ] {
        refused(bytes);
    }
}

/// A mint: the numbers of its key and client, the time, the integers and a request id.
type Drawn = (usize, usize, i64, (i64, i64, u32), String);

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let integers = (
        1_i64..=i64::MAX - (100_000 << 20),
        1_i64..=1 << 20,
        1_u32..=100_000,
    );
    let one = (
        0..3_usize,
        0..9_usize,
        0..=i64::MAX,
        integers,
        "[!-~]{0,20}|é|",
    );
    proptest::collection::vec(one, 1..200)
}

proptest! {
    #[test]
    fn rows_survive_the_encoding(drawn in drawn(), number in any::<u64>(), before in 0..=MAX_EVENTS) {
        let names: Vec<_> = (0..9).map(|n| "x".repeat(n * 16)).collect();
        let keys = ["a", "b", "ü"];
        let rows: Vec<_> = drawn.iter().map(|(key, by, at, (first, step, count), request)| Row {
            key: keys[*key],
            by: &names[*by],
            at: *at,
            request,
            span: span(*first, *step, *count),
        }).collect();
        let mut columns = Columns::default();
        // The second time with the memory of the first one.
        for _ in 0..2 {
            let mut bytes = Vec::new();
            rows.iter().for_each(|row| columns.push(row));
            prop_assert_eq!(columns.count(), rows.len());
            columns.finish(number, before, &mut bytes);
            let mints = Mints::read(&bytes).unwrap();
            prop_assert_eq!(mints.check(), Ok(()));
            prop_assert_eq!((mints.count(), mints.before(), mints.number), (rows.len(), before, number));
            let read: Vec<_> = mints.rows().map(Result::unwrap).collect();
            prop_assert_eq!(&read, &rows);
            for end in 0..bytes.len().min(300) {
                if let Ok(mints) = Mints::read(&bytes[..end]) {
                    let _ = mints.check();
                }
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..300_usize, byte: u8) {
        let look = |bytes: &[u8]| if let Ok(mints) = Mints::read(bytes) {
            let _ = mints.check();
            assert!(mints.rows().count() <= MAX_EVENTS);
            let _ = mints.last();
        };
        look(&bytes);
        let mut altered = with(|_, _| {});
        if let Some(old) = altered.get_mut(at) {
            *old = byte;
        }
        look(&altered);
    }
}

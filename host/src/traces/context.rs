//! The identity of traces and spans, and the header `traceparent` (W3C Trace Context).

use http::{HeaderMap, HeaderName};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The bit of the flags that says that the caller's span is recorded.
const SAMPLED: u8 = 1;

/// The span of the caller, from a request's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) sampled: bool,
}

impl Parent {
    /// None without the header, with several, or with an invalid one: then a new trace begins.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        match (all.next(), all.next()) {
            (Some(one), None) => Self::parse(one.to_str().ok()?),
            _ => None,
        }
    }

    /// Parses `version-trace-span-flags`. Later versions may have more fields behind these.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let [version] = hex(fields.next()?)?;
        let trace = hex::<16>(fields.next()?).filter(|id| *id != [0; 16])?;
        let span = hex::<8>(fields.next()?).filter(|id| *id != [0; 8])?;
        let [flags] = hex(fields.next()?)?;
        let complete = fields.next().is_none();
        (version != u8::MAX && (complete || version > 0)).then_some(Self {
            trace,
            span,
            sampled: flags & SAMPLED != 0,
        })
    }
}

/// Bytes in lower-case hexadecimal digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        if let [high, low] = pair {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
    }
    Some(bytes)
}

/// Makes ids, which differ between processes.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// Its keys are random.
    hasher: RandomState,
    made: AtomicU64,
}

impl Ids {
    fn next(&self) -> u64 {
        self.hasher
            .hash_one(self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// The id of a new trace.
    pub(super) fn trace(&self) -> [u8; 16] {
        // All zeros are no id.
        ((u128::from(self.next()) << 64 | u128::from(self.next())).max(1)).to_be_bytes()
    }

    /// The id of a new span.
    pub(super) fn span(&self) -> [u8; 8] {
        self.next().max(1).to_be_bytes()
    }

    /// A random number from 0 to less than 1.
    pub(super) fn chance(&self) -> f64 {
        // The upper 53 bits, which an `f64` holds exactly.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn parents_are_read_as_the_standard_says() {
        let parent = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, text.parse().expect("a header"));
            Parent::of(&headers)
        };
        let valid = format!("00-{TRACE}-b7ad6b7169203331-01");
        let read = parent(&valid).expect("valid");
        assert_eq!(read.trace[..3], [0x0a, 0xf7, 0x65]);
        assert_eq!(read.span, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
        assert!(read.sampled);
        for (flags, sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            let text = format!("00-{TRACE}-b7ad6b7169203331-{flags}");
            assert_eq!(parent(&text).map(|p| p.sampled), Some(sampled), "{flags}");
        }
        for later in ["cc", "01"] {
            for more in ["", "-what-follows"] {
                let text = format!("{later}-{TRACE}-b7ad6b7169203331-01{more}");
                assert_eq!(parent(&text), Some(read.clone()), "{text}");
            }
        }
        for bad in [
            "",
            "00",
            &format!("ff-{TRACE}-b7ad6b7169203331-01"),
            &format!("00-{TRACE}-b7ad6b7169203331-01-more"),
            &format!("00-{TRACE}-b7ad6b7169203331"),
            &format!("00-{TRACE}-b7ad6b7169203331-1"),
            &format!("00-{TRACE}-0000000000000000-01"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            &format!("00-{}-b7ad6b7169203331-01", TRACE.to_ascii_uppercase()),
            &format!("00-{TRACE}0-b7ad6b7169203331-01"),
        ] {
            assert_eq!(parent(bad), None, "{bad}");
        }
        let mut twice = HeaderMap::new();
        twice.append(TRACEPARENT, valid.parse().expect("a header"));
        twice.append(TRACEPARENT, valid.parse().expect("a header"));
        assert_eq!(Parent::of(&twice), None);
    }

    #[test]
    fn ids_differ() {
        let ids = Ids::default();
        let spans: BTreeSet<_> = (0..1000).map(|_| ids.span()).collect();
        let traces: BTreeSet<_> = (0..1000).map(|_| ids.trace()).collect();
        assert_eq!((spans.len(), traces.len()), (1000, 1000));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&ids.chance())));
        assert_ne!(Ids::default().trace(), Ids::default().trace());
    }
}

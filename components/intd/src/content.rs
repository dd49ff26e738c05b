//! The bodies of answers.
//!
//! An answer with many integers is up to 2 MB of text. It is never in memory as a whole: its text is
//! generated piece by piece, as fast as the client reads it.

use crate::budget::Reservation;
use artisanal_core::Span;
use bytes::Bytes;
use std::mem;

/// The maximum number of bytes that [`Content`] returns at a time.
pub const PIECE_BYTES: usize = 16 << 10;

/// The length of the longest line: the 19 digits of the greatest integer, and the newline.
pub(crate) const LINE_BYTES: usize = 20;

/// The body of an answer, in pieces of at most [`PIECE_BYTES`].
#[derive(Debug, Default)]
pub struct Content {
    remaining: Remaining,
    reservation: Option<Reservation>,
}

#[derive(Debug)]
enum Remaining {
    Whole(Bytes),
    Lines(Lines),
}

impl Default for Remaining {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

/// Integers, one per line.
#[derive(Debug)]
struct Lines {
    /// The integers that are not written yet.
    rest: Option<Span>,
    /// The length of their lines, in bytes.
    bytes: u64,
}

impl Lines {
    /// Adds as many lines as fit into a piece.
    fn fill(&mut self, piece: &mut Vec<u8>) {
        let Some(span) = self.rest else { return };
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        piece.reserve(bytes.min(PIECE_BYTES));
        let (mut buffer, mut lines) = (itoa::Buffer::new(), 0);
        for integer in span.iter() {
            if piece.len() + LINE_BYTES > PIECE_BYTES {
                break;
            }
            piece.extend_from_slice(buffer.format(integer).as_bytes());
            piece.push(b'\n');
            lines += 1;
        }
        self.rest = span.split(lines).1;
        self.bytes = self.bytes.saturating_sub(piece.len() as u64);
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self {
            remaining: Remaining::Whole(bytes),
            reservation: None,
        }
    }
}

impl Content {
    /// The integers of a span as text: a single one without a newline, several with a newline after
    /// each. The reservation is released when the content is dropped.
    pub(crate) fn integers(span: Span, reservation: Option<Reservation>) -> Self {
        let bytes = span.digits() + u64::from(span.count());
        let mut lines = Lines {
            rest: Some(span),
            bytes,
        };
        let remaining = if span.count() == 1 {
            Remaining::Whole(digits(span.first()))
        } else if bytes + LINE_BYTES as u64 <= PIECE_BYTES as u64 {
            let mut whole = Vec::new();
            lines.fill(&mut whole);
            Remaining::Whole(whole.into())
        } else {
            Remaining::Lines(lines)
        };
        Self {
            remaining,
            reservation,
        }
    }

    /// Bytes in memory. The reservation is released when the content is dropped.
    pub(crate) fn reserved(bytes: Bytes, reservation: Reservation) -> Self {
        Self {
            reservation: Some(reservation),
            ..Self::from(bytes)
        }
    }

    /// How many bytes remain.
    pub fn len(&self) -> u64 {
        match &self.remaining {
            Remaining::Whole(bytes) => bytes.len() as u64,
            Remaining::Lines(lines) => lines.bytes,
        }
    }

    /// Whether no bytes remain.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next bytes, 1 to [`PIECE_BYTES`]; None when no bytes remain.
    pub fn next_piece(&mut self) -> Option<Bytes> {
        if self.is_empty() {
            return None;
        }
        Some(match &mut self.remaining {
            Remaining::Whole(bytes) if bytes.len() <= PIECE_BYTES => mem::take(bytes),
            Remaining::Whole(bytes) => bytes.split_to(PIECE_BYTES),
            Remaining::Lines(lines) => {
                let mut piece = Vec::new();
                lines.fill(&mut piece);
                piece.into()
            }
        })
    }

    /// As [`Content::next_piece`], but writes to a buffer that is reused. False when no bytes remain.
    pub fn fill(&mut self, piece: &mut Vec<u8>) -> bool {
        piece.clear();
        match &mut self.remaining {
            Remaining::Lines(lines) => lines.fill(piece),
            Remaining::Whole(_) => {
                if let Some(bytes) = self.next_piece() {
                    piece.extend_from_slice(&bytes);
                }
            }
        }
        !piece.is_empty()
    }

    /// The content as a whole, if it is in memory and has no reservation; otherwise the content itself.
    ///
    /// # Errors
    /// Content that must be read piece by piece, or whose reservation must be held until it is written.
    pub fn into_whole(self) -> Result<Bytes, Self> {
        match self {
            Self {
                remaining: Remaining::Whole(bytes),
                reservation: None,
            } => Ok(bytes),
            other => Err(other),
        }
    }

    /// Takes the reservation of this content, for callers that hold pieces longer than the content.
    pub fn take_reservation(&mut self) -> Option<Reservation> {
        self.reservation.take()
    }
}

/// An integer as text.
pub(crate) fn digits(value: i64) -> Bytes {
    Bytes::copy_from_slice(itoa::Buffer::new().format(value).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use proptest::prelude::*;

    /// The expected text, and the pieces of the content.
    fn both(span: Span) -> (String, Vec<Bytes>) {
        let text = match span.count() {
            1 => span.first().to_string(),
            _ => span.iter().map(|integer| format!("{integer}\n")).collect(),
        };
        let mut content = Content::integers(span, None);
        assert_eq!(content.len(), text.len() as u64);
        let mut left = content.len();
        let mut pieces = Vec::new();
        while let Some(piece) = content.next_piece() {
            left -= piece.len() as u64;
            assert_eq!(content.len(), left);
            pieces.push(piece);
        }
        assert!(content.is_empty());
        (text, pieces)
    }

    #[test]
    fn long_texts_come_in_pieces() {
        for (first, step, count) in [
            (2, 2, 1),
            (2, 2, 2),
            (2, 2, 3000),
            (999_999_999_999_999_998, 1, 5000),
            (i64::MAX - 99_999, 1, 100_000),
            (1, 92_233_720_368_547, 100_000),
        ] {
            let (text, pieces) = both(Span::checked(first, step, count).unwrap());
            assert_eq!(text.as_bytes(), pieces.concat());
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES));
            assert!(pieces.len() <= 1 + text.len() / (PIECE_BYTES - 2 * LINE_BYTES));
        }
    }

    #[test]
    fn a_buffer_can_be_used_again() {
        let span = Span::checked(2, 2, 10_000).unwrap();
        let (text, _) = both(span);
        for mut content in [
            Content::integers(span, None),
            Content::from(Bytes::from(text.clone())),
        ] {
            let (mut buffer, mut all) = (Vec::new(), Vec::new());
            while content.fill(&mut buffer) {
                assert!(buffer.len() <= PIECE_BYTES);
                assert!(buffer.capacity() <= PIECE_BYTES);
                all.extend_from_slice(&buffer);
            }
            assert_eq!(all, text.as_bytes());
        }
    }

    #[test]
    fn what_is_reserved_goes_with_the_content() {
        let budget = Budget::new(1);
        let span = Span::checked(2, 2, 2).unwrap();
        let content = Content::integers(span, budget.reserve(1));
        let mut content = content.into_whole().expect_err("it is counted");
        let reservation = content.take_reservation();
        drop(content);
        assert!(budget.reserve(1).is_none());
        drop(reservation);
        drop(Content::integers(span, budget.reserve(1)));
        assert!(budget.reserve(1).is_some());
    }

    proptest! {
        #[test]
        fn pieces_are_the_text(first in 1_i64..1 << 40, step in 1_i64..1 << 20, count in 1_u32..9000) {
            let (text, pieces) = both(Span::checked(first, step, count).unwrap());
            prop_assert_eq!(text.as_bytes(), pieces.concat());
        }
    }
}

//! The frames of the original program (`ringoexp`): 8 bytes, the first 4 of which are the integer. Its description says
//! neither in which order these bytes are nor what the others mean; here they are in network order, and the others are 0.

/// The WebSocket subprotocol of these frames. The original clients name none.
pub const ORIGINAL: &str = "ringoexp";

/// The acknowledgement of a frame, as text.
pub(super) const ACKNOWLEDGED: &str = "a";

/// The maximum length of a message, in bytes; messages that are longer than a frame are refused with a reason.
pub(super) const MAX_MESSAGE: usize = 1 << 10;

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a frame has 8 bytes, and this one has {0}")]
    Length(usize),
    #[error("the last 4 bytes of a frame are 0")]
    Rest,
    #[error("the integer of a frame is 1 or more")]
    Zero,
}

/// The integer of a frame: 1 to 2^32 - 1.
pub(super) fn read(frame: &[u8]) -> Result<i64, Malformed> {
    let frame: [u8; 8] = frame
        .try_into()
        .map_err(|_| Malformed::Length(frame.len()))?;
    let [a, b, c, d, rest @ ..] = frame;
    if rest != [0; 4] {
        return Err(Malformed::Rest);
    }
    match u32::from_be_bytes([a, b, c, d]) {
        0 => Err(Malformed::Zero),
        integer => Ok(integer.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_a_fixed_format() {
        for (frame, read_as) in [
            (&[0, 0, 0, 1, 0, 0, 0, 0][..], Ok(1)),
            (&[1, 2, 3, 4, 0, 0, 0, 0], Ok(0x0102_0304)),
            (&[255, 255, 255, 255, 0, 0, 0, 0], Ok(i64::from(u32::MAX))),
            (&[0; 8], Err(Malformed::Zero)),
            (&[0, 0, 0, 1, 0, 0, 0, 1], Err(Malformed::Rest)),
            (&[0, 0, 0, 1], Err(Malformed::Length(4))),
            (&[0; 9], Err(Malformed::Length(9))),
            (&[], Err(Malformed::Length(0))),
        ] {
            assert_eq!(read(frame), read_as, "{frame:?}");
        }
    }
}

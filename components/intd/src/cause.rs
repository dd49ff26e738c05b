//! What the log says of errors that clients are told less about.

use crate::RequestId;

/// Why there is no answer, in the words of the engine or the host: they may name servers, users and
/// databases. It travels among the extensions of the response, for whoever sends that to log it.
#[derive(Clone, Debug)]
pub struct Cause {
    /// The name of the request, which the answer has too.
    pub id: RequestId,
    /// The kind of error, as in the answer.
    pub code: &'static str,
    /// What happened, at most [`Cause::MAX_CHARS`] characters. May hold any characters: a backend
    /// may have written it.
    pub text: String,
}

impl Cause {
    /// How long a text may be.
    pub const MAX_CHARS: usize = 2000;

    pub(crate) fn new(id: RequestId, code: &'static str, mut text: String) -> Self {
        if let Some((end, _)) = text.char_indices().nth(Self::MAX_CHARS) {
            text.truncate(end);
        }
        Self { id, code, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded() {
        let long = "\u{e9}".repeat(Cause::MAX_CHARS + 1);
        let cause = Cause::new(RequestId::random(), "other", long);
        assert_eq!(cause.text.chars().count(), Cause::MAX_CHARS);
        let short = Cause::new(RequestId::random(), "other", "short".into());
        assert_eq!(short.text, "short");
    }
}

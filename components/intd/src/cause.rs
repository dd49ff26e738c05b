//! What the sender of a response logs.

use crate::RequestId;
use artisanal_core::Span;

/// The error message of the engine or the host, which may name servers, users and databases. It is an
/// extension of the response; the sender of the response logs it.
#[derive(Clone, Debug)]
pub struct Cause {
    /// The id of the request, which the answer has too.
    pub id: RequestId,
    /// The error code, as in the answer.
    pub code: &'static str,
    /// The message, at most [`Cause::MAX_CHARS`] characters. May contain any characters, since a backend
    /// may have written it.
    pub text: String,
}

impl Cause {
    /// The maximum length of a message.
    pub const MAX_CHARS: usize = 2000;

    pub(crate) fn new(id: RequestId, code: &'static str, mut text: String) -> Self {
        if let Some((end, _)) = text.char_indices().nth(Self::MAX_CHARS) {
            text.truncate(end);
        }
        Self { id, code, text }
    }
}

/// Integers that a request was answered with. It is an extension of the response if the [`App`](crate::App) was told to
/// [record](crate::App::recording) them.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The sequence.
    pub key: String,
    /// The integers.
    pub span: Span,
    /// The name of the token, if it has one.
    pub token: Option<String>,
}

/// A sequence that was raised. It is an extension of the response; the sender of the response logs it.
#[derive(Clone, Debug)]
pub struct Raised {
    /// The id of the request, which the answer has too.
    pub id: RequestId,
    /// The sequence.
    pub key: String,
    /// The value that it was raised to, or at already.
    pub last: i64,
    /// The name of the token, if it has one.
    pub token: Option<String>,
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

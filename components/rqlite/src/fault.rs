//! Why one attempt at one node brought no answer.

use engine_guest::Error;

/// What a failed attempt means for the next one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The node or its cluster cannot answer now: trying again, best elsewhere, can help.
    Passing(String),
    /// This node will not do, whenever it is asked; another one may.
    Node(Error),
    /// The same would come of every node.
    Final(Error),
}

impl Fault {
    /// Takes secrets out of the text, in case a server or a proxy echoed what it was sent.
    pub(crate) fn without(self, secrets: &[String]) -> Self {
        let clean = |text: String| {
            secrets
                .iter()
                .filter(|secret| !secret.is_empty())
                .fold(text, |text, secret| text.replace(secret.as_str(), "***"))
        };
        let error = |error| match error {
            Error::Invalid(text) => Error::Invalid(clean(text)),
            Error::Exhausted(text) => Error::Exhausted(clean(text)),
            Error::Denied(text) => Error::Denied(clean(text)),
            Error::Unavailable(text) => Error::Unavailable(clean(text)),
            Error::Other(text) => Error::Other(clean(text)),
            Error::TooSmall(_) => error,
        };
        match self {
            Self::Passing(text) => Self::Passing(clean(text)),
            Self::Node(found) => Self::Node(error(found)),
            Self::Final(found) => Self::Final(error(found)),
        }
    }
}

/// The beginning of a server's text, fit for a message: one line, 200 characters at most.
pub(crate) fn quoted(text: &str) -> String {
    const MOST: usize = 200;
    let mut line: String = text
        .trim()
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.trim().chars().nth(MOST).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoed_secrets_are_taken_out() {
        let secrets = ["hunter2".to_owned(), String::new()];
        let echoed = "no user with hunter2 here".to_owned();
        assert_eq!(
            Fault::Passing(echoed.clone()).without(&secrets),
            Fault::Passing("no user with *** here".into())
        );
        assert_eq!(
            Fault::Final(Error::Denied(echoed.clone())).without(&secrets),
            Fault::Final(Error::Denied("no user with *** here".into()))
        );
        assert_eq!(
            Fault::Node(Error::Other(echoed)).without(&secrets),
            Fault::Node(Error::Other("no user with *** here".into()))
        );
    }

    #[test]
    fn quotes_are_one_short_line() {
        assert_eq!(quoted("leader\r\nnot found\n"), "leader  not found");
        assert_eq!(quoted(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(quoted(&"é".repeat(201)), format!("{}…", "é".repeat(200)));
    }
}

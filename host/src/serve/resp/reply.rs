//! Replies of the Redis protocol.

/// The version of the protocol that a connection uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Version {
    /// RESP2, which every client knows.
    #[default]
    Two,
    /// RESP3, after `HELLO 3`.
    Three,
}

impl Version {
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

/// Writes replies into a buffer.
pub(super) struct Replies<'a> {
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) version: Version,
}

impl Replies<'_> {
    pub(super) fn ok(&mut self) {
        self.status("OK");
    }

    /// A short text without line ends.
    pub(super) fn status(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// An error: a code in upper case, a space, and a sentence. Control characters become spaces.
    pub(super) fn error(&mut self, text: &str) {
        self.buffer.push(b'-');
        let clean = text.bytes().map(|byte| match byte {
            0..=31 | 127 => b' ',
            byte => byte,
        });
        self.buffer.extend(clean);
        self.end();
    }

    pub(super) fn integer(&mut self, integer: i64) {
        self.buffer.push(b':');
        let mut digits = itoa::Buffer::new();
        self.buffer
            .extend_from_slice(digits.format(integer).as_bytes());
        self.end();
    }

    pub(super) fn bulk(&mut self, bytes: &[u8]) {
        self.line(b'$', itoa::Buffer::new().format(bytes.len()));
        self.buffer.extend_from_slice(bytes);
        self.end();
    }

    pub(super) fn null(&mut self) {
        match self.version {
            Version::Two => self.buffer.extend_from_slice(b"$-1\r\n"),
            Version::Three => self.buffer.extend_from_slice(b"_\r\n"),
        }
    }

    /// The beginning of an array, whose elements follow.
    pub(super) fn array(&mut self, elements: usize) {
        self.line(b'*', itoa::Buffer::new().format(elements));
    }

    /// The beginning of a map, whose keys and values follow in turn.
    pub(super) fn map(&mut self, pairs: usize) {
        match self.version {
            Version::Two => self.array(2 * pairs),
            Version::Three => self.line(b'%', itoa::Buffer::new().format(pairs)),
        }
    }

    fn line(&mut self, kind: u8, text: &str) {
        self.buffer.push(kind);
        self.buffer.extend_from_slice(text.as_bytes());
        self.end();
    }

    fn end(&mut self) {
        self.buffer.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: Version, write: impl Fn(&mut Replies<'_>)) -> String {
        let mut buffer = Vec::new();
        write(&mut Replies {
            buffer: &mut buffer,
            version,
        });
        String::from_utf8(buffer).expect("text")
    }

    #[test]
    fn replies_have_the_form_of_their_version() {
        for (two, three, write) in [
            ("+OK\r\n", "+OK\r\n", (|r| r.ok()) as fn(&mut Replies<'_>)),
            (":-7\r\n", ":-7\r\n", |r| r.integer(-7)),
            ("$3\r\na\r\n\r\n", "$3\r\na\r\n\r\n", |r| r.bulk(b"a\r\n")),
            ("$-1\r\n", "_\r\n", |r| r.null()),
            ("*4\r\n", "%2\r\n", |r| r.map(2)),
            ("-ERR a  b\r\n", "-ERR a  b\r\n", |r| r.error("ERR a\r\nb")),
        ] {
            assert_eq!(written(Version::Two, write), two);
            assert_eq!(written(Version::Three, write), three);
        }
    }
}

//! A DSN in a file: passwords stay off the command line, and a long list of hosts gets a line for each.

use crate::Error;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The maximum size of the file, in bytes.
const MOST: u64 = 64 * 1024;

/// Reads the DSN that a file has. A text of several lines is a list of hosts, which needs no scheme if they are the members
/// of a quorum.
///
/// # Errors
/// [`Error::Misconfigured`] if the file cannot be read, [`Error::Invalid`] if it has no DSN; neither tells any of its text.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text));
    let shown = path.display();
    read.map_err(|error| {
        Error::Misconfigured(format!("cannot read the DSN from {shown}: {error}"))
    })?;
    if text.len() as u64 > MOST {
        return Err(Error::Invalid(format!(
            "the file {shown} has more than {MOST} bytes, so it is no DSN"
        )));
    }
    join(&text).ok_or_else(|| {
        Error::Invalid(format!(
            "the file {shown} has no DSN: write one into it, or the members of a quorum, one in a line"
        ))
    })
}

/// The DSN in the text; None if there is none. Lines that are empty or begin with `#` do not count.
fn join(text: &str) -> Option<String> {
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.next()?;
    let mut dsn = first.to_owned();
    for line in lines {
        // `quorum://TOKEN@` may have a line of its own, and a list may have commas.
        if !dsn.ends_with([',', '@', '/']) {
            dsn.push(',');
        }
        dsn.push_str(line);
    }
    let several = dsn.len() > first.len();
    if several && !first.contains("://") {
        dsn.insert_str(0, "quorum://");
    }
    Some(dsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_dsn_and_several_are_a_list() {
        for (text, dsn) in [
            ("user:password@/db\n", "user:password@/db"),
            (
                "\n# a comment\n  redis://:p,w@h:1/2  \n",
                "redis://:p,w@h:1/2",
            ),
            ("a:8081\r\nb\r\n[::1]:1\r\n", "quorum://a:8081,b,[::1]:1"),
            ("a,\nb,\nc", "quorum://a,b,c"),
            (
                "quorum://secret@\na\n# gone: x\nb\nc/orders?timeout=1s\n",
                "quorum://secret@a,b,c/orders?timeout=1s",
            ),
            ("postgres://u@a\nb/db", "postgres://u@a,b/db"),
        ] {
            assert_eq!(join(text).as_deref(), Some(dsn));
        }
        for empty in ["", "\n \n", "# quorum://a"] {
            assert_eq!(join(empty), None);
        }
    }

    #[test]
    fn what_is_no_file_with_a_dsn_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dsn");
        let write = |text: &[u8]| std::fs::write(&path, text).expect("written");
        let refused = |says: &str| match read(&path) {
            Err(Error::Misconfigured(why) | Error::Invalid(why)) => {
                assert!(why.contains(says) && !why.contains("hunter2"), "{why}");
            }
            other => panic!("{other:?}"),
        };
        refused("No such file");
        write(b"redis://:hunter2\xff");
        refused("UTF-8");
        write(b"\n");
        refused("has no DSN");
        write(&[b'h'; 65_537]);
        refused("65536 bytes");
        write(&[b'h'; 65_536]);
        assert_eq!(read(&path).map(|dsn| dsn.len()), Ok(65_536));
    }
}

//! Writes integers to standard output, one per line, without partial lines.

use std::io::{self, Write};

/// `PIPE_BUF`: the maximum size of an atomic write to a pipe (POSIX: at least 512, Linux: 4096).
const ATOMIC: usize = 4096;

/// Writes whole lines in atomic chunks: however the process ends, the last line in a pipe is complete.
pub(super) struct Lines<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> Lines<W> {
    /// `out` must be unbuffered.
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            buffer: Vec::with_capacity(ATOMIC),
        }
    }

    /// Adds a line.
    pub(super) fn push(&mut self, integer: i64) -> io::Result<()> {
        let start = self.buffer.len();
        writeln!(self.buffer, "{integer}")?;
        if self.buffer.len() > ATOMIC {
            let line = self.buffer.split_off(start);
            self.flush()?;
            self.buffer.extend_from_slice(&line);
        }
        Ok(())
    }

    /// Writes the buffered lines.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        self.out.flush()
    }
}

/// Standard output without the line buffer of [`std::io::Stdout`], which may split a chunk into two writes.
#[cfg(unix)]
pub(super) fn stdout() -> io::Result<std::fs::File> {
    use std::os::fd::AsFd;
    Ok(std::fs::File::from(
        io::stdout().as_fd().try_clone_to_owned()?,
    ))
}

/// Standard output.
#[cfg(not(unix))]
pub(super) fn stdout() -> io::Result<io::Stdout> {
    Ok(io::stdout())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps the data of each write.
    #[derive(Default)]
    struct Portions(Vec<Vec<u8>>);

    impl Write for &mut Portions {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn portions_are_whole_lines_and_small() {
        let mut portions = Portions::default();
        let mut lines = Lines::new(&mut portions);
        for integer in 0..10_000 {
            lines.push(integer).unwrap();
        }
        lines.flush().unwrap();
        assert!(portions.0.len() > 10, "{}", portions.0.len());
        for portion in &portions.0 {
            assert!(portion.len() <= ATOMIC && portion.ends_with(b"\n"));
        }
        let all = String::from_utf8(portions.0.concat()).unwrap();
        let integers: Vec<i64> = all.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(integers, (0..10_000).collect::<Vec<_>>());
    }
}

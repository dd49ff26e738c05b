//! Requests over HTTP: routes, queries, keys, headers and JSON. The input is a method, a target and header lines, and after an empty
//! line the body.
#![no_main]

use artisanal_core::limits::check_count;
use artisanal_core::{Error, Lattice, Sequence, Span};
use bytes::Bytes;
use intd::{App, Settings};
use libfuzzer_sys::fuzz_target;
use std::cell::Cell;

/// A sequence in memory.
#[derive(Default)]
struct Counter(Cell<i64>);

fn lattice() -> Lattice {
    Lattice::new(1, 0).expect("a lattice")
}

impl Sequence for Counter {
    async fn next(&self, count: u32) -> Result<Span, Error> {
        let count = check_count(count)?;
        let exhausted = || Error::Exhausted("the end".into());
        let mark = self
            .0
            .get()
            .checked_add(count.into())
            .ok_or_else(exhausted)?;
        self.0.set(mark);
        lattice().span(mark, count).ok_or_else(exhausted)
    }

    async fn last(&self) -> Result<Option<i64>, Error> {
        Ok(Some(self.0.get()).filter(|mark| *mark > 0))
    }

    async fn set_last(&self, value: i64) -> Result<(), Error> {
        if value < self.0.get() {
            return Err(Error::TooSmall(self.0.get()));
        }
        self.0.set(value);
        Ok(())
    }

    async fn lattice(&self) -> Result<Lattice, Error> {
        Ok(lattice())
    }
}

fn settings() -> Settings {
    Settings::from_lookup(|name| match name {
        "keys" => Some("a,b c,orders-*".into()),
        "admin_token" => Some("admin".into()),
        "cors_origin" => Some("https://example.org".into()),
        _ => None,
    })
    .expect("settings")
}

fn request(input: &[u8]) -> Option<(http::request::Parts, Bytes)> {
    let split = input.windows(2).position(|two| two == b"\n\n")?;
    let (head, body) = (input.get(..split)?, input.get(split + 2..)?);
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let mut request = http::Request::builder()
        .method(first.get(..space)?)
        .uri(first.get(space + 1..)?);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(line.get(..colon)?, line.get(colon + 1..)?);
    }
    let (parts, ()) = request.body(()).ok()?.into_parts();
    Some((parts, Bytes::copy_from_slice(body)))
}

fuzz_target!(|input: &[u8]| {
    let Some((parts, body)) = request(input) else {
        return;
    };
    let app = App::new(settings(), |_| Counter::default());
    let response = futures::executor::block_on(app.handle(&parts, body));
    let status = response.status();
    assert!(status != 500, "{status} for {parts:?}");
    // What the length says is what is sent.
    let mut body = response.into_body();
    let (length, mut sent) = (body.len(), 0);
    while let Some(piece) = body.next_piece() {
        sent += piece.len() as u64;
    }
    assert_eq!(sent, length);
});

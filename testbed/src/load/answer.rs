//! What a server answered, and HTTP as far as it is needed to know that.

use httparse::{EMPTY_HEADER, Response, Status};

pub(super) enum Answer {
    Minted(i64),
    Refused { busy: bool },
    Mistake(String),
}

/// The first response in `read` and its length in bytes; None while it is incomplete.
pub(super) fn parse(read: &[u8]) -> Option<(Answer, usize)> {
    let mut headers = [EMPTY_HEADER; 32];
    let mut head = Response::new(&mut headers);
    let length = match head.parse(read) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return None,
        Err(error) => return Some((Answer::Mistake(format!("not HTTP: {error}")), read.len())),
    };
    let header = |name: &str| {
        let found = head
            .headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let rest = &read[length..];
    let (body, body_length) = match header("content-length").map(str::parse::<usize>) {
        Some(Ok(length)) => (rest.get(..length)?.to_vec(), length),
        _ if header("transfer-encoding") == Some("chunked") => dechunk(rest)?,
        _ => {
            return Some((
                Answer::Mistake("a response without a length".into()),
                read.len(),
            ));
        }
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    let answer = judge(head.code.unwrap_or(0), header, &body);
    Some((answer, length + body_length))
}

/// Decodes a chunked body and returns it with its encoded length in bytes; None while it is incomplete.
fn dechunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Ok(Status::Complete((line, size))) = httparse::parse_chunk_size(bytes.get(at..)?)
        else {
            return None;
        };
        let size = usize::try_from(size).ok()?;
        at += line;
        // Each chunk is followed by CRLF, including the last one, which is empty.
        body.extend_from_slice(bytes.get(at..at + size + 2)?.get(..size)?);
        at += size + 2;
        if size == 0 {
            return Some((body, at));
        }
    }
}

fn judge<'a>(status: u16, header: impl Fn(&str) -> Option<&'a str>, body: &str) -> Answer {
    let kind = header("content-type");
    match (status, kind, body.parse()) {
        (200, Some("text/plain"), Ok(integer)) => return Answer::Minted(integer),
        (503, Some("application/problem+json"), _) => {
            let retry = header("retry-after").and_then(|text| text.parse::<u32>().ok());
            let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
            match (retry, problem["code"].as_str()) {
                (Some(1..), Some("busy")) => return Answer::Refused { busy: true },
                (Some(1..), Some("unavailable")) => return Answer::Refused { busy: false },
                _ => {}
            }
        }
        _ => {}
    }
    let retry = header("retry-after");
    Answer::Mistake(format!(
        "neither an integer nor a valid 503: {status}, {kind:?}, Retry-After {retry:?}: {body}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINTED: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n42";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\
        transfer-encoding: chunked\r\n\r\n1\r\n4\r\n1\r\n2\r\n0\r\n\r\n";
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
        retry-after: 1\r\ncontent-length: 15\r\n\r\n{\"code\":\"busy\"}";

    fn only(bytes: &str) -> Answer {
        let (answer, length) = parse(bytes.as_bytes()).expect("a whole answer");
        assert_eq!(length, bytes.len());
        answer
    }

    #[test]
    fn whole_answers_are_taken_and_others_awaited() {
        for answer in [MINTED, CHUNKED] {
            assert!(matches!(only(answer), Answer::Minted(42)));
        }
        assert!(matches!(only(BUSY), Answer::Refused { busy: true }));
        for answer in [MINTED, CHUNKED, BUSY] {
            for end in 0..answer.len() {
                assert!(
                    parse(&answer.as_bytes()[..end]).is_none(),
                    "{}",
                    &answer[..end]
                );
            }
            let two = [answer, answer].concat();
            let (_, length) = parse(two.as_bytes()).expect("the first one");
            assert_eq!(length, answer.len());
        }
    }

    #[test]
    fn everything_else_is_a_mistake() {
        for (answer, from, to) in [
            (MINTED, "200", "201"),
            (MINTED, "42", "no"),
            (MINTED, "text/plain", "text/html"),
            (BUSY, "503", "500"),
            (BUSY, "503", "429"),
            (BUSY, "retry-after: 1\r\n", ""),
            (BUSY, "retry-after: 1", "retry-after: 0"),
            (BUSY, "problem+json", "json"),
            (BUSY, "busy", "lazy"),
        ] {
            let changed = answer.replace(from, to);
            assert!(matches!(only(&changed), Answer::Mistake(_)), "{changed}");
        }
        let (answer, _) = parse(b"SSH-2.0-x\r\n\r\n").expect("read");
        assert!(matches!(answer, Answer::Mistake(_)));
    }
}

use super::*;
use proptest::prelude::*;

const MOST: usize = 100;

/// Reads a response that arrives in parts of this size.
fn read_in(parts: usize, text: &[u8], ended: bool) -> Result<Option<Whole>, Failure> {
    let mut parser = Parser::new(MOST);
    let ends = (parts..text.len()).step_by(parts).chain([text.len()]);
    for end in ends {
        let last = end == text.len();
        let read = parser.read(&text[..end], last && ended)?;
        if read.is_some() || last {
            return Ok(read);
        }
    }
    Ok(None)
}

fn read(text: &str) -> Result<Option<Whole>, Failure> {
    read_in(usize::MAX / 2, text.as_bytes(), false)
}

fn whole(status: u16, body: &str, keeps: bool) -> Whole {
    Whole {
        answer: Answer {
            status,
            body: body.as_bytes().to_vec(),
            retry_after: None,
        },
        keeps,
    }
}

#[test]
fn the_end_of_a_body_is_found() {
    let chunks = "2\r\n{\"\r\n3;x=1\r\na\":\r\n2\r\n1}\r\n0\r\n\r\n";
    for (text, expected) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
            whole(200, "{}", true),
        ),
        (
            "HTTP/1.1 409\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\n{}".to_owned(),
            whole(409, "{}", true),
        ),
        (
            "HTTP/1.1 503 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
            whole(503, "", false),
        ),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
            whole(200, "{}", false),
        ),
        (
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n{chunks}"),
            whole(200, "{\"a\":1}", true),
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\na: b\r\n\r\nHTTP/1.1 204 x\r\n\r\n"
                .to_owned(),
            whole(204, "", true),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200".to_owned(),
            whole(200, "{}", false),
        ),
    ] {
        assert_eq!(read(&text), Ok(Some(expected)), "{text:?}");
    }
}

#[test]
fn without_a_length_the_body_ends_with_the_connection() {
    let text = b"HTTP/1.1 200 OK\r\n\r\n{}";
    for parts in [1, 7, 1000] {
        assert_eq!(read_in(parts, text, false), Ok(None));
        let ended = Ok(Some(whole(200, "{}", false)));
        assert_eq!(read_in(parts, text, true), ended);
    }
}

#[test]
fn a_response_that_is_cut_off_is_not_whole() {
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    for text in [length, chunked] {
        for end in 0..text.len() {
            let cut = &text.as_bytes()[..end];
            assert_eq!(read_in(1000, cut, true), Ok(None), "{end} of {text:?}");
        }
    }
}

#[test]
fn a_server_may_ask_to_wait() {
    let text = "HTTP/1.1 429 x\r\ncontent-length: 0\r\nretry-after: 3\r\n\r\n";
    let waits = read(text).expect("HTTP").expect("whole");
    assert_eq!(waits.answer.retry_after, Some(Duration::from_secs(3)));
}

#[test]
fn what_is_no_http_is_refused() {
    for text in [
        "-ERR unknown command\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{}\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: b\r\n\r\n",
    ] {
        let failure = read(text).expect_err(text);
        assert!(matches!(&failure, Failure::Protocol(_)), "{failure:?}");
    }
}

#[test]
fn nothing_is_longer_than_it_may_be() {
    let long = "x".repeat(MOST + 1);
    let many = "1\r\nx\r\n".repeat(MOST + 1);
    for text in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", MOST + 1),
        format!("HTTP/1.1 200 OK\r\n\r\n{long}"),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{many}"),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(),
        "HTTP/1.1 100 x\r\n\r\n".repeat(FRAME),
    ] {
        assert_eq!(read(&text), Err(Failure::TooLong(MOST)));
    }
    let head = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(FRAME));
    assert!(matches!(read(&head), Err(Failure::Protocol(_))));
}

proptest! {
    #[test]
    fn parts_do_not_matter(sizes in prop::collection::vec(1..20_usize, 0..6), parts in 1..50_usize) {
        let body = "x".repeat(sizes.iter().sum());
        let chunks: String = sizes.iter().map(|size| format!("{size:x}\r\n{}\r\n", "x".repeat(*size))).collect();
        let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
        let length = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        for text in [chunked, length] {
            let read = read_in(parts, text.as_bytes(), false);
            prop_assert_eq!(read, Ok(Some(whole(200, &body, true))));
        }
    }

    #[test]
    fn garbage_never_panics(text in prop::collection::vec(any::<u8>(), 0..300), parts in 1..50_usize) {
        let _ = read_in(parts, &text, true);
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = read_in(parts, &[head, &text[..]].concat(), true);
    }
}

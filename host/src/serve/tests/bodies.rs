//! Bodies of requests that are refused.

use super::*;

#[tokio::test]
async fn bodies_that_are_too_long_are_refused() {
    let server = Server::http(Limits::default()).await;
    let mut client = server.connect().await;
    let head = "PUT /v1/sequences/integers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t0p\r\nContent-Length: 9000\r\n\r\n";
    send(&mut client, &format!("{head}{}", " ".repeat(9000))).await;
    assert!(until(&mut client, "\r\n").await.starts_with("HTTP/1.1 413"));
    server.stop().await;
}

/// A raise without its token, whose body of `length` bytes is refused unread. Returns once the server has
/// answered and closed its sending side.
async fn refused_body(server: &Server, length: usize) -> TcpStream {
    let mut client = server.connect().await;
    let head = format!(
        "PUT /v1/sequences/integers HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    );
    send(&mut client, &head).await;
    send(&mut client, &" ".repeat(256 << 10)).await;
    within(client.readable()).await.unwrap();
    tokio::time::sleep(SHORT).await;
    client
}

#[tokio::test]
async fn a_response_reaches_a_client_that_is_still_sending_its_body() {
    let server = Server::http(Limits::default()).await;
    let mut client = refused_body(&server, 4 << 20).await;
    send(&mut client, &" ".repeat(15 * (256 << 10))).await;
    let mut response = String::new();
    within(client.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 401"), "{response}");
    assert!(response.ends_with('}'), "{response}");
    server.stop().await;
}

#[tokio::test]
async fn bodies_are_not_discarded_for_ever() {
    let server = Server::http(Limits::default()).await;
    let endless = refused_body(&server, usize::MAX >> 1).await;
    let silent = refused_body(&server, 4 << 20).await;
    let piece = vec![b' '; 1 << 20];
    let mut sent = 0;
    let mut stream = endless;
    while within(stream.write_all(&piece)).await.is_ok() {
        sent += 1;
        assert!(sent < 128, "{sent} MiB were accepted");
    }
    // Waits for both connections.
    server.stop().await;
    drop(silent);
}

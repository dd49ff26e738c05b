//! Clients that go away, or only stop sending, before they have their response.

use super::*;

/// A server that answers the first request of a connection at once and the second one never. The sender of
/// the channel is dropped with the second request.
async fn stuck() -> (SocketAddr, tokio::sync::mpsc::Receiver<()>, JoinHandle<()>) {
    use hyper::service::service_fn;
    use std::sync::atomic::{AtomicBool, Ordering};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let first = AtomicBool::new(true);
        let service = service_fn(move |_request| {
            let (first, sender) = (first.swap(false, Ordering::Relaxed), sender.clone());
            async move {
                if !first {
                    sender.send(()).await.unwrap();
                    std::future::pending::<()>().await;
                }
                Ok::<_, Error>(::http::Response::new(Empty::<Bytes>::new()))
            }
        });
        let limits = Limits::default();
        super::connection::connection(
            &super::connection::builder(),
            stream::Stream::Plain(stream),
            service,
            &limits,
            &Shutdown::new(),
        )
        .await;
    });
    (address, receiver, task)
}

#[tokio::test]
async fn requests_of_clients_that_are_gone_are_dropped() {
    let (address, mut begun, task) = stuck().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    send(&mut client, &GET.repeat(2)).await;
    within(begun.recv()).await.unwrap();
    // Closing a connection with unread data resets it.
    within(client.readable()).await.unwrap();
    drop(client);
    within(task).await.unwrap();
    assert_eq!(within(begun.recv()).await, None, "the request is dropped");
}

#[tokio::test]
async fn requests_of_clients_that_only_stop_sending_are_not() {
    let (address, mut begun, task) = stuck().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    send(&mut client, &GET.repeat(2)).await;
    within(begun.recv()).await.unwrap();
    client.shutdown().await.unwrap();
    tokio::time::sleep(SHORT).await;
    assert!(!task.is_finished());
    task.abort();
}

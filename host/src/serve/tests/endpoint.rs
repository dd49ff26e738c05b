//! Serving a component that is an HTTP endpoint.

use super::*;

async fn endpoint(options: EndpointOptions) -> Endpoint {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        compose(Builtin::Memory.wasm(), Target::Spin).unwrap(),
    )
    .unwrap();
    let host = Host::new(Options::default()).unwrap();
    host.endpoint(&Source::File(file.path().to_owned()), options)
        .unwrap()
}

async fn call(endpoint: &Endpoint, path: &str) -> Result<(u16, String), Error> {
    let body = Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    let response = within(endpoint.call(Request::builder().uri(path).body(body).unwrap())).await?;
    let status = response.status().as_u16();
    let body = within(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    Ok((status, String::from_utf8(body.to_vec()).unwrap()))
}

/// Without `TCP_NODELAY` the kernel delays a second packet until the client has acknowledged the first: a
/// client that receives a head without its body waits 40 ms each time.
#[tokio::test]
async fn a_component_s_head_and_body_leave_together() {
    let limits = Limits {
        nodelay: false,
        gathering: LONG,
        ..Limits::default()
    };
    let endpoint = endpoint(EndpointOptions::default()).await;
    let server =
        Server::start(|listeners, shutdown| proxy(listeners, endpoint, limits, shutdown)).await;
    let mut client = server.connect().await;
    for integer in 1..=200 {
        send(&mut client, GET).await;
        let mut bytes = [0; 4096];
        let got = within(client.read(&mut bytes)).await.unwrap();
        let answer = String::from_utf8_lossy(&bytes[..got]);
        assert!(
            answer.ends_with(&format!("\r\n\r\n{}", 2 * integer)),
            "the first packet of answer {integer} is {answer:?}"
        );
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn requests_share_an_instance() {
    let settings = BTreeMap::from([
        ("increment".to_owned(), "10".to_owned()),
        ("keys".to_owned(), "a".to_owned()),
    ]);
    let endpoint = endpoint(EndpointOptions {
        settings,
        ..EndpointOptions::default()
    })
    .await;
    let calls = (0..50).map(|_| call(&endpoint, "http://x/"));
    let mut integers: Vec<i64> = futures::future::join_all(calls)
        .await
        .into_iter()
        .map(|answer| answer.unwrap().1.parse().unwrap())
        .collect();
    integers.sort_unstable();
    // Instances of the memory engine share no state, so these integers came from one instance.
    assert_eq!(integers, (1..=50).map(|i| i * 10).collect::<Vec<_>>());
    assert_eq!(
        call(&endpoint, "http://x/v1/sequences/a").await.unwrap().0,
        200
    );
    assert_eq!(
        call(&endpoint, "http://x/v1/sequences/b").await.unwrap().0,
        404
    );
}

#[tokio::test]
async fn instances_are_replaced() {
    let options = EndpointOptions {
        instance_requests: Some(3),
        ..EndpointOptions::default()
    };
    let endpoint = endpoint(options).await;
    for integer in [2, 4, 6, 2, 4, 6, 2] {
        assert_eq!(
            call(&endpoint, "http://x/").await.unwrap(),
            (200, integer.to_string())
        );
    }
    let options = EndpointOptions {
        idle: Some(SHORT),
        ..EndpointOptions::default()
    };
    let endpoint = self::endpoint(options).await;
    assert_eq!(call(&endpoint, "http://x/").await.unwrap().1, "2");
    tokio::time::sleep(SHORT * 5).await;
    assert_eq!(call(&endpoint, "http://x/").await.unwrap().1, "2");
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let endpoint = endpoint(EndpointOptions {
        requests: 2,
        ..EndpointOptions::default()
    })
    .await;
    let calls = (0..5).map(|_| call(&endpoint, "http://x/"));
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
    assert_eq!(
        answers
            .iter()
            .filter(|answer| **answer == Err(Error::Busy))
            .count(),
        3
    );
    // They do not count forever, but a request counts for a moment after its response.
    let end = Instant::now() + Duration::from_secs(60);
    let later = loop {
        match call(&endpoint, "http://x/").await {
            Err(Error::Busy) if Instant::now() < end => tokio::time::sleep(SHORT / 10).await,
            later => break later,
        }
    };
    assert_eq!(later, Ok((200, "6".to_owned())));
}

#[tokio::test]
async fn what_is_no_endpoint_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let host = Host::new(Options::default()).unwrap();
    for (wasm, said) in [
        (crate::INTD, "compose it with an engine"),
        (Builtin::Memory.wasm(), "no HTTP endpoint"),
    ] {
        std::fs::write(file.path(), wasm).unwrap();
        let source = Source::File(file.path().to_owned());
        let error = host
            .endpoint(&source, EndpointOptions::default())
            .err()
            .unwrap();
        assert!(
            matches!(error, Error::Misconfigured(_)) && error.to_string().contains(said),
            "{error}"
        );
    }
    let settings = BTreeMap::from([("dsn".to_owned(), "redis://h:0".to_owned())]);
    std::fs::write(
        file.path(),
        compose(Builtin::Redis.wasm(), Target::Spin).unwrap(),
    )
    .unwrap();
    let options = EndpointOptions {
        settings,
        ..EndpointOptions::default()
    };
    let error = host
        .endpoint(&Source::File(file.path().to_owned()), options)
        .err()
        .unwrap();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}

//! gRPC and WebSockets through members that do not hold the key.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_answered_by_those_that_hold_the_key() {
    let cluster = Cluster::new().await;
    let (key, owners) = cluster.key_elsewhere("a");
    let asked = cluster.server("a");
    let mut client = LedgerClient::with_origin(
        Pool(client(true)),
        format!("http://{}", asked.address).parse().unwrap(),
    );
    let integer = FindIntegerRequest {
        key: key.clone(),
        integer: 12,
    };
    let found = client.find_integer(integer).await.unwrap().into_inner();
    assert!(matches!(
        found.answer,
        Some(bindings::find_integer_response::Answer::Minted(_))
    ));
    let page = ListEventsRequest {
        key: key.clone(),
        from: 0,
        limit: 2,
    };
    let page = client.list_events(page).await.unwrap().into_inner();
    assert_eq!((page.last, page.next), (3, Some(3)));
    let state = |reducer: &str| GetStateRequest {
        key: key.clone(),
        reducer: reducer.into(),
    };
    let failed = client.get_state(state("fails")).await.unwrap_err();
    assert_eq!(
        (
            failed.code(),
            failed.metadata().get("code").unwrap().to_str().unwrap()
        ),
        (Code::Internal, "reducer")
    );
    let append = |expected| AppendEventRequest {
        key: key.clone(),
        kind: "k".into(),
        json: "1".into(),
        expected: Some(expected),
    };
    let follow = FollowEventsRequest {
        key: key.clone(),
        from: 4,
    };
    let event = client.append_event(append(3)).await.unwrap().into_inner();
    let mut following = client.follow_events(follow).await.unwrap().into_inner();
    let first = following.message().await.unwrap().unwrap();
    assert_eq!(first.events, [event]);
    let conflict = client.append_event(append(3)).await.unwrap_err();
    assert_eq!(
        (
            conflict.code(),
            conflict
                .metadata()
                .get("current")
                .unwrap()
                .to_str()
                .unwrap()
        ),
        (Code::Aborted, "4")
    );
    client.append_event(append(4)).await.unwrap();
    assert_eq!(
        following.message().await.unwrap().unwrap().events[0].number,
        5
    );
    assert_eq!(cluster.server(owners[0]).stats().await["appends"], 2);
    assert_eq!(asked.stats().await["forwarded_answered"], 7);
    let request = ListMembersRequest { partitions: true };
    let all = client.list_members(request).await.unwrap().into_inner();
    let names: Vec<_> = all.members.iter().map(|member| &*member.name).collect();
    assert_eq!((&*all.member, &names[..]), ("a", &NAMES[..]));
    for member in &all.members {
        assert_eq!(member.health(), bindings::member::Health::Alive);
        assert_eq!(member.held_partitions, member.owned_partitions);
        assert_eq!(member.owned_partitions.len(), member.owned as usize);
    }
    // A call that comes from a member is not passed on again.
    let mut call = tonic::Request::new(state(""));
    call.metadata_mut()
        .insert("artisanal-forwarded", "x".parse().unwrap());
    let refused = client.get_state(call).await.unwrap_err();
    assert_eq!(
        (
            refused.code(),
            refused.metadata().get("artisanal-forwarded").is_some()
        ),
        (Code::Unavailable, true)
    );
}

/// A transport for gRPC.
#[derive(Clone)]
struct Pool(Client<HttpConnector, Full<Bytes>>);

impl tonic::codegen::Service<Request<tonic::body::Body>> for Pool {
    type Response = Response<Incoming>;
    type Error = hyper_util::client::legacy::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            head.version = http::Version::HTTP_2;
            let body = Full::new(body.collect().await.unwrap().to_bytes());
            client.request(Request::from_parts(head, body)).await
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_given_to_a_member_that_holds_its_keys() {
    let mut cluster = Cluster::new().await;
    let (key, owners) = cluster.key_elsewhere("a");
    let members = cluster.server("a").node.members.clone();
    let event = Event {
        key: key.clone(),
        payload: Some(mint(60, 1)),
        idempotency: "once".into(),
        ..Event::default()
    };
    let mut writer = crate::frame::Writer::default();
    writer.event(&event);
    let batch = writer.finish(7, 5);
    let part = Share::from_iter([partition::of(&key)]);
    // A part of a batch makes sense only for members that share a stream.
    let refused = members.ingest(&part, None, &batch, (5, 1)).await;
    assert!(
        matches!(&refused, Err(crate::Error::Invalid(text)) if text.contains("share a stream")),
        "{refused:?}"
    );
    let batches =
        async |cluster: &Cluster, name| cluster.server(name).stats().await["batches"].clone();
    assert_eq!(batches(&cluster, owners[0]).await, 1);
    // One that cannot be reached is followed by the next one.
    let mut gone = cluster.servers.iter();
    let gone = gone.position(|server| server.node.members.view().own == owners[0]);
    cluster.servers.remove(gone.unwrap()).kill().await;
    let refused = members.ingest(&part, None, &batch, (5, 1)).await;
    assert!(matches!(refused, Err(crate::Error::Invalid(_))));
    let rest = [
        batches(&cluster, owners[1]).await,
        batches(&cluster, owners[2]).await,
    ];
    assert!(rest == [1, 0] || rest == [0, 1], "{rest:?}");
    let alone = Members::alone("a", None);
    let refused = alone.ingest(&part, None, &batch, (5, 1)).await;
    assert!(matches!(refused, Err(crate::Error::Unavailable(_))));
    assert_eq!(alone.counted().nobody, 1);
}

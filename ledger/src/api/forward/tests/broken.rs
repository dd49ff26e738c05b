//! A member whose server does something else than it should.

use super::*;

/// A member whose server does something else than it should, and one that has to ask it.
struct Broken {
    asked: Server,
    _broken: Node,
    store: (TempDir, Store),
}

impl Broken {
    /// With a server that reads the beginning of each request, sends this, and then closes the connection or does
    /// nothing.
    async fn new(sends: &'static [u8], closes: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(sends).await;
                if !closes {
                    open.push(stream);
                }
            }
        });
        let short = |options: Options| Options {
            patience: Duration::from_secs(1),
            ..options
        };
        let broken = Options {
            address: format!("http://{address}").parse().unwrap(),
            ..options("broken", &[]).await
        };
        let broken = Node::start(broken).await;
        let store = holding(Vec::new()).await;
        let asked = short(options("asked", &[broken.gossip]).await);
        let asked = Server::start(&store.1, asked).await;
        broken.held.send_replace(Arc::new(Share::all()));
        let holds = |view: &View| {
            view.member("broken")
                .is_some_and(|broken| broken.held.is_all())
        };
        asked.node.sees(holds).await;
        Self {
            asked,
            _broken: broken,
            store,
        }
    }

    /// The answers to a question and to an event, when the member that is asked holds nothing.
    async fn answers(self) -> [Answer; 2] {
        self.asked.task.abort();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        self.asked.node.held.send_replace(Arc::default());
        let api = Api::of_member(
            self.store.1.clone(),
            reducers(),
            watch::channel(false).1,
            self.asked.node.members.clone(),
        );
        let task = tokio::spawn(serve(listener, api));
        let asked = Server {
            address,
            task,
            ..self.asked
        };
        let target = "/v1/keys/k/events";
        let read = asked.ask("GET", target, "").await;
        let written = asked
            .ask("POST", target, r#"{"kind":"k","payload":1}"#)
            .await;
        [read, written]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_answer_properly_is_given_up() {
    let lost = "was to be appended may be stored or not";
    let nobody = "nothing was done";
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc";
    let declines = b"HTTP/1.1 503 Service Unavailable\r\nartisanal-forwarded: not-held\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for (sends, closes, written) in [
        (&b""[..], true, lost),
        (b"", false, lost),
        (cut, true, lost),
        (cut, false, lost),
        (b"no HTTP\r\n\r\n", false, lost),
        (declines, true, nobody),
    ] {
        let answers = Broken::new(sends, closes).await.answers().await;
        for (answer, text) in answers.iter().zip([nobody, written]) {
            let problem = answer.json();
            assert_eq!(
                (answer.status, &problem["code"]),
                (503, &json!("unavailable"))
            );
            assert_eq!(answer.headers["retry-after"], "1");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.ends_with(text), "{sends:?} {closes}: {detail}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_not_there_is_nobody() {
    // Nothing listens at its address.
    let broken = Broken::new(b"", true).await;
    let members: &Members = &broken.asked.node.members;
    let address = members.view().member("broken").unwrap().address.clone();
    assert!(address.is_some());
    broken._broken.kill().await;
    let gone = |view: &View| view.holders(7).is_empty();
    broken.asked.node.sees(gone).await;
    for answer in broken.answers().await {
        assert_eq!(answer.status, 503);
        assert!(
            answer.json()["detail"]
                .as_str()
                .unwrap()
                .ends_with("nothing was done")
        );
    }
}

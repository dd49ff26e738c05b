//! Members with servers, and what they answer.

use super::*;

/// A member with a server.
pub(super) struct Server {
    pub(super) node: Node,
    pub(super) address: SocketAddr,
    pub(super) task: JoinHandle<()>,
    pub(super) _stop: watch::Sender<bool>,
}

impl Server {
    /// A member that serves this store, and holds what it owns.
    pub(super) async fn start(store: &Store, options: Options) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = Options {
            address: format!("http://{address}").parse().unwrap(),
            ..options
        };
        let node = Node::start(options).await;
        let (stop, stopping) = watch::channel(false);
        let api = Api::of_member(store.clone(), reducers(), stopping, node.members.clone());
        let (mut share, held) = (node.share.clone(), node.held.clone());
        let task = tokio::spawn(async move {
            let catch_up = async {
                while share.changed().await.is_ok() {
                    let owned = Arc::clone(&share.borrow_and_update());
                    held.send_replace(owned);
                }
                std::future::pending::<()>().await;
            };
            tokio::join!(catch_up, serve(listener, api));
        });
        Self {
            node,
            address,
            task,
            _stop: stop,
        }
    }

    /// Ends it without a word.
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.node.kill().await;
    }

    pub(super) async fn ask(&self, method: &str, target: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{target}", self.address))
            .header("x-request-id", "r1")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        send(request.unwrap()).await
    }

    pub(super) async fn stats(&self) -> Value {
        self.ask("GET", "/v1.0/stats", "").await.json()
    }
}

/// Serves until it is aborted, with all its connections.
pub(super) async fn serve(listener: TcpListener, api: Api) {
    let grpc = Grpc::new(api.clone()).unwrap();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, by) = listener.accept().await.unwrap();
        let (api, grpc) = (api.clone(), grpc.clone());
        connections.spawn(async move {
            let by: Arc<str> = by.to_string().into();
            let service = service_fn(move |request: Request<Incoming>| {
                let (api, grpc, by) = (api.clone(), grpc.clone(), Arc::clone(&by));
                async move { Ok::<_, Infallible>(answer(&api, &grpc, by, request).await) }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
            let _ = connection.await;
        });
    }
}

pub(super) async fn answer(
    api: &Api,
    grpc: &Grpc,
    by: Arc<str>,
    mut request: Request<Incoming>,
) -> Response<Either<Body, tonic::body::Body>> {
    if Grpc::is_meant(request.headers()) {
        let caller = Caller::anybody(by, String::new());
        let request = request.map(tonic::body::Body::new);
        return grpc.handle(request, caller).await.map(Either::Right);
    }
    let switch = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    if let Some((response, session)) = api.upgrade(&parts, &by) {
        if let Some(session) = session {
            tokio::spawn(async move {
                session.run(TokioIo::new(switch.await.unwrap())).await;
            });
        }
        return response.map(Either::Left);
    }
    let body = body.collect().await.unwrap().to_bytes();
    api.handle(&parts, body, &by).await.map(Either::Left)
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(super) fn client(http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http()
}

pub(super) async fn send(request: Request<Full<Bytes>>) -> Answer {
    let response = client(false).request(request).await.unwrap();
    let (head, body) = response.into_parts();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

/// Four members that serve the same store, in which there are some events.
pub(super) struct Cluster {
    pub(super) servers: Vec<Server>,
    pub(super) store: Store,
    _directory: TempDir,
}

pub(super) const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Cluster {
    pub(super) async fn new() -> Self {
        let facts = [mint(10, 3), Payload::Raise(Raise { last: 50 }), mint(52, 1)];
        let keys = (0..40).map(|number| format!("key-{number}"));
        let events = keys.flat_map(|key| {
            facts.clone().map(|fact| Event {
                key: key.clone(),
                payload: Some(fact),
                ..Event::default()
            })
        });
        let (directory, store) = holding(events.collect()).await;
        let mut servers: Vec<Server> = Vec::new();
        for name in NAMES {
            let seeds: Vec<_> = servers.iter().map(|server| server.node.gossip).collect();
            servers.push(Server::start(&store, options(name, &seeds).await).await);
        }
        let all_hold = |view: &View| {
            let settled = view.placement.names() == NAMES && view.alive() == NAMES.len();
            settled
                && view
                    .members
                    .iter()
                    .all(|member| member.owned == member.held)
        };
        for server in &servers {
            server.node.sees(all_hold).await;
        }
        Self {
            servers,
            store,
            _directory: directory,
        }
    }

    /// The server with this name.
    pub(super) fn server(&self, name: &str) -> &Server {
        let mut servers = self.servers.iter();
        let named = servers.find(|server| server.node.members.view().own == name);
        named.unwrap()
    }

    /// A key that the server does not hold, and its owners.
    pub(super) fn key_elsewhere(&self, name: &str) -> (String, Vec<&'static str>) {
        let placement = &self.servers[0].node.members.view().placement;
        let mut keys = (0..40).map(|number| format!("key-{number}"));
        let named = |owner| NAMES.into_iter().find(|name| *name == owner).unwrap();
        let owners = |key: &str| -> Vec<_> {
            let owners = placement.owners(partition::of(key));
            owners.map(named).collect()
        };
        let key = keys.find(|key| !owners(key).contains(&name)).unwrap();
        let owners = owners(&key);
        (key, owners)
    }
}

//! A TCP proxy that injects faults.
//!
//! It runs between an engine and a real server and simulates network faults: a reply that is lost after the
//! request was executed, stalled connections, refused connections. Bytes are forwarded unchanged, so it works
//! for every protocol. It uses one thread for any number of connections.

use crate::error::{Error, Result};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::wait;

/// The maximum number of open connections. Further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 256;

/// How long the proxy may take until a new fault is in effect.
const LIMIT: Duration = Duration::from_secs(10);

/// How the proxy treats connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Forwards everything.
    #[default]
    None,
    /// Closes all connections and stops listening: clients get "connection refused".
    Refuse,
    /// Accepts connections but neither reads nor forwards until the fault is changed. No bytes are lost.
    Stall,
    /// Forwards requests, but holds replies back until the fault is changed.
    StallReplies,
    /// Forwards everything, except that on connections which have sent a request with these bytes since
    /// the fault was set, replies are held back until the fault is changed.
    StallRepliesTo(Vec<u8>),
    /// Forwards each request that contains these bytes, waits for the reply, so that the request has been
    /// executed, and then closes the connection instead of forwarding the reply. An empty pattern matches
    /// every request.
    CutReplies(Vec<u8>),
}

struct Shared {
    fault: watch::Sender<Fault>,
    target: watch::Sender<SocketAddr>,
    /// How many more replies are to be cut. Later ones are forwarded.
    to_cut: AtomicUsize,
    cut: AtomicUsize,
    accepted: AtomicUsize,
    turns: AtomicUsize,
    /// Whether the proxy listens on its port.
    listening: watch::Sender<bool>,
    /// One permit for each connection that may still be opened.
    places: Arc<Semaphore>,
}

/// A proxy on a free port of this machine. It stops and closes its connections on drop.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy that forwards to a port of this machine.
    ///
    /// # Errors
    /// When there is no free port, or no thread.
    pub fn to(target: u16) -> Result<Self> {
        let (port, listener) = crate::server::on_free_port(|port| {
            // Like tokio, the standard library sets SO_REUSEADDR.
            let bound = std::net::TcpListener::bind(loopback(port))
                .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
            let listener = bound.map_err(Error::io(format!("the proxy's port {port}")))?;
            Ok((port, listener))
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io("the proxy's runtime"))?;
        let shared = Arc::new(Shared {
            fault: watch::Sender::new(Fault::None),
            target: watch::Sender::new(loopback(target)),
            to_cut: AtomicUsize::new(0),
            cut: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            turns: AtomicUsize::new(0),
            listening: watch::Sender::new(true),
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        });
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("proxy {port}"))
            .spawn(move || {
                runtime.block_on(async {
                    let listener = TcpListener::from_std(listener).expect("a runtime is there");
                    tokio::select! {
                        () = serve(port, listener, serving) => {}
                        _ = stopped => {}
                    }
                });
                // Dropping the runtime closes the connections.
            })
            .map_err(Error::io("the proxy's thread"))?;
        Ok(Self {
            port,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Forwards later connections to another port. Open connections are not affected.
    pub fn aim(&self, target: u16) {
        self.shared.target.send_replace(loopback(target));
    }

    /// Sets the fault for open and new connections. When this returns, every connection is closed for
    /// [`Fault::Refuse`], and the proxy listens on its port for all other faults.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn set(&self, fault: Fault) -> Result {
        self.obey(fault, usize::MAX)
    }

    /// Cuts the next `times` replies to requests that contain `needle`; forwards everything else.
    ///
    /// # Errors
    /// When it takes too long until that is in effect.
    pub fn cut(&self, times: usize, needle: &[u8]) -> Result {
        self.obey(Fault::CutReplies(needle.to_vec()), times)
    }

    fn obey(&self, fault: Fault, to_cut: usize) -> Result {
        let listen = fault != Fault::Refuse;
        self.shared.to_cut.store(to_cut, Ordering::SeqCst);
        self.shared.fault.send_replace(fault);
        wait::until_true("the proxy obeys", LIMIT, || {
            let closed = self.shared.places.available_permits() == MAX_CONNECTIONS;
            *self.shared.listening.borrow() == listen && (listen || closed)
        })
    }

    /// How many replies were cut so far.
    pub fn replies_cut(&self) -> usize {
        self.shared.cut.load(Ordering::SeqCst)
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many round trips clients made so far: how often a client sent the first bytes of its connection, or
    /// bytes after a reply.
    pub fn round_trips(&self) -> usize {
        self.shared.turns.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Sending fails when the thread has panicked; then there is nothing to stop.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Listens on the port again after [`Fault::Refuse`]. With SO_REUSEADDR, which tokio sets, old connections do
/// not prevent that. Another process that checks whether the port is free may prevent it for a moment.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    let begin = std::time::Instant::now();
    loop {
        match TcpListener::bind(loopback(port)).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && begin.elapsed() < LIMIT / 2 => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            bound => return bound,
        }
    }
}

async fn serve(port: u16, listener: TcpListener, shared: Arc<Shared>) {
    let mut faults = shared.fault.subscribe();
    let mut listener = Some(listener);
    loop {
        let refuse = *faults.borrow_and_update() == Fault::Refuse;
        if refuse {
            listener = None;
        } else if listener.is_none() {
            match listen(port).await {
                Ok(bound) => listener = Some(bound),
                Err(error) => panic!("the proxy's port {port} was taken: {error}"),
            }
        }
        shared.listening.send_replace(listener.is_some());
        let Some(listener) = &listener else {
            if faults.changed().await.is_err() {
                return;
            }
            continue;
        };
        let accepted = async {
            let place = Arc::clone(&shared.places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            changed = faults.changed() => if changed.is_err() { return },
            (place, accepted) = accepted => {
                // An error means that the client has disconnected already.
                if let Ok((client, _)) = accepted {
                    shared.accepted.fetch_add(1, Ordering::SeqCst);
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        // When one side fails, both connections are closed; the error is not needed.
                        let _ = relay(client, &shared).await;
                        drop(place);
                    });
                }
            }
        }
    }
}

/// Forwards bytes between a client and the target until one of them closes its connection.
async fn relay(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut faults = shared.fault.subscribe();
    while *faults.borrow_and_update() == Fault::Stall {
        if faults.changed().await.is_err() {
            return Ok(());
        }
    }
    let target = *shared.target.borrow();
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut requests, mut replies) = ([0; 16 * 1024], [0; 16 * 1024]);
    // Whether the next reply belongs to a request whose reply is to be cut.
    let mut armed = false;
    // Whether a request was forwarded whose reply is to be held back.
    let mut stalled = false;
    let mut clients_turn = true;
    loop {
        let fault = faults.borrow_and_update().clone();
        if fault == Fault::Refuse {
            return Ok(());
        }
        let take_requests = fault != Fault::Stall;
        let take_replies = match &fault {
            Fault::Stall | Fault::StallReplies => false,
            Fault::StallRepliesTo(_) => !stalled,
            Fault::None | Fault::Refuse | Fault::CutReplies(_) => true,
        };
        tokio::select! {
            // A new fault must take effect before bytes that arrived after it.
            biased;
            changed = faults.changed() => if changed.is_err() { return Ok(()) },
            read = server.read(&mut replies), if take_replies => {
                let bytes = &replies[..read?];
                if bytes.is_empty() || (armed && take_one(&shared.to_cut)) {
                    shared.cut.fetch_add(usize::from(!bytes.is_empty()), Ordering::SeqCst);
                    return Ok(());
                }
                armed = false;
                clients_turn = true;
                client.write_all(bytes).await?;
            }
            read = client.read(&mut requests), if take_requests => {
                let bytes = &requests[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                shared.turns.fetch_add(usize::from(clients_turn), Ordering::SeqCst);
                clients_turn = false;
                armed |= matches!(&fault, Fault::CutReplies(needle) if holds(bytes, needle));
                stalled |= matches!(&fault, Fault::StallRepliesTo(needle) if holds(bytes, needle));
                server.write_all(bytes).await?;
            }
        }
    }
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || bytes.windows(needle.len()).any(|w| w == needle)
}

/// Decrements a number unless it is zero. Returns whether it did.
fn take_one(number: &AtomicUsize) -> bool {
    number
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
        .is_ok()
}

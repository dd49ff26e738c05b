//! The network between clients and nodes: it delays, loses and repeats requests and answers.

use crate::history::History;
use crate::machine::Machine;
use crate::mistake::Mistake;
use crate::random::Random;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use int_host::simulated::Exchange;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// How the network behaves. All rates are per thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// Requests that never arrive, and answers that never do.
    pub(crate) lost: u64,
    /// Requests that arrive twice.
    pub(crate) twice: u64,
    /// Requests, and answers, that take much longer.
    pub(crate) late: u64,
    /// How long those take at most, in milliseconds.
    pub(crate) latest: u64,
    /// Requests and answers of a node's backend that take time.
    pub(crate) slow_backend: u64,
}

/// How long a request or an answer of a backend takes at most, in milliseconds.
const BACKEND: u64 = 40;

/// What becomes of one request.
struct Fate {
    /// When it arrives, each time that it does.
    arrivals: Vec<Duration>,
    /// How long the answer takes.
    back: Duration,
    answer_lost: bool,
    /// Whether what is lost breaks the connection, which the sender notices.
    noticed: bool,
    /// Whether the node notices when the sender gives up.
    hangs_up: bool,
}

/// The network of one run.
pub(crate) struct Network {
    pub(crate) history: Arc<History>,
    mistake: Option<Mistake>,
    inner: Mutex<Inner>,
}

struct Inner {
    random: Random,
    weather: Weather,
    machines: BTreeMap<String, Arc<Machine>>,
    /// Pairs that cannot reach each other in this direction.
    cuts: BTreeSet<(String, String)>,
    /// How much longer the way takes in a direction.
    slow: BTreeMap<(String, String), Duration>,
    /// Who is told of the next claim of this client that this node accepts.
    awaited: Option<(String, String, oneshot::Sender<()>)>,
    /// The senders of what was lost, who go on waiting.
    waiting: Vec<Sender>,
}

type Sender = oneshot::Sender<Option<Response<Bytes>>>;

impl Network {
    pub(crate) fn new(history: Arc<History>, mistake: Option<Mistake>, random: Random) -> Self {
        Self {
            history,
            mistake,
            inner: Mutex::new(Inner {
                random,
                weather: Weather::default(),
                machines: BTreeMap::new(),
                cuts: BTreeSet::new(),
                slow: BTreeMap::new(),
                awaited: None,
                waiting: Vec::new(),
            }),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Connects a machine.
    pub(crate) fn connect(&self, machine: &Arc<Machine>) {
        let address = machine.address().to_owned();
        self.with(|inner| inner.machines.insert(address, Arc::clone(machine)));
    }

    /// Disconnects everybody.
    pub(crate) fn clear(&self) {
        self.with(|inner| {
            inner.machines.clear();
            inner.waiting.clear();
        });
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.with(|inner| inner.weather = weather);
    }

    /// Cuts these directions, and mends all others.
    pub(crate) fn cut(&self, cuts: BTreeSet<(String, String)>) {
        self.with(|inner| inner.cuts = cuts);
    }

    /// Slows down these directions, and no others.
    pub(crate) fn slow_down(&self, slow: BTreeMap<(String, String), Duration>) {
        self.with(|inner| inner.slow = slow);
    }

    /// Ends when a node has accepted a claim of a client.
    pub(crate) async fn accepted(&self, client: &str, node: &str) {
        let (sender, accepted) = oneshot::channel();
        let awaited = (client.to_owned(), node.to_owned(), sender);
        self.with(|inner| inner.awaited = Some(awaited));
        // Only one is awaited at a time.
        let _ = accepted.await;
    }

    /// Whether a machine receives what another one sends.
    fn reaches(&self, from: &str, to: &str) -> bool {
        self.with(|inner| !inner.cuts.contains(&direction(from, to)))
    }

    /// How long a request or an answer of a node's backend takes.
    pub(crate) fn backend_pause(&self) -> Duration {
        self.with(|inner| match inner.weather.slow_backend {
            0 => Duration::ZERO,
            rate if inner.random.is(rate) => inner.random.within(BACKEND),
            _ => Duration::ZERO,
        })
    }

    /// Sends a request. The sender's name is its token.
    pub(crate) fn send(self: &Arc<Self>, mut request: Request<Bytes>) -> Exchange {
        // Nodes make random ones otherwise.
        let id = HeaderValue::from_static("simulated");
        request.headers_mut().insert("x-request-id", id);
        let token = request.headers().get(header::AUTHORIZATION);
        let from = token
            .and_then(|token| token.to_str().ok()?.strip_prefix("Bearer "))
            .unwrap_or("nobody")
            .to_owned();
        let to = request.uri().host().unwrap_or_default().to_owned();
        let fate = self.with(|inner| inner.fate(&from, &to));
        let (sender, answer) = oneshot::channel();
        let parcel = Arc::new(Parcel {
            from,
            to,
            request,
            sender: Mutex::new(Some(sender)),
            back: fate.back,
            answer_lost: fate.answer_lost,
            noticed: fate.noticed,
            hangs_up: fate.hangs_up,
        });
        if fate.arrivals.is_empty() {
            self.lose(&parcel);
        }
        for delay in fate.arrivals {
            let (network, parcel) = (Arc::clone(self), Arc::clone(&parcel));
            tokio::spawn(async move {
                sleep(delay).await;
                network.carry(&parcel).await;
            });
        }
        Box::pin(async move { answer.await.ok().flatten() })
    }

    async fn carry(&self, parcel: &Parcel) {
        let Parcel { from, to, .. } = parcel;
        let machine = self.with(|inner| inner.machines.get(to).cloned());
        let Some(machine) = machine.filter(|_| self.reaches(from, to)) else {
            return self.lose(parcel);
        };
        if !self.is_alive(from) {
            return;
        }
        let number = self.history.tell(format_args!(
            "{from} -> {to}: {} {} {}",
            parcel.request.method(),
            parcel.request.uri().path(),
            String::from_utf8_lossy(parcel.request.body())
        ));
        let answer = match self.mistake {
            Some(mistake) => mistake.answer(&machine, from, &parcel.request).await,
            None => {
                machine
                    .answer(parcel.request.clone(), parcel.hang_up())
                    .await
            }
        };
        let Some(answer) = answer else {
            self.history
                .tell(format_args!("{to} -> {from}: no answer to {number}"));
            return parcel.tell(None);
        };
        self.history.tell(format_args!(
            "{to} -> {from}: answer to {number}: {} {}",
            answer.status().as_u16(),
            String::from_utf8_lossy(answer.body())
        ));
        if parcel.request.method() == Method::POST && answer.status() == StatusCode::OK {
            self.with(|inner| {
                let is_awaited =
                    |(client, node, _): &mut (String, String, _)| client == from && node == to;
                if let Some((_, _, sender)) = inner.awaited.take_if(is_awaited) {
                    // It may have given up.
                    let _ = sender.send(());
                }
            });
        }
        sleep(parcel.back).await;
        if parcel.answer_lost || !self.reaches(to, from) || !self.is_alive(from) {
            return self.lose(parcel);
        }
        let answer = match self.mistake {
            Some(mistake) => mistake.arrive(&machine, from, &parcel.request, answer),
            None => answer,
        };
        parcel.tell(Some(answer));
    }

    /// Whether the sender is a process that still runs.
    fn is_alive(&self, from: &str) -> bool {
        let Some((name, process)) = from.split_once('.') else {
            return true;
        };
        let machine = self.with(|inner| inner.machines.get(name).cloned());
        // Operators are no machines.
        machine.is_none_or(|machine| machine.runs(process))
    }

    fn lose(&self, parcel: &Parcel) {
        let Parcel { from, to, .. } = parcel;
        self.history
            .tell(format_args!("lost between {from} and {to}"));
        if parcel.noticed && self.is_alive(from) {
            parcel.tell(None)
        } else {
            self.with(|inner| inner.waiting.extend(parcel.take()))
        }
    }
}

impl Inner {
    fn fate(&mut self, from: &str, to: &str) -> Fate {
        let slow = |from, to| {
            self.slow
                .get(&direction(from, to))
                .copied()
                .unwrap_or_default()
        };
        let (there, return_way) = (slow(from, to), slow(to, from));
        let Weather {
            lost,
            twice,
            late,
            latest,
            ..
        } = self.weather;
        let random = &mut self.random;
        let mut way = || {
            if random.is(late) {
                random.within(latest)
            } else {
                random.within(2)
            }
        };
        let (first, second, back) = (there + way(), there + way(), return_way + way());
        let mut arrivals = Vec::new();
        if !random.is(lost) {
            arrivals.push(first);
        }
        if random.is(twice) {
            arrivals.push(second);
        }
        Fate {
            arrivals,
            back,
            answer_lost: random.is(lost),
            noticed: random.is(300),
            hangs_up: random.is(500),
        }
    }
}

/// Names without the numbers of processes.
fn direction(from: &str, to: &str) -> (String, String) {
    let name = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    (name(from), name(to))
}

/// A request on its way, and where its answer goes.
struct Parcel {
    from: String,
    to: String,
    request: Request<Bytes>,
    sender: Mutex<Option<Sender>>,
    back: Duration,
    answer_lost: bool,
    noticed: bool,
    hangs_up: bool,
}

impl Parcel {
    fn take(&self) -> Option<Sender> {
        self.sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Gives the sender its answer, if it still waits for one.
    fn tell(&self, answer: Option<Response<Bytes>>) {
        if let Some(sender) = self.take() {
            // A sender that has given up does not listen.
            let _ = sender.send(answer);
        }
    }

    /// Ends when the node learns that the sender has given up.
    async fn hang_up(&self) {
        std::future::poll_fn(|context| {
            let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
            match sender.as_mut() {
                Some(sender) if self.hangs_up => sender.poll_closed(context),
                _ => std::task::Poll::Pending,
            }
        })
        .await;
    }
}

//! Integers that are made from the time, without a backend: see [`artisanal_core::flake`].
//!
//! DSN: `flake://NODE`, with the parameters `layout` (see [`Layout`]) and `timeout`. The operator gives each
//! process a number of its own: two with one number mint the same integers, and nothing here can notice. The
//! middleware `flake` leases numbers from another engine instead.
//!
//! The increment and the offset follow from the layout and the node. `last` is the greatest integer that
//! this instance minted, and `set-last` cannot raise beyond the present. Flakes of one instance are in order;
//! those of several nodes are in the order of their milliseconds, as far as the clocks agree (C3).
//!
//! Nothing is stored (C9): an instance begins in the millisecond after its start, so it repeats no integer
//! unless the clock was set back in between.

use artisanal_core::flake::{Generator, Layout, Request, Step};
use engine_guest::deadline::{self, Deadline};
use engine_guest::{Dsn, Engine, Error, Key, Lattice};
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

thread_local! {
    /// One generator for each sequence, however often that is open.
    static GENERATORS: RefCell<HashMap<Name, Generator>> = RefCell::default();
}

/// What tells sequences apart.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Name {
    key: Key,
    node: u32,
    /// The layout's fingerprint.
    layout: i64,
}

/// One sequence of this instance.
struct Flake {
    name: Name,
    timeout: Duration,
    nodes: i64,
}

impl Engine for Flake {
    const OFFSET: i64 = 0;
    const DSN: Option<&'static str> = None;
    const SCHEMES: &'static [&'static str] = &["flake"];

    async fn open(dsn: Dsn, key: Key) -> Result<Self, Error> {
        let (layout, node) = settings(&dsn)?;
        let timeout = deadline::timeout(&dsn)?;
        let name = Name {
            key,
            node,
            layout: layout.fingerprint(),
        };
        GENERATORS.with_borrow_mut(|generators| {
            if !generators.contains_key(&name) {
                let generator = Generator::given(layout, node, now())?;
                generators.insert(name.clone(), generator);
            }
            Ok::<_, Error>(())
        })?;
        Ok(Self {
            name,
            timeout,
            nodes: i64::from(layout.nodes()),
        })
    }

    fn lattice(dsn: &Dsn, increment: Option<i64>, offset: Option<i64>) -> Result<Lattice, Error> {
        if increment.or(offset).is_some() {
            return Err(Error::Invalid(
                "the increment and the offset of flakes follow from their layout and node; leave them out".into(),
            ));
        }
        let (layout, node) = settings(dsn)?;
        Ok(layout.lattice(node)?)
    }

    async fn advance(&mut self, by: i64) -> Result<i64, Error> {
        let count = u32::try_from(by / self.nodes).unwrap_or(u32::MAX);
        let mut request = Request::new(count)?;
        let deadline = Deadline::after(self.timeout);
        loop {
            let left = deadline.left().unwrap_or_default();
            match self.with(|generator| generator.mint(now(), &mut request, left))? {
                Step::Minted(span) => return Ok(span.last()),
                Step::Wait(pause) => std::thread::sleep(pause),
                Step::Hold(_) => return Err(lost()),
            }
        }
    }

    async fn mark(&mut self) -> Result<Option<i64>, Error> {
        self.with(|generator| Ok(generator.last()))
    }

    async fn claim(&mut self, first: i64, _last: i64) -> Result<(), Error> {
        Err(Error::Denied(format!(
            "flakes follow the clock: {first} and what follows cannot be claimed, and this engine cannot carry a node \
             of a quorum"
        )))
    }

    async fn raise(&mut self, to: i64) -> Result<(), Error> {
        self.with(|generator| generator.raise(now(), to))
    }
}

impl Flake {
    fn with<T>(
        &self,
        call: impl FnOnce(&mut Generator) -> Result<T, artisanal_core::Error>,
    ) -> Result<T, Error> {
        GENERATORS.with_borrow_mut(|generators| {
            let generator = generators.get_mut(&self.name).ok_or_else(lost)?;
            Ok(call(generator)?)
        })
    }
}

/// The error for a state that cannot be: a generator or its number is gone.
fn lost() -> Error {
    Error::Other("the generator of this sequence is gone".into())
}

/// The layout and the node of a DSN.
fn settings(dsn: &Dsn) -> Result<(Layout, u32), Error> {
    dsn.only_params(&["layout", "timeout"])
        .map_err(|e| Error::Invalid(e.to_string()))?;
    let layout = match dsn.param("layout") {
        None => Layout::STANDARD,
        Some(text) => text.parse()?,
    };
    let unlike = || {
        Error::Invalid(format!(
            "the DSN has no node; expected `flake://NODE` with a number from 0 to {}, another one for each process",
            layout.nodes() - 1
        ))
    };
    let [node] = dsn.addresses() else {
        return Err(unlike());
    };
    if dsn.has_credentials() {
        return Err(Error::Invalid(
            "a flake DSN has no user or password; write `flake://NODE`".into(),
        ));
    }
    if node.port.is_some() || !dsn.path().is_empty() {
        return Err(unlike());
    }
    let node = node.host.parse().map_err(|_| unlike())?;
    layout.lattice(node)?;
    Ok((layout, node))
}

/// The time since the Unix epoch; zero for a clock before that.
fn now() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

engine_guest::export!(Flake);

//! The contract on sequences with leases: those of the host, and those of the middleware composed with an engine.
//!
//! What the backend's method `leased` excludes is the order (C3) between holders, the exact value of `last`, and
//! the failure of calls that integers fetched before can answer. Everything else is the same suite. The middleware
//! exports no claims, so C11 is tested on the host's leases only.

use int_host::{Error, Sequence, Source, compose};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use testbed::TestResult;
use testbed::backend::{Backend, KINDS, Kind, Reach};
use testbed::contract::{PROMISES, Stage};
use testbed::scratch::Scratch;
use testbed::suite::Suite;

/// The engines that are tested: one on a server, one in this process, and one in an instance.
const ENGINES: [&str; 3] = ["redis", "keyvalue", "memory"];

/// The size of the largest span. A small one is used up often.
const MOST: u32 = 50;

fn main() -> ExitCode {
    let mut suite = Suite::new().threads(4);
    for kind in KINDS.iter().filter(|kind| ENGINES.contains(&kind.name)) {
        for promise in &PROMISES {
            let name = format!("host::{}::{}", kind.name, promise.name);
            suite.test_unless((kind.missing)(), name, || {
                let backend = Arc::new(Leased::by_the_host(kind)?);
                (promise.test)(&Stage::new(kind.engine, backend)?)
            });
            if promise.name != "c11_claim" {
                let name = format!("middleware::{}::{}", kind.name, promise.name);
                suite.test_unless((kind.missing)(), name, || {
                    let (backend, source) = Leased::by_the_middleware(kind)?;
                    let about = kind.engine.about();
                    (promise.test)(&Stage::with(source, about, Arc::new(backend))?)
                });
            }
        }
    }
    suite.run()
}

/// A backend whose sequences have leases.
struct Leased {
    backend: Box<dyn Backend>,
    /// The folder of the engine composed with the middleware; None if the host adds the leases.
    composed: Option<Scratch>,
}

impl Leased {
    fn by_the_host(kind: &Kind) -> TestResult<Self> {
        Ok(Self {
            backend: (kind.start)()?,
            composed: None,
        })
    }

    /// The backend and the composed component.
    fn by_the_middleware(kind: &Kind) -> TestResult<(Self, Source)> {
        let folder = Scratch::new("leased")?;
        let file = folder.join("leased.wasm");
        let wasm = compose::lease(kind.engine.wasm())?;
        std::fs::write(&file, wasm).map_err(testbed::Error::io(file.display().to_string()))?;
        let leased = Self {
            backend: (kind.start)()?,
            composed: Some(folder),
        };
        Ok((leased, Source::File(file)))
    }
}

impl Backend for Leased {
    fn dsn(&self) -> String {
        self.backend.dsn()
    }

    fn reach(&self) -> Reach {
        self.backend.reach()
    }

    fn data(&self) -> Option<PathBuf> {
        self.backend.data()
    }

    fn port(&self) -> Option<u16> {
        self.backend.port()
    }

    fn dsn_on(&self, port: u16) -> String {
        self.backend.dsn_on(port)
    }

    fn dsn_with_password(&self, password: &str, port: u16) -> Option<String> {
        self.backend.dsn_with_password(password, port)
    }

    fn prepare(&self, key: &str) -> testbed::Result {
        self.backend.prepare(key)
    }

    fn store(&self, key: &str, mark: i64) -> testbed::Result<bool> {
        self.backend.store(key, mark)
    }

    fn leased(&self) -> bool {
        true
    }

    fn hold(&self, sequence: Sequence) -> Result<Sequence, Error> {
        match self.composed {
            None => sequence.lease(MOST),
            Some(_) => Ok(sequence),
        }
    }

    fn knows_other_ways(&self) -> bool {
        self.backend.knows_other_ways()
    }

    fn crash(&self) -> testbed::Result<bool> {
        self.backend.crash()
    }
}

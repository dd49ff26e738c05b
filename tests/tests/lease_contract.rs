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
                    let backend = Arc::new(Leased::by_the_middleware(kind)?);
                    let source = Source::File(composed(kind)?);
                    (promise.test)(&Stage::with(source, kind.engine.about(), backend)?)
                });
            }
        }
    }
    suite.run()
}

/// A file with the engine and the middleware, written once per engine.
fn composed(kind: &Kind) -> TestResult<PathBuf> {
    let file = testbed::target::directory().join(format!("leased-{}.wasm", kind.name));
    let wasm = compose::lease(kind.engine.wasm())?;
    if std::fs::read(&file).is_ok_and(|found| found == wasm) {
        return Ok(file);
    }
    // Other tests may read the file at the same time.
    let scratch = Scratch::new("leased")?;
    let new = scratch.join("leased.wasm");
    let written = std::fs::write(&new, &wasm).and_then(|()| std::fs::rename(&new, &file));
    written.map_err(testbed::Error::io(file.display().to_string()))?;
    Ok(file)
}

/// A backend whose sequences have leases.
struct Leased {
    backend: Box<dyn Backend>,
    /// Whether the host adds the leases, and not the middleware.
    host: bool,
}

impl Leased {
    fn by_the_host(kind: &Kind) -> TestResult<Self> {
        let backend = (kind.start)()?;
        let host = true;
        Ok(Self { backend, host })
    }

    fn by_the_middleware(kind: &Kind) -> TestResult<Self> {
        let backend = (kind.start)()?;
        let host = false;
        Ok(Self { backend, host })
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
        match self.host {
            true => sequence.lease(MOST),
            false => Ok(sequence),
        }
    }

    fn knows_other_ways(&self) -> bool {
        self.backend.knows_other_ways()
    }

    fn crash(&self) -> testbed::Result<bool> {
        self.backend.crash()
    }
}

//! The component: a sequence of flakes whose node number is leased from the engine.

mod bindings;

use crate::dsn::Settings;
use artisanal_core::Error;
use artisanal_core::flake::{Clock, Holder, Numbers};
use artisanal_core::limits::check_last;
use bindings::artisanal::integers::{claims, engine, types};
use bindings::exports::artisanal::integers::engine as exports;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

struct Component;

impl exports::Guest for Component {
    type Sequence = Sequence;
}

bindings::export!(Component with_types_in bindings);

artisanal_core::convert_wit_error!(types::Error);

/// How long a mint may take, with all its waiting.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A sequence as the component exports it.
struct Sequence(Rc<Holder<Backend>>);

/// The engine that node numbers are leased from.
struct Backend {
    dsn: String,
    /// The sequence of the latest claim, and its key. Most claims extend the one before.
    latest: RefCell<Option<(String, Rc<engine::Sequence>)>>,
}

impl Backend {
    async fn sequence(&self, key: &str) -> Result<Rc<engine::Sequence>, Error> {
        if let Some((latest, sequence)) = &*self.latest.borrow()
            && latest == key
        {
            return Ok(Rc::clone(sequence));
        }
        let config = types::Config {
            dsn: self.dsn.clone(),
            key: key.to_owned(),
            increment: None,
            offset: None,
        };
        let sequence = Rc::new(engine::Sequence::open(config).await?);
        self.latest
            .replace(Some((key.to_owned(), Rc::clone(&sequence))));
        Ok(sequence)
    }
}

impl Clock for Backend {
    fn now(&self) -> Duration {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    }

    async fn sleep(&self, pause: Duration) {
        std::thread::sleep(pause);
    }
}

impl Numbers for Backend {
    async fn claim(&self, key: &str, first: i64, last: i64) -> Result<(), Error> {
        let sequence = self.sequence(key).await?;
        claims::claim(&sequence, first, last)
            .await
            .map_err(Error::from)
    }
}

impl exports::GuestSequence for Sequence {
    async fn open(config: types::Config) -> Result<exports::Sequence, types::Error> {
        if config.increment.or(config.offset).is_some() {
            return Err(types::Error::Invalid(
                "the increment and the offset of flakes follow from their layout and node; leave them out".into(),
            ));
        }
        let Settings { dsn, layout, node } = Settings::of(&config.dsn)?;
        let backend = Backend {
            dsn,
            latest: RefCell::default(),
        };
        let holder = Holder::new(backend, layout, &config.key, node)?;
        // The engine checks its DSN, before the first mint.
        holder.backend().sequence(&holder.layout_key()).await?;
        Ok(exports::Sequence::new(Self(Rc::new(holder))))
    }

    fn lattice(&self) -> types::Lattice {
        // The node may change, and with it the residue of the integers.
        types::Lattice {
            increment: 1,
            offset: 0,
        }
    }

    async fn next(&self, count: u32) -> Result<types::Span, types::Error> {
        let taken = self.0.mint(count, TIMEOUT).await?;
        if taken.ahead {
            let holder = Rc::clone(&self.0);
            wit_bindgen::spawn_local(async move {
                // A failure is told to the call that needs the number.
                let _ = holder.extend().await;
            });
        }
        Ok(types::Span {
            first: taken.span.first(),
            step: taken.span.step(),
            count: taken.span.count(),
        })
    }

    async fn last(&self) -> Result<Option<i64>, types::Error> {
        Ok(self.0.last())
    }

    async fn set_last(&self, value: i64) -> Result<(), types::Error> {
        check_last(value)?;
        self.0.raise(value).map_err(types::Error::from)
    }
}

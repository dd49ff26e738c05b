//! The reducers of a ledger: components without any rights.

use crate::bindings::reducer::exports::artisanal::ledger::reducer as wit;
use crate::bindings::reducer::{ReducerProvider, ReducerProviderPre};
use crate::component::{Shape, Source};
use crate::state::{GuestLimits, OVERRUN, TICK};
use crate::{Error, Host};
use artisanal_ledger::event::{Event, Mint, Payload};
use artisanal_ledger::reducer::{Failed, Reduce, Reducers};
use std::path::PathBuf;
use std::sync::Arc;
use wasmtime::component::{Component, Linker};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline};

/// The interface that a reducer exports.
const REDUCER: &str = "artisanal:ledger/reducer@0.1.0";

/// Those that are built in. Their snapshots have these names: what they compute stays the same in all versions.
static BUILTIN: [(&str, &[u8]); 2] = [
    (
        "mints",
        include_bytes!(concat!(env!("OUT_DIR"), "/reducer_mints.wasm")),
    ),
    (
        "merge",
        include_bytes!(concat!(env!("OUT_DIR"), "/reducer_merge.wasm")),
    ),
];

/// The maximum length of a reducer's own text about a failure, in characters.
const MAX_TEXT: usize = 500;

/// The reducers of a ledger: those that are built in, and component files by name. `rules` are keys, or patterns of
/// keys, with the name of the reducer that they have.
///
/// # Errors
/// [`Error::Misconfigured`] for a file that is no reducer, a bad name, and a rule with an unknown name.
pub fn reducers(
    host: &Host,
    files: &[(String, PathBuf)],
    rules: &[(String, String)],
) -> Result<Reducers, Error> {
    let mut all = Reducers::default();
    for (name, wasm) in BUILTIN {
        let reducer = Sandbox::new(host, wasm, name.to_owned(), name)?;
        all.add(name, Arc::new(reducer), true);
    }
    for (name, file) in files {
        if all.find(name).is_some() {
            return Err(Error::Misconfigured(format!(
                "there is another reducer with the name `{name}`"
            )));
        }
        let source = Source::File(file.clone());
        let wasm = source.read()?;
        let identity = format!("blake3:{}", blake3::hash(&wasm).to_hex());
        let reducer = Sandbox::new(host, &wasm, identity, &source.to_string())?;
        all.add(name, Arc::new(reducer), false);
    }
    for (keys, name) in rules {
        if all.find(name).is_none() {
            return Err(Error::Misconfigured(format!(
                "there is no reducer `{name}`; there are {}; --reducer NAME=FILE adds one",
                all.names()
            )));
        }
        all.rule(keys, name);
    }
    Ok(all)
}

/// A reducer. Each call is made in a new instance, so that a result depends on nothing but the arguments.
struct Sandbox {
    host: Host,
    pre: ReducerProviderPre<Data>,
    identity: String,
}

/// The data of a store.
struct Data {
    limits: StoreLimits,
    ticks: u32,
}

impl Sandbox {
    fn new(host: &Host, wasm: &[u8], identity: String, source: &str) -> Result<Self, Error> {
        let refuse = |why: String| Error::Misconfigured(format!("{source} {why}"));
        let component = host
            .compile(wasm)
            .map_err(|error| refuse(format!("is not a valid component: {error:#}")))?;
        let shape = Shape::of(&component, host.engine());
        if !shape.exports.iter().any(|name| name == REDUCER) {
            return Err(refuse(format!(
                "is no reducer: it does not export {REDUCER}"
            )));
        }
        let pre = Self::link(host, &component)
            .map_err(|error| refuse(format!("is no reducer: {error:#}")))?;
        Ok(Self {
            host: host.clone(),
            pre,
            identity,
        })
    }

    /// Components import what the standard library of their language may call. Here every call of it traps.
    fn link(host: &Host, component: &Component) -> wasmtime::Result<ReducerProviderPre<Data>> {
        let mut linker = Linker::new(host.engine());
        linker.define_unknown_imports_as_traps(component)?;
        ReducerProviderPre::new(linker.instantiate_pre(component)?)
    }

    fn store(&self) -> Store<Data> {
        let GuestLimits { memory, ticks } = self.host.limits();
        let limits = StoreLimitsBuilder::new()
            .memory_size(memory)
            .table_elements(100_000)
            .instances(100)
            .memories(100)
            .tables(100)
            .trap_on_grow_failure(true)
            .build();
        let mut store = Store::new(self.host.engine(), Data { limits, ticks: 0 });
        store.limiter(|data| &mut data.limits);
        // Several missed ticks count as one: most likely the operating system ran another thread.
        store.epoch_deadline_callback(move |mut context| {
            let data = context.data_mut();
            data.ticks += 1;
            if data.ticks > ticks {
                wasmtime::bail!("{OVERRUN} of {} ms", u128::from(ticks) * TICK.as_millis());
            }
            Ok(UpdateDeadline::Continue(1))
        });
        store.set_epoch_deadline(1);
        store
    }

    fn call(
        &self,
        state: Option<&str>,
        events: &[wit::Event],
    ) -> wasmtime::Result<Result<String, String>> {
        let mut store = self.store();
        let reducer: ReducerProvider = self.pre.instantiate(&mut store)?;
        let interface = reducer.artisanal_ledger_reducer();
        interface.call_apply(&mut store, state, events)
    }
}

impl Reduce for Sandbox {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn apply(&self, state: Option<&str>, events: &[Event]) -> Result<String, Failed> {
        let events: Vec<_> = events.iter().map(event).collect();
        match self.call(state, &events) {
            Ok(Ok(state)) => Ok(state),
            Ok(Err(text)) => Err(Failed(text.chars().take(MAX_TEXT).collect())),
            // Its causes are a backtrace and, last, the reason.
            Err(error) => Err(Failed(reason(&error.root_cause().to_string()))),
        }
    }
}

/// What a trap says, for the author of the component.
fn reason(trap: &str) -> String {
    match trap.strip_prefix("unknown import: ") {
        None => trap.to_owned(),
        Some(import) => format!(
            "it called {}; reducers have no rights (a panic of Rust calls `wasi:cli/environment`)",
            import.trim_end_matches(" has not been defined")
        ),
    }
}

/// An event as reducers get it.
fn event(event: &Event) -> wit::Event {
    let span = |Mint { first, step, count }| wit::Span { first, step, count };
    let fact = match &event.payload {
        Some(Payload::Mint(mint)) => wit::Fact::Mint(span(*mint)),
        Some(Payload::Lost(lost)) => wit::Fact::Lost(wit::Losses {
            mints: lost.events,
            integers: lost.integers,
            first: lost.first,
            last: lost.last,
        }),
        Some(Payload::Raise(raise)) => wit::Fact::Raise(raise.last),
        Some(Payload::Unused(unused)) => wit::Fact::Unused(wit::Spares {
            span: wit::Span {
                first: unused.first,
                step: unused.step,
                count: unused.count,
            },
            reason: unused.reason.clone(),
            instead: unused.instead,
        }),
        Some(Payload::Json(json)) => wit::Fact::Note(wit::Note {
            kind: event.json_kind.clone(),
            payload: json.clone(),
        }),
        // No event is stored without a payload.
        None => wit::Fact::Note(wit::Note {
            kind: String::new(),
            payload: "null".to_owned(),
        }),
    };
    let by = if event.token.is_empty() {
        &event.by
    } else {
        &event.token
    };
    wit::Event {
        key: event.key.clone(),
        number: event.number,
        at: event.at,
        by: by.clone(),
        request: event.request.clone(),
        fact,
    }
}

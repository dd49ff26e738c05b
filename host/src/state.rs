//! The store data of one component instance: its rights and its limits, with no other access to the machine.

use crate::meter::{Clock, Meter};
use crate::metrics::EngineMetrics;
use crate::simulated::Simulated;
use crate::wasi::config::ConfigStore;
use crate::wasi::http::{Client, Hooks};
use crate::wasi::keyvalue::KeyValue;
use crate::wasi::names::Names;
use crate::wasi::network::{Grant, Refusal};
use crate::wasi::rights::Rights;
use crate::wasi::server::{LastWritten, Server};
use crate::wasi::store::Store;
use crate::wasi::tls::{Links, Tls};
use std::time::Duration;
use wasmtime::component::ResourceTable;
use wasmtime::{StoreLimits, StoreLimitsBuilder, UpdateDeadline};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// The period of the guest clock.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// How many concurrent calls share one compute limit. More calls than this only run concurrently when
/// each computes for a fraction of a millisecond.
#[cfg(feature = "serve")]
const CROWD: usize = 256;

/// The resource limits of guest code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuestLimits {
    /// The maximum size of each linear memory, in bytes.
    pub(crate) memory: usize,
    /// How many ticks of the guest clock a call may compute.
    pub(crate) ticks: u32,
}

/// The data of a wasmtime store.
pub(crate) struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    links: Links,
    written: LastWritten,
    store: Option<Store>,
    settings: ConfigStore,
    limits: StoreLimits,
    ticks_spent: u32,
    ticks_allowed: u32,
    meter: Meter,
}

impl State {
    /// A wasmtime store with a new state and its limits applied.
    pub(crate) fn store(
        engine: &wasmtime::Engine,
        rights: &Rights,
        limits: GuestLimits,
        client: &Client,
        clock: &Clock,
        simulated: Option<&Simulated>,
    ) -> wasmtime::Store<Self> {
        let grant = rights.grant.of_one_instance();
        let written = LastWritten::default();
        let state = Self {
            // Bounds the handles of a guest that leaks them; no engine needs more than a few.
            table: {
                let mut table = ResourceTable::new();
                table.set_max_capacity(100_000);
                table
            },
            wasi: wasi(&grant, &rights.metrics, simulated),
            http: WasiHttpCtx::new(),
            hooks: Hooks {
                client: client.clone(),
                grant,
                metrics: rights.metrics.clone(),
                written: written.clone(),
                simulated: simulated.cloned(),
            },
            links: Links::new(client.tls.clone(), rights.demand),
            written,
            store: rights.store.clone(),
            settings: rights.settings.clone(),
            limits: StoreLimitsBuilder::new()
                .memory_size(limits.memory)
                .table_elements(100_000)
                .instances(100)
                .memories(100)
                .tables(100)
                .build(),
            ticks_spent: 0,
            ticks_allowed: limits.ticks,
            meter: Meter::new(clock.clone()),
        };
        let mut store = wasmtime::Store::new(engine, state);
        store.limiter(|state| &mut state.limits);
        // This runs at every tick while guest code computes, and also once after a wait. Waiting is not
        // counted, whether for I/O or for other guests on the same thread, however often it occurs in
        // one call.
        store.epoch_deadline_callback(move |mut context| {
            let state = context.data_mut();
            state.ticks_spent += u32::from(state.meter.took_a_tick());
            if state.ticks_spent > state.ticks_allowed {
                wasmtime::bail!(
                    "{OVERRUN} of {} ms",
                    u128::from(state.ticks_allowed) * TICK.as_millis()
                );
            }
            Ok(UpdateDeadline::Yield(1))
        });
        store.set_epoch_deadline(1);
        store
    }

    /// Resets the tick count and the recorded refusal at the start of a call.
    pub(crate) fn new_call(&mut self) {
        self.ticks_spent = 0;
        self.take_refusal();
    }

    /// Takes the last refusal since the call began or since the last take.
    pub(crate) fn take_refusal(&mut self) -> Option<Refusal> {
        self.hooks.grant.take_refusal()
    }

    /// Resets the tick count of an instance that handles many calls concurrently. They share one limit, plus
    /// one more for every [`CROWD`] calls.
    #[cfg(feature = "serve")]
    pub(crate) fn new_call_among(&mut self, calls: usize, limits: GuestLimits) {
        let crowds = u32::try_from(calls / CROWD).unwrap_or(u32::MAX);
        self.ticks_spent = 0;
        self.ticks_allowed = limits.ticks.saturating_mul(crowds.saturating_add(1));
    }

    /// The meter that has to drive the store.
    pub(crate) fn meter(&self) -> Meter {
        self.meter.clone()
    }

    pub(crate) fn keyvalue(&mut self) -> KeyValue<'_> {
        KeyValue {
            store: self.store.as_ref(),
            table: &mut self.table,
        }
    }

    pub(crate) fn names(&mut self) -> Names<'_> {
        Names {
            grant: &self.hooks.grant,
            sockets: WasiSocketsCtxView {
                ctx: self.wasi.sockets(),
                table: &mut self.table,
            },
        }
    }

    pub(crate) fn tls(&mut self) -> Tls<'_> {
        Tls {
            links: &mut self.links,
            grant: &self.hooks.grant,
        }
    }

    /// Where the servers that the component writes to are noted.
    pub(crate) fn written(&self) -> LastWritten {
        self.written.clone()
    }

    /// Takes the server that the component wrote to last, if it wrote since the last take.
    pub(crate) fn take_server(&self) -> Option<Server> {
        self.written.take()
    }

    pub(crate) fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    pub(crate) fn settings(&mut self) -> &mut ConfigStore {
        &mut self.settings
    }
}

/// The start of the error for guest code that exceeds its compute limit.
pub(crate) const OVERRUN: &str = "the component computed for longer than its limit";

/// Grants TCP to the allowed addresses, standard error and clocks; no files, arguments or environment.
fn wasi(grant: &Grant, metrics: &EngineMetrics, simulated: Option<&Simulated>) -> WasiCtx {
    let mut wasi = WasiCtxBuilder::new();
    wasi.inherit_stderr();
    if let Some(simulated) = simulated {
        simulated.prepare(&mut wasi);
    }
    if !grant.is_empty() {
        let (grant, metrics) = (grant.clone(), metrics.clone());
        wasi.allow_tcp(true).allow_ip_name_lookup(grant.has_names());
        wasi.socket_addr_check(move |address, usage| {
            let (grant, metrics) = (grant.clone(), metrics.clone());
            Box::pin(async move {
                match usage {
                    // Every outgoing connection binds to an unspecified address and any free port first.
                    SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
                    SocketAddrUse::TcpConnect => {
                        let allowed = grant.allows(address).await;
                        metrics.connected(allowed);
                        allowed
                    }
                    _ => false,
                }
            })
        });
    }
    wasi.build()
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

//! `wasi:sockets/ip-name-lookup`, restricted to the names that a component may connect to.
//!
//! wasmtime's implementation, which does the lookups, can only allow all names or none. With that, a
//! component that may look up one name could leak secrets to the DNS server of any other name.

use crate::state::State;
use crate::wasi::network::Grant;
use wasmtime::component::{Accessor, HasData, Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup as p2;
use wasmtime_wasi::p2::bindings::sockets::network::{
    self, ErrorCode as P2Code, IpAddress as P2Address, Network,
};
use wasmtime_wasi::p2::{DynPollable, IoError, SocketError};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup as p3;
use wasmtime_wasi::p3::bindings::sockets::types::IpAddress as P3Address;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtxView, WasiSocketsView};

/// wasmtime's sockets, behind the access check.
pub(crate) struct Names<'a> {
    pub(crate) grant: &'a Grant,
    pub(crate) sockets: WasiSocketsCtxView<'a>,
}

struct HasNames;

impl HasData for HasNames {
    type Data<'a> = Names<'a>;
}

/// Replaces wasmtime's own functions in the linker, which must contain them already.
pub(crate) fn replace_in_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    p2::add_to_linker::<_, HasNames>(linker, State::names)?;
    p3::add_to_linker::<_, HasNames>(linker, State::names)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl p2::Host for Names<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<p2::ResolveAddressStream>, SocketError> {
        match self.grant.name(&name) {
            Some(name) => p2::Host::resolve_addresses(&mut self.sockets, network, name),
            // The same error as when an engine connects to an address that is not allowed.
            None => Err(P2Code::AccessDenied.into()),
        }
    }
}

impl p2::HostResolveAddressStream for Names<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<p2::ResolveAddressStream>,
    ) -> Result<Option<P2Address>, SocketError> {
        p2::HostResolveAddressStream::resolve_next_address(&mut self.sockets, stream)
    }

    fn subscribe(
        &mut self,
        stream: Resource<p2::ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        p2::HostResolveAddressStream::subscribe(&mut self.sockets, stream)
    }

    fn drop(&mut self, stream: Resource<p2::ResolveAddressStream>) -> wasmtime::Result<()> {
        p2::HostResolveAddressStream::drop(&mut self.sockets, stream)
    }
}

/// Converts the errors of the interface above, whose type this interface defines.
impl network::Host for Names<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<P2Code> {
        network::Host::convert_error_code(&mut self.sockets, error)
    }

    fn network_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<P2Code>> {
        network::Host::network_error_code(&mut self.sockets, error)
    }
}

impl network::HostNetwork for Names<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.sockets, network)
    }
}

impl p3::Host for Names<'_> {}

impl p3::HostWithStore<State> for HasNames {
    async fn resolve_addresses(
        store: &Accessor<State, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<P3Address>, p3::ErrorCode>> {
        let Some(name) = store.with(|mut view| view.get().grant.name(&name)) else {
            return Ok(Err(p3::ErrorCode::AccessDenied));
        };
        let sockets = store.with_getter::<WasiSockets>(<State as WasiSocketsView>::sockets);
        WasiSockets::resolve_addresses(&sockets, name).await
    }
}

//! Composes components: the HTTP endpoint with an engine, and an engine with middleware.

use crate::component::CLAIMS;
use crate::{CONFIG_BRIDGE, ENGINE, Error, FLAKE, INTD, LEASE};
use std::collections::HashSet;
use wac_graph::types::{Package, SubtypeChecker};
use wac_graph::{CompositionGraph, EncodeOptions, PackageId, plug};

/// The host that a composed endpoint is for. Hosts differ in the draft of `wasi:config` that provides the
/// settings; this host supports both drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Spin.
    Spin,
    /// `wasmtime serve` with `-S config`.
    Wasmtime,
    /// This host.
    IntHost,
}

/// Composes the component `intd` with an engine. The result exports `wasi:http/handler`, and imports
/// the remaining imports of both.
///
/// # Errors
/// [`Error::Misconfigured`] when `engine` is not a component, does not export this version of the
/// engine interface, or would take the place of another import of the endpoint.
pub fn compose(engine: &[u8], target: Target) -> Result<Vec<u8>, Error> {
    let bridge = match target {
        Target::Spin | Target::IntHost => None,
        Target::Wasmtime => Some(CONFIG_BRIDGE),
    };
    join(engine, INTD, bridge)
}

/// Composes an engine with the middleware for leases ([`LEASE`]). The result is an engine again: it exports the
/// engine interface, without the claims that the engine may export besides, and imports what the engine does.
///
/// The parameter `lease` of the DSN sets the size of the largest span. Integers of different holders are not in
/// order; a holder is one open sequence.
///
/// # Errors
/// As [`compose`].
pub fn lease(engine: &[u8]) -> Result<Vec<u8>, Error> {
    join(engine, LEASE, None)
}

/// Composes an engine with the middleware that makes integers from the time ([`FLAKE`]), with a node number that it leases
/// from that engine. The result is an engine: it exports the engine interface and imports what the engine does.
///
/// The parameter `flake` of the DSN sets the layout of the integers, and `flake-node` the only number to hold.
///
/// # Errors
/// As [`compose`], also when the engine exports no claims.
pub fn flake(engine: &[u8]) -> Result<Vec<u8>, Error> {
    join(engine, FLAKE, None)
}

/// Composes a component that imports the engine interface with an engine, and perhaps with a config bridge.
fn join(engine: &[u8], socket: &[u8], bridge: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let mut graph = CompositionGraph::new();
    let socket = register(&mut graph, "artisanal:socket", socket)?;
    let engine = register(&mut graph, "artisanal:plugged-engine", engine)?;
    check(&graph, engine, socket)?;
    let mut plugs = vec![engine];
    if let Some(bridge) = bridge {
        plugs.push(register(&mut graph, "artisanal:config-bridge", bridge)?);
    }
    plug(&mut graph, plugs, socket).map_err(|error| refuse("composed", &error))?;
    graph
        .encode(EncodeOptions::default())
        .map_err(|error| refuse("encoded", &error))
}

fn refuse(step: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    Error::Misconfigured(format!("the components cannot be {step}: {why}"))
}

fn register(graph: &mut CompositionGraph, name: &str, wasm: &[u8]) -> Result<PackageId, Error> {
    let package = Package::from_bytes(name, None, wasm.to_vec(), graph.types_mut())
        .map_err(|error| refuse("read", error.as_ref()))?;
    graph
        .register_package(package)
        .map_err(|error| refuse("composed", &error))
}

/// Checks that plugging the engine in connects the engine interface and nothing else.
///
/// [`plug`] connects every export that fits an import, so an engine could also take the place of the
/// endpoint's settings; and it leaves an import open, without an error, if the types do not fit.
fn check(graph: &CompositionGraph, engine: PackageId, endpoint: PackageId) -> Result<(), Error> {
    let types = graph.types();
    let exports = &types[graph[engine].ty()].exports;
    let imports = &types[graph[endpoint].ty()].imports;
    let unfit = |why: String| {
        Error::Misconfigured(format!(
            "the component and the engine cannot be composed: {why}"
        ))
    };
    let mut cache = HashSet::default();
    let mut checker = SubtypeChecker::new(&mut cache);
    for name in [ENGINE, CLAIMS] {
        let (export, import) = match (exports.get(name), imports.get(name)) {
            (Some(export), Some(import)) => (export, import),
            (_, None) if name == CLAIMS => continue,
            _ => return Err(unfit(format!("the engine does not export {name}"))),
        };
        checker
            .is_subtype(*export, types, *import, types)
            .map_err(|error| refuse("composed", error.as_ref()))?;
    }
    let unversioned = |name: &str| name.split('@').next().unwrap_or(name).to_owned();
    let imported: Vec<_> = imports.keys().map(|name| unversioned(name)).collect();
    match exports.keys().find(|name| {
        ![ENGINE, CLAIMS].contains(&name.as_str()) && imported.contains(&unversioned(name))
    }) {
        Some(name) => Err(unfit(format!(
            "the engine also exports {name}, which the other component takes from its host"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Builtin;
    use wasmtime::component::Component;

    /// The interface from which the endpoint reads its settings.
    const CONFIG: &str = "wasi:config/store@0.2.0-draft-2024-09-27";

    fn imports(wasm: &[u8]) -> Vec<String> {
        let engine = crate::Host::new(crate::Options::default())
            .unwrap()
            .engine()
            .clone();
        let component = Component::new(&engine, wasm).unwrap();
        component
            .component_type()
            .imports(&engine)
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    #[test]
    fn the_host_decides_where_settings_come_from() {
        for (target, config) in [
            (Target::Spin, CONFIG),
            (Target::Wasmtime, "wasi:config/store@0.2.0-rc.1"),
        ] {
            let imports = imports(&compose(Builtin::Memory.wasm(), target).unwrap());
            let configs: Vec<_> = imports
                .iter()
                .filter(|name| name.starts_with("wasi:config/"))
                .collect();
            assert_eq!(configs, [config], "{target:?}");
            assert!(
                !imports.iter().any(|name| name == ENGINE),
                "the engine is inside"
            );
        }
    }

    #[test]
    fn an_engine_with_leases_is_an_engine() {
        let leased = lease(Builtin::Keyvalue.wasm()).unwrap();
        let imported = imports(&leased);
        assert!(
            imported
                .iter()
                .any(|name| name.starts_with("wasi:keyvalue/"))
        );
        assert!(!imported.iter().any(|name| name == ENGINE));
        assert!(compose(&leased, Target::Spin).is_ok());
        assert!(matches!(lease(INTD), Err(Error::Misconfigured(_))));
    }

    #[test]
    fn an_engine_with_flakes_is_an_engine() {
        let flakes = flake(Builtin::Redis.wasm()).unwrap();
        let imported = imports(&flakes);
        assert!(
            imported
                .iter()
                .any(|name| name.starts_with("wasi:sockets/"))
        );
        assert!(
            !imported
                .iter()
                .any(|name| [ENGINE, CLAIMS].contains(&name.as_str()))
        );
        assert!(compose(&flakes, Target::Spin).is_ok());
        let leased = lease(Builtin::Redis.wasm()).unwrap();
        let Err(Error::Misconfigured(why)) = flake(&leased) else {
            panic!("leases export no claims");
        };
        assert!(why.contains(CLAIMS), "{why}");
    }

    #[test]
    fn what_is_no_engine_is_refused() {
        for wasm in [
            CONFIG_BRIDGE,
            b"\0asm\x0d\0\x01\0",
            b"\0asm\x01\0\0\0",
            b"",
            b"hello",
            INTD,
        ] {
            assert!(matches!(
                compose(wasm, Target::Spin),
                Err(Error::Misconfigured(_))
            ));
        }
    }
}

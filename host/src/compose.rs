//! Composes the HTTP endpoint and an engine into one component.

use crate::{CONFIG_BRIDGE, ENGINE, Error, INTD};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, NodeId, PackageId};

/// The interface from which the endpoint reads its settings.
const CONFIG: &str = "wasi:config/store@0.2.0-draft-2024-09-27";

/// The host that a composed endpoint is for. Hosts differ in the draft of `wasi:config` that provides the
/// settings; this host supports both drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Spin.
    Spin,
    /// `wasmtime serve` with `-S config`.
    Wasmtime,
}

/// Composes the component `intd` with an engine. The result exports `wasi:http/handler`, and imports
/// the remaining imports of both.
///
/// # Errors
/// [`Error::Misconfigured`] when `engine` is not a component, or does not export this version of the
/// engine interface.
pub fn compose(engine: &[u8], target: Target) -> Result<Vec<u8>, Error> {
    let mut graph = CompositionGraph::new();
    let (package, endpoint) = add(&mut graph, "artisanal:intd", INTD)?;
    plug(
        &mut graph,
        endpoint,
        ENGINE,
        "artisanal:plugged-engine",
        engine,
    )?;
    if target == Target::Wasmtime {
        plug(
            &mut graph,
            endpoint,
            CONFIG,
            "artisanal:config-bridge",
            CONFIG_BRIDGE,
        )?;
    }
    export_all(&mut graph, package, endpoint)?;
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
    Error::Misconfigured(format!(
        "the endpoint and the engine cannot be {step}: {why}"
    ))
}

/// Adds an instance of a component, whose unsatisfied imports become imports of the result.
fn add(
    graph: &mut CompositionGraph,
    name: &str,
    wasm: &[u8],
) -> Result<(PackageId, NodeId), Error> {
    let package = Package::from_bytes(name, None, wasm.to_vec(), graph.types_mut())
        .map_err(|error| refuse("read", error.as_ref()))?;
    let package = graph
        .register_package(package)
        .map_err(|error| refuse("composed", &error))?;
    Ok((package, graph.instantiate(package)))
}

/// Satisfies one import of `socket` with the export of the same name of another component.
///
/// `wac_graph::plug` would connect every export that fits an import: an engine could then also take the place of the
/// endpoint's settings. An engine gets to provide this one interface.
fn plug(
    graph: &mut CompositionGraph,
    socket: NodeId,
    interface: &str,
    name: &str,
    wasm: &[u8],
) -> Result<(), Error> {
    let (_, instance) = add(graph, name, wasm)?;
    let export = graph
        .alias_instance_export(instance, interface)
        .map_err(|error| refuse("composed", &error))?;
    graph
        .set_instantiation_argument(socket, interface, export)
        .map_err(|error| refuse("composed", &error))
}

fn export_all(
    graph: &mut CompositionGraph,
    package: PackageId,
    instance: NodeId,
) -> Result<(), Error> {
    let names: Vec<String> = graph.types()[graph[package].ty()]
        .exports
        .keys()
        .cloned()
        .collect();
    for name in names {
        let export = graph
            .alias_instance_export(instance, &name)
            .map_err(|error| refuse("composed", &error))?;
        graph
            .export(export, &name)
            .map_err(|error| refuse("composed", &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Builtin;
    use wasmtime::component::Component;

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
    fn what_is_no_engine_is_refused() {
        for wasm in [
            CONFIG_BRIDGE,
            b"\0asm\x0d\0\x01\0",
            b"\0asm\x01\0\0\0",
            b"",
            b"hello",
        ] {
            assert!(matches!(
                compose(wasm, Target::Spin),
                Err(Error::Misconfigured(_))
            ));
        }
    }
}

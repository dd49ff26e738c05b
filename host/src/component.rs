//! Reading components, and checking what they export and import.

use crate::{Builtin, Error, Host};
use std::path::{Path, PathBuf};
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

/// The interface that an engine exports.
pub const ENGINE: &str = "artisanal:integers/engine@0.1.0";

/// The interface that an engine may export besides.
pub(crate) const CLAIMS: &str = "artisanal:integers/claims@0.1.0";

/// The interfaces that an HTTP endpoint may export, newest first.
pub(crate) const HTTP: [&str; 2] = ["wasi:http/handler@0.3", "wasi:http/incoming-handler@0.2"];

/// Where a component comes from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Source {
    /// One of the built-in engines.
    Builtin(Builtin),
    /// A component file.
    File(PathBuf),
    /// An engine that the middleware [`FLAKE`](crate::FLAKE) leases the numbers of nodes from.
    #[cfg(feature = "compose")]
    Flake(Box<Source>),
}

impl Source {
    /// How many calls of one sequence may be in flight at a time, each in its own instance. A component that
    /// is not built in may keep its state in memory that its other instances do not share, so it gets 1.
    pub(crate) fn calls(&self) -> usize {
        match self {
            Self::Builtin(engine) => engine.calls(),
            Self::File(_) => 1,
            #[cfg(feature = "compose")]
            Self::Flake(_) => 1,
        }
    }

    /// A short name: the engine's, or that of the file without its folder.
    pub(crate) fn name(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Builtin(engine) => engine.about().name.into(),
            Self::File(path) => path.file_name().unwrap_or_default().to_string_lossy(),
            #[cfg(feature = "compose")]
            Self::Flake(_) => "flake".into(),
        }
    }

    /// The component's bytes.
    pub(crate) fn read(&self) -> Result<std::borrow::Cow<'static, [u8]>, Error> {
        match self {
            Self::Builtin(engine) => Ok(engine.wasm().into()),
            Self::File(path) => read(path).map(Into::into),
            #[cfg(feature = "compose")]
            Self::Flake(engine) => crate::compose::flake(&engine.read()?).map(Into::into),
        }
    }
}

impl From<Builtin> for Source {
    fn from(engine: Builtin) -> Self {
        Self::Builtin(engine)
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Builtin(engine) => write!(f, "the engine {}", engine.about().name),
            Self::File(path) => write!(f, "{}", path.display()),
            #[cfg(feature = "compose")]
            Self::Flake(engine) => write!(f, "flakes with numbers from {engine}"),
        }
    }
}

/// The maximum size of a component file, in bytes.
const MAX_FILE: u64 = 256 << 20;

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let refuse = |why: String| {
        Error::Misconfigured(format!(
            "cannot read the component {}: {why}",
            path.display()
        ))
    };
    let size = std::fs::metadata(path)
        .map_err(|e| refuse(e.to_string()))?
        .len();
    if size > MAX_FILE {
        return Err(refuse(format!(
            "it has {size} bytes; the maximum is {MAX_FILE}"
        )));
    }
    let bytes = std::fs::read(path).map_err(|e| refuse(e.to_string()))?;
    // A component begins with the magic number, version 13 and layer 1 (a core module: 1 and 0).
    match bytes.get(..8) {
        Some(b"\0asm\x0d\0\x01\0") => Ok(bytes),
        Some(b"\0asm\x01\0\0\0") => Err(refuse(
            "it is a core module, not a component; build it for wasm32-wasip2, or wrap it with `wasm-tools component new`"
                .into(),
        )),
        _ => Err(refuse("it is not WebAssembly".into())),
    }
}

/// The exports and imports of a component, and the roles that follow from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Names of the interfaces and functions it exports.
    pub exports: Vec<String>,
    /// Names of the interfaces and functions it imports.
    pub imports: Vec<String>,
}

impl Shape {
    pub(crate) fn of(component: &Component, engine: &wasmtime::Engine) -> Self {
        let ty = component.component_type();
        let kept = |(name, item): (&str, ComponentItem)| match item {
            // Top-level types are only aliases of types that interfaces define.
            ComponentItem::Type(_) | ComponentItem::Resource(_) => None,
            _ => Some(name.to_owned()),
        };
        Self {
            exports: ty
                .exports(engine)
                .filter_map(|(n, e)| kept((n, e.ty)))
                .collect(),
            imports: ty
                .imports(engine)
                .filter_map(|(n, i)| kept((n, i.ty)))
                .collect(),
        }
    }

    /// Whether it exports `artisanal:integers/engine`.
    pub fn exports_engine(&self) -> bool {
        self.exports.iter().any(|name| name == ENGINE)
    }

    /// Whether it exports `artisanal:integers/claims`, so that it can carry a node of a quorum.
    pub fn exports_claims(&self) -> bool {
        self.exports.iter().any(|name| name == CLAIMS)
    }

    /// Whether it imports `artisanal:integers/engine`, so that it has to be composed with one.
    pub fn imports_engine(&self) -> bool {
        self.imports.iter().any(|name| name == ENGINE)
    }

    /// Whether it is an HTTP endpoint.
    pub fn exports_http(&self) -> bool {
        self.exports
            .iter()
            .any(|name| HTTP.iter().any(|http| name.starts_with(http)))
    }

    /// Whether it imports an interface whose name starts with `prefix`.
    pub fn imports(&self, prefix: &str) -> bool {
        self.imports.iter().any(|name| name.starts_with(prefix))
    }

    /// The worlds of `wit/worlds.wit` that it implements, each with how to use it with this host.
    pub fn roles(&self) -> Vec<&'static str> {
        let mut roles = Vec::new();
        match (
            self.exports_engine(),
            self.imports_engine(),
            self.exports_http(),
        ) {
            (true, false, _) => roles.push("engine-provider: mint with int-host --component FILE"),
            (true, true, _) => roles.push("middleware: compose it with an engine first"),
            _ => {}
        }
        match (self.exports_http(), self.imports_engine()) {
            (true, true) => roles.push("service: compose it with an engine first"),
            (true, false) => {
                roles.push("wasi:http endpoint: serve with int-host serve --component FILE")
            }
            _ => {}
        }
        roles
    }

    /// Its exports and imports, as a clause for an error message.
    fn sentence(&self) -> String {
        let list = |names: &[String]| match names {
            [] => "nothing".to_owned(),
            names => names.join(", "),
        };
        format!(
            "it exports {} and imports {}",
            list(&self.exports),
            list(&self.imports)
        )
    }
}

impl Host {
    /// The exports and imports of a component.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] when it cannot be read or is not a valid component.
    pub fn inspect(&self, source: &Source) -> Result<Shape, Error> {
        self.component(source).map(|(_, shape)| shape)
    }

    pub(crate) fn component(&self, source: &Source) -> Result<(Component, Shape), Error> {
        let Source::Builtin(engine) = source else {
            return self.load(source);
        };
        // To open a sequence is cheap from the second time on.
        let loaded = self.builtin(*engine);
        if let Some((component, shape)) = loaded.get() {
            return Ok((component.clone(), shape.clone()));
        }
        let (component, shape) = self.load(source)?;
        Ok(loaded.get_or_init(|| (component, shape)).clone())
    }

    fn load(&self, source: &Source) -> Result<(Component, Shape), Error> {
        let wasm = match source {
            // A simulation has a network for `wasi:http`.
            Source::Builtin(engine) if self.options().simulated.is_some() => {
                engine.plain_wasm().into()
            }
            _ => source.read()?,
        };
        let component = self.compile(&wasm).map_err(|e| {
            Error::Misconfigured(format!("{source} is not a valid component: {e:#}"))
        })?;
        let shape = Shape::of(&component, self.engine());
        Ok((component, shape))
    }

    /// Reads a component that must be an engine.
    pub(crate) fn engine_component(&self, source: &Source) -> Result<(Component, Shape), Error> {
        let (component, shape) = self.component(source)?;
        if !shape.exports_engine() {
            return Err(Error::Misconfigured(format!(
                "{source} is not an engine: it does not export {ENGINE}; {}",
                shape.sentence()
            )));
        }
        Ok((component, shape))
    }

    /// Reads a component that must be an HTTP endpoint and must not need an engine.
    #[cfg(feature = "serve")]
    pub(crate) fn http_component(&self, source: &Source) -> Result<(Component, Shape), Error> {
        let (component, shape) = self.component(source)?;
        if !shape.exports_http() {
            return Err(Error::Misconfigured(format!(
                "{source} is no HTTP endpoint: it exports neither {} nor {}; {}",
                HTTP[0],
                HTTP[1],
                shape.sentence()
            )));
        }
        if shape.imports_engine() {
            return Err(Error::Misconfigured(format!(
                "{source} imports {ENGINE}, so it cannot run by itself; compose it with an engine \
                 (int-host compose --engine NAME -o FILE)"
            )));
        }
        Ok((component, shape))
    }
}

//! The WIT packages resolve, and every item in them is documented.

use std::path::Path;
use wit_parser::{Docs, PackageId, Resolve, TypeDefKind};

/// Resolves the package together with the WASI packages that it depends on.
fn resolve() -> (Resolve, PackageId) {
    resolve_in("wit")
}

fn resolve_in(folder: &str) -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(folder);
    let (package, _) = resolve
        .push_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e:?}", folder.display()));
    (resolve, package)
}

/// The sorted names, as `namespace:name/interface@version`, of a world's imports or exports.
fn names<'a>(
    resolve: &Resolve,
    items: impl IntoIterator<Item = &'a wit_parser::WorldKey>,
) -> Vec<String> {
    let mut names: Vec<_> = items
        .into_iter()
        .map(|key| resolve.name_world_key(key))
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn the_package_has_the_worlds_that_it_promises() {
    let (resolve, package) = resolve();
    let package = &resolve.packages[package];
    assert_eq!(package.name.to_string(), "artisanal:integers@0.1.0");
    for (world, imports, exports) in [
        (
            "engine-provider",
            vec![],
            vec!["artisanal:integers/engine@0.1.0"],
        ),
        (
            "claiming-engine-provider",
            vec![],
            vec![
                "artisanal:integers/claims@0.1.0",
                "artisanal:integers/engine@0.1.0",
            ],
        ),
        (
            "middleware",
            vec!["artisanal:integers/engine@0.1.0"],
            vec!["artisanal:integers/engine@0.1.0"],
        ),
        (
            "service",
            vec!["artisanal:integers/engine@0.1.0"],
            vec!["wasi:http/handler@0.3.0"],
        ),
        (
            "keyvalue-engine-provider",
            vec![
                "wasi:keyvalue/atomics@0.2.0-draft2",
                "wasi:keyvalue/store@0.2.0-draft2",
            ],
            vec!["artisanal:integers/engine@0.1.0"],
        ),
        (
            "http-engine-provider",
            vec!["wasi:http/client@0.3.0", "wasi:http/types@0.3.0"],
            vec!["artisanal:integers/engine@0.1.0"],
        ),
    ] {
        let id = *package
            .worlds
            .get(world)
            .unwrap_or_else(|| panic!("there is no world {world}"));
        let found = &resolve.worlds[id];
        let imported = names(&resolve, found.imports.keys());
        for import in imports {
            assert!(
                imported.iter().any(|name| name == import),
                "{world} does not import {import}; it imports {imported:?}"
            );
        }
        assert_eq!(names(&resolve, found.exports.keys()), exports, "{world}");
    }
}

#[test]
fn a_reducer_imports_nothing() {
    let (resolve, package) = resolve_in("ledger/wit");
    let package = &resolve.packages[package];
    assert_eq!(package.name.to_string(), "artisanal:ledger@0.1.0");
    let world = &resolve.worlds[package.worlds["reducer-provider"]];
    assert_eq!(names(&resolve, world.imports.keys()), Vec::<String>::new());
    let exported = names(&resolve, world.exports.keys());
    assert_eq!(exported, ["artisanal:ledger/reducer@0.1.0"]);
}

#[test]
fn everything_that_may_wait_is_async() {
    let (resolve, package) = resolve();
    let engine = &resolve.interfaces[resolve.packages[package].interfaces["engine"]];
    let waits: Vec<_> = engine
        .functions
        .iter()
        .map(|(name, function)| (name.as_str(), function.kind.is_async()))
        .collect();
    assert_eq!(
        waits,
        [
            ("[static]sequence.open", true),
            ("[method]sequence.lattice", false),
            ("[method]sequence.next", true),
            ("[method]sequence.last", true),
            ("[method]sequence.set-last", true),
        ]
    );
}

#[test]
fn everything_has_a_doc_comment() {
    for folder in ["wit", "ledger/wit"] {
        let (resolve, package) = resolve_in(folder);
        check_docs(&resolve, package);
    }
}

fn check_docs(resolve: &Resolve, package: PackageId) {
    let package = &resolve.packages[package];
    let mut undocumented = Vec::new();
    let mut documented = 0;
    let mut look = |name: String, docs: &Docs| {
        if docs
            .contents
            .as_deref()
            .is_none_or(|text| text.trim().is_empty())
        {
            undocumented.push(name);
        } else {
            documented += 1;
        }
    };
    for (name, id) in &package.worlds {
        look(format!("world {name}"), &resolve.worlds[*id].docs);
    }
    for (interface, id) in &package.interfaces {
        let found = &resolve.interfaces[*id];
        look(format!("interface {interface}"), &found.docs);
        for (name, function) in &found.functions {
            look(format!("{interface}: {name}"), &function.docs);
        }
        for (name, id) in &found.types {
            let kind = &resolve.types[*id];
            let within = format!("{interface}: {name}");
            match &kind.kind {
                // A type that is imported with `use` is documented where it is defined.
                TypeDefKind::Type(_) => continue,
                TypeDefKind::Record(record) => {
                    for field in &record.fields {
                        look(format!("{within}.{}", field.name), &field.docs);
                    }
                }
                TypeDefKind::Variant(variant) => {
                    for case in &variant.cases {
                        look(format!("{within}.{}", case.name), &case.docs);
                    }
                }
                TypeDefKind::Enum(items) => {
                    for case in &items.cases {
                        look(format!("{within}.{}", case.name), &case.docs);
                    }
                }
                TypeDefKind::Flags(flags) => {
                    for flag in &flags.flags {
                        look(format!("{within}.{}", flag.name), &flag.docs);
                    }
                }
                _ => {}
            }
            look(within, &kind.docs);
        }
    }
    assert_eq!(undocumented, Vec::<String>::new());
    assert!(documented > 20, "only {documented} things were looked at");
}

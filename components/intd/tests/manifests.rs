//! The Spin manifests pass on exactly the settings that the endpoint reads, and run exactly the files
//! that they build.

use std::path::{Path, PathBuf};
use toml::{Table, Value};

const ENGINES: [&str; 8] = [
    "keyvalue", "redis", "mysql", "postgres", "rqlite", "summitdb", "quorum", "http",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The manifest of an engine, the relative path from its folder up to the root, and its text.
fn manifest(engine: &str) -> (Table, &'static str, String) {
    let (path, folder) = match engine {
        "keyvalue" => ("spin.toml".to_owned(), ""),
        other => (format!("tests/spin/{other}.toml"), "../../"),
    };
    let text = std::fs::read_to_string(root().join(&path)).expect(&path);
    (text.parse().expect(&path), folder, text)
}

fn at<'a>(table: &'a Table, path: &[&str]) -> &'a Value {
    let (last, tables) = path.split_last().expect("a path");
    let table = tables.iter().fold(table, |table, name| {
        table[*name]
            .as_table()
            .unwrap_or_else(|| panic!("{path:?}"))
    });
    &table[*last]
}

#[test]
fn every_setting_is_a_variable() {
    for engine in ENGINES {
        let (manifest, ..) = manifest(engine);
        let passed = at(&manifest, &["component", "intd", "variables"])
            .as_table()
            .expect("variables");
        let mut names: Vec<_> = passed.keys().map(String::as_str).collect();
        let mut settings = intd::Settings::NAMES;
        names.sort_unstable();
        settings.sort_unstable();
        assert_eq!(names, settings, "{engine}");
        for name in settings {
            assert_eq!(passed[name].as_str(), Some(&*format!("{{{{ {name} }}}}")));
            let variable = at(&manifest, &["variables", name]);
            let secret = variable.get("secret").and_then(Value::as_bool);
            let must_be = matches!(name, "dsn" | "admin_token" | "mint_token");
            assert_eq!(secret, must_be.then_some(true), "{engine} {name}");
        }
    }
}

#[test]
fn the_defaults_are_settings() {
    for engine in ENGINES {
        let (manifest, ..) = manifest(engine);
        let settings = intd::Settings::from_lookup(|name| {
            let default = at(&manifest, &["variables", name, "default"]).as_str();
            Some(default.expect(name).to_owned())
        });
        let settings = settings.unwrap_or_else(|error| panic!("{engine}: {error}"));
        assert_eq!(settings.key, "integers");
        assert!(settings.admin_token.is_none() && settings.mint_token.is_none());
    }
}

#[test]
fn what_is_built_is_what_is_run() {
    for engine in ENGINES {
        let (manifest, up, text) = manifest(engine);
        let built = format!("{up}target/components/wasm32-wasip2/component");
        let intd = ["component", "intd"];
        assert_eq!(
            at(&manifest, &[intd[0], intd[1], "source"]).as_str(),
            Some(&*format!("{built}/intd.wasm"))
        );
        let dependencies = at(&manifest, &[intd[0], intd[1], "dependencies"]);
        let dependency = &dependencies["artisanal:integers/engine@0.1.0"];
        assert_eq!(
            dependency["path"].as_str(),
            Some(&*format!("{built}/engine_{engine}.wasm"))
        );
        let build = at(&manifest, &[intd[0], intd[1], "build"]);
        let command = build["command"].as_str().expect("command");
        assert!(
            command.ends_with(&format!("-p intd -p engine-{engine}")),
            "{command}"
        );
        let workdir = build.get("workdir").and_then(Value::as_str);
        assert_eq!(
            workdir.unwrap_or_default(),
            up.trim_end_matches('/'),
            "{engine}"
        );
        // The comments at the top name this file.
        if !up.is_empty() {
            assert!(text.contains(&format!("spin up -f tests/spin/{engine}.toml")));
        }
        let rights = match engine {
            "keyvalue" => ("key_value_stores", "default"),
            _ => ("allowed_outbound_hosts", "{{ backend }}"),
        };
        assert_eq!(
            at(&manifest, &[intd[0], intd[1], rights.0]),
            &Value::from(vec![rights.1])
        );
        assert_eq!(
            dependency["inherit_configuration"],
            Value::from(vec![rights.0])
        );
    }
}

//! Engines, component files, help, and the cache of compiled components.

use super::*;

#[test]
fn the_engines_are_listed() -> TestResult {
    let place = Place::new()?;
    let outcome = place.run(&["engines"])?;
    assert_eq!(outcome.code, Some(0));
    let help = place.run(&["--help"])?.stdout;
    for engine in int_host::Builtin::ALL {
        let about = engine.about();
        for form in about.dsn {
            assert!(help.contains(form), "no {form:?} in {help}");
        }
        for text in about
            .dsn
            .iter()
            .chain(&[about.name, about.counts(), about.survives])
        {
            assert!(
                outcome.stdout.contains(text),
                "no {text:?} in {}",
                outcome.stdout
            );
        }
    }
    Ok(())
}

#[test]
fn components_are_inspected_and_composed() -> TestResult {
    let place = Place::new()?;
    let file = target::component("misbehaving")?;
    let outcome = place.run(&["inspect", file.to_str().expect("UTF-8")])?;
    assert_eq!(outcome.code, Some(0));
    for text in [
        "artisanal:integers/engine@0.1.0",
        "engine-provider",
        "wasi:sockets/",
    ] {
        assert!(outcome.stdout.contains(text), "{}", outcome.stdout);
    }
    // Flakes with a given node number are not composed: see `flake.rs`.
    let counting = |engine: &int_host::Builtin| !engine.about().clock;
    for engine in int_host::Builtin::ALL.into_iter().filter(counting) {
        let name = engine.about().name;
        let composed = place.file(&format!("intd-{name}.wasm"));
        let composed = composed.to_str().expect("UTF-8");
        let outcome = place.run(&["compose", "--engine", name, "-o", composed])?;
        assert_eq!(outcome.code, Some(0), "{name}: {outcome:?}");
        let outcome = place.run(&["inspect", composed])?;
        let (exports, imports) = outcome
            .stdout
            .split_once("imports:")
            .unwrap_or_else(|| panic!("{outcome:?}"));
        assert!(
            exports.contains("wasi:http/handler@0.3.0"),
            "{name}: {exports}"
        );
        assert!(
            !imports.contains("artisanal:integers/engine"),
            "{name}: {imports}"
        );
        assert!(imports.contains("wasi:config/store"), "{name}: {imports}");
        // The composed component is not an engine, and minting with it fails with an explanation.
        let outcome = place.run(&["--component", composed])?;
        outcome.assert_failed(8, &["does not export artisanal:integers/engine"]);
    }
    let outcome = place.run(&["compose", "--engine", "memory", "-o", "/dev/null/x.wasm"])?;
    outcome.assert_failed(8, &["/dev/null/x.wasm"]);
    Ok(())
}

#[test]
fn a_component_file_mints_like_a_built_in_engine() -> TestResult {
    let place = Place::new()?;
    let file = place.file("memory.wasm");
    std::fs::write(&file, int_host::Builtin::Memory.wasm()).expect("written");
    let file = file.to_str().expect("UTF-8");
    assert_eq!(place.mint(&["--component", file, "--count", "2"])?, [2, 4]);
    Ok(())
}

#[test]
fn completions_are_scripts_of_the_shell() -> TestResult {
    let place = Place::new()?;
    for (shell, text) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef"),
        ("fish", "complete -c"),
    ] {
        let outcome = place.run(&["completions", shell])?;
        assert_eq!(outcome.code, Some(0));
        assert!(outcome.stdout.contains(text), "{shell}");
        assert!(outcome.stdout.contains("continuous"), "{shell}");
    }
    assert_eq!(place.run(&["completions", "cmd.exe"])?.code, Some(2));
    Ok(())
}

#[test]
fn help_tells_every_flag_and_code() -> TestResult {
    let place = Place::new()?;
    let outcome = place.run(&["--help"])?;
    assert_eq!(outcome.code, Some(0));
    for text in [
        "--engine",
        "--dsn",
        "--dsn-file",
        "--key",
        "--count",
        "--continuous",
        "--set-last-int",
        "--set-increment",
        "--set-offset",
        "--data",
        "--component",
        "--allow-host",
        "ARTISANAL_DSN",
        "last",
        "serve",
        "engines",
        "inspect",
        "compose",
        "completions",
        "Exit codes",
    ] {
        assert!(
            outcome.stdout.contains(text),
            "no {text} in {}",
            outcome.stdout
        );
    }
    let outcome = place.run(&["--version"])?;
    assert_eq!(
        outcome.stdout.trim(),
        concat!("int-host ", env!("CARGO_PKG_VERSION"))
    );
    Ok(())
}

#[test]
fn components_are_compiled_once_and_damage_to_the_cache_costs_only_time() -> TestResult {
    let place = Place::new()?;
    let cache = place.file("cache");
    let mint = || {
        let mut command = place.command(&["--engine", "memory"])?;
        command.env("ARTISANAL_CACHE", &cache);
        TestResult::Ok(run(command)?.integers())
    };
    let entries = || {
        let mut found: Vec<_> = std::fs::read_dir(&cache)
            .expect("the cache")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| {
                let written = path.metadata().and_then(|about| about.modified());
                (path, written.expect("a time"))
            })
            .collect();
        found.sort();
        found
    };
    assert_eq!(mint()?, [2]);
    let first = entries();
    assert_eq!(first.len(), 1, "one component, one entry: {first:?}");
    assert_eq!(mint()?, [2]);
    assert_eq!(entries(), first, "the entry was used, not made anew");
    // The entry is truncated, emptied, overwritten, and replaced by a folder.
    let file = &first[0].0;
    let whole = std::fs::read(file).expect("read");
    for damage in [&whole[..whole.len() / 2], b"", b"something else"] {
        std::fs::write(file, damage).expect("written");
        assert_eq!(mint()?, [2]);
        assert_eq!(std::fs::read(file).expect("read"), whole, "made anew");
    }
    std::fs::remove_file(file).expect("removed");
    std::fs::create_dir(file).expect("made");
    assert_eq!(mint()?, [2]);
    let mut command = place.command(&["--engine", "memory", "--no-cache"])?;
    command.env_remove("ARTISANAL_CACHE");
    command.env("XDG_CACHE_HOME", place.file("unused"));
    assert_eq!(run(command)?.integers(), [2]);
    assert!(!place.file("unused").exists());
    Ok(())
}

/// Any problem with the cache costs only time.
#[test]
fn a_cache_that_cannot_be_used_is_not_fatal() -> TestResult {
    let place = Place::new()?;
    let with = |cache: &Path| {
        let mut command = place.command(&["--engine", "memory"])?;
        command.env("ARTISANAL_CACHE", cache);
        TestResult::Ok(command)
    };
    // A folder that others can write to is neither read nor written.
    let open = place.file("open");
    std::fs::create_dir(&open).expect("made");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).expect("set");
    let outcome = run(with(&open)?)?;
    assert_eq!(outcome.integers(), [2]);
    assert!(outcome.stderr.contains("--cache"), "{}", outcome.stderr);
    assert_eq!(std::fs::read_dir(&open).expect("read").count(), 0);
    // The path of the cache, or of its parent, is a file.
    let file = place.file("file");
    std::fs::write(&file, "").expect("written");
    assert_eq!(run(with(&file)?)?.integers(), [2]);
    assert_eq!(run(with(&file.join("below"))?)?.integers(), [2]);
    // The disk is full in the middle of the entry. (A much lower limit would also prevent the runtime from
    // creating linear memories.)
    let small = place.file("small");
    let command = with(&small)?;
    let script = "trap '' XFSZ && ulimit -f 256 && exec \"$@\"";
    let outcome = run(within_shell(script, &command))?;
    assert_eq!(outcome.integers(), [2]);
    assert_eq!(std::fs::read_dir(&small).expect("read").count(), 0);
    assert_eq!(run(with(&small)?)?.integers(), [2]);
    assert_eq!(std::fs::read_dir(&small).expect("read").count(), 1);
    Ok(())
}

/// All processes find an empty cache, compile, and write the same entry.
#[test]
fn processes_may_fill_the_cache_at_once() -> TestResult {
    let place = Place::new()?;
    let cache = place.file("cache");
    let minted: TestResult<Vec<_>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut command = place.command(&["--engine", "memory"])?;
                    command.env("ARTISANAL_CACHE", &cache);
                    TestResult::Ok(run(command)?.integers())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert_eq!(minted?, [[2]; 4]);
    assert_eq!(std::fs::read_dir(&cache).expect("read").count(), 1);
    Ok(())
}

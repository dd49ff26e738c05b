use super::*;
use std::collections::BTreeSet;

const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

/// Another component: one with a custom section, named `x`.
const OTHER: &[u8] = b"\0asm\x0d\0\x01\0\0\x02\x01x";

/// A cache with one entry, the compiler that made it, and where the entry is.
struct Filled {
    _directory: tempfile::TempDir,
    cache: Cache,
    engine: Engine,
    entry: PathBuf,
    whole: Vec<u8>,
}

impl Filled {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("deep/er"));
        let engine = Engine::default();
        cache.load(&engine, EMPTY).unwrap();
        let found: Vec<_> = files(&cache.directory).into_iter().collect();
        let [entry] = &found[..] else {
            panic!("one entry, not {found:?}")
        };
        Self {
            whole: fs::read(entry).unwrap(),
            entry: entry.clone(),
            _directory: directory,
            cache,
            engine,
        }
    }

    fn read(&self) -> io::Result<Entry> {
        read(&self.entry, &key(&self.engine, EMPTY))
    }

    /// The entry is not used, and loading recreates it.
    fn assert_refused(&self, why: &str) {
        let error = self.read().err().unwrap_or_else(|| panic!("{why}: used"));
        assert_ne!(error.kind(), io::ErrorKind::NotFound, "{why}: {error}");
        self.cache.load(&self.engine, EMPTY).unwrap();
        let entry = self.read().unwrap_or_else(|e| panic!("{why}: {e}"));
        assert_eq!(entry.0, self.whole, "{why}: made anew");
        assert_eq!(files(&self.cache.directory).len(), 1, "{why}: left over");
    }
}

fn files(directory: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[test]
fn damaged_entries_are_made_anew() {
    let filled = Filled::new();
    let whole = &filled.whole;
    assert_eq!(filled.read().unwrap().code(), &whole[CHECKSUM_BYTES..]);
    for damaged in [
        &[][..],
        &whole[..10],
        &whole[..CHECKSUM_BYTES],
        &whole[..whole.len() / 2],
        &whole[..whole.len() - 1],
        &[&whole[..], b"x"].concat(),
        &whole[1..],
    ] {
        fs::write(&filled.entry, damaged).unwrap();
        filled.assert_refused(&format!("{} of {} bytes", damaged.len(), whole.len()));
    }
    // One flipped bit in the checksum, and in several places of the rest.
    for at in (0..CHECKSUM_BYTES).chain((0..8).map(|part| whole.len() * part / 8)) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&filled.entry, flipped).unwrap();
        filled.assert_refused(&format!("a bit of byte {at}"));
    }
}

#[test]
fn entries_of_something_else_are_not_used() {
    let filled = Filled::new();
    // A complete entry of the same compiler under the wrong name: valid code, but of another component.
    filled.cache.load(&filled.engine, OTHER).unwrap();
    let other = filled.cache.path(&key(&filled.engine, OTHER));
    fs::rename(other, &filled.entry).unwrap();
    filled.assert_refused("of another component");
    // A complete entry, compiled with other settings.
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    filled.cache.load(&engine, EMPTY).unwrap();
    let other = filled.cache.path(&key(&engine, EMPTY));
    fs::rename(other, &filled.entry).unwrap();
    filled.assert_refused("of another compiler");
}

#[test]
fn keys_depend_on_content_and_compiler() {
    let plain = Engine::default();
    let with = |change: &dyn Fn(&mut wasmtime::Config)| {
        let mut config = wasmtime::Config::new();
        change(&mut config);
        key(&Engine::new(&config).unwrap(), EMPTY)
    };
    let mut keys = vec![
        key(&plain, EMPTY),
        key(&plain, OTHER),
        with(&|config| {
            config.epoch_interruption(true);
        }),
        with(&|config| {
            config.memory_reservation(1 << 20);
        }),
        with(&|config| {
            config.cranelift_opt_level(wasmtime::OptLevel::None);
        }),
        with(&|config| {
            config
                .module_version(wasmtime::ModuleVersionStrategy::Custom("other".into()))
                .unwrap();
        }),
    ];
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if std::is_x86_feature_detected!("sse4.1") {
        // A target CPU with fewer features.
        keys.push(with(&|config| {
            config.target("x86_64-unknown-linux-gnu").unwrap();
        }));
    }
    assert_eq!(keys[0], key(&Engine::default(), EMPTY));
    let different: BTreeSet<_> = keys
        .iter()
        .map(blake3::Hash::to_hex)
        .map(|hex| hex.to_string())
        .collect();
    assert_eq!(different.len(), keys.len());
}

#[test]
fn a_cache_that_cannot_be_written_is_not_fatal() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let cache = Cache::new(file.path().join("below-a-file"));
    cache.load(&Engine::default(), EMPTY).unwrap();
    let cache = Cache::new(file.path().to_owned());
    cache.load(&Engine::default(), EMPTY).unwrap();
}

#[test]
fn several_may_fill_it_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::new(directory.path().join("new"));
    let engine = Engine::default();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    cache.load(&engine, EMPTY).unwrap();
                    fs::remove_file(cache.path(&key(&engine, EMPTY))).ok();
                    cache.load(&engine, EMPTY).unwrap();
                }
            });
        }
    });
    cache.load(&engine, EMPTY).unwrap();
    assert_eq!(files(&cache.directory).len(), 1);
    read(&cache.path(&key(&engine, EMPTY)), &key(&engine, EMPTY)).unwrap();
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn allow(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_this_user_alone() {
        let filled = Filled::new();
        assert_eq!(mode(&filled.cache.directory), 0o700);
        assert_eq!(mode(&filled.entry), 0o600);
    }

    #[test]
    fn entries_that_others_may_write_are_not_used() {
        let filled = Filled::new();
        for open in [0o620, 0o602, 0o666] {
            allow(&filled.entry, open);
            filled.assert_refused(&format!("mode {open:o}"));
            assert_eq!(mode(&filled.entry), 0o600);
        }
        allow(&filled.entry, 0o644);
        filled.read().unwrap();
    }

    #[test]
    fn what_is_no_file_is_not_used() {
        let filled = Filled::new();
        let elsewhere = filled.cache.directory.join("../elsewhere");
        fs::rename(&filled.entry, &elsewhere).unwrap();
        symlink(&elsewhere, &filled.entry).unwrap();
        filled.assert_refused("a symbolic link");
        fs::remove_file(&filled.entry).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &filled.entry,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        filled.assert_refused("a pipe");
        fs::remove_file(&filled.entry).unwrap();
        fs::create_dir(&filled.entry).unwrap();
        assert!(filled.read().is_err());
        filled.cache.load(&filled.engine, EMPTY).unwrap();
    }

    #[test]
    fn directories_that_others_may_write_are_not_used() {
        let filled = Filled::new();
        for open in [0o720, 0o702, 0o777, 0o1777] {
            allow(&filled.cache.directory, open);
            assert!(filled.cache.prepare().is_err(), "mode {open:o}");
            filled.cache.load(&filled.engine, OTHER).unwrap();
            assert_eq!(
                files(&filled.cache.directory).len(),
                1,
                "something was written"
            );
        }
        allow(&filled.cache.directory, 0o755);
        filled.cache.prepare().unwrap();
    }

    /// Needs root, since only root may change the owner of a file.
    #[test]
    fn what_belongs_to_others_is_not_used() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        const NOBODY: u32 = 65534;
        let filled = Filled::new();
        chown(&filled.entry, Some(NOBODY), None).unwrap();
        filled.assert_refused("of another user");
        chown(&filled.cache.directory, Some(NOBODY), None).unwrap();
        assert!(filled.cache.prepare().is_err());
        filled.cache.load(&filled.engine, OTHER).unwrap();
        assert_eq!(
            files(&filled.cache.directory).len(),
            1,
            "something was written"
        );
    }
}

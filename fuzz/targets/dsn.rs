//! DSNs, which the host takes addresses from and the engines everything else.
#![no_main]

use engine_dsn::{Address, Dsn, take_param};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (rest, _) = take_param(text, "lease");
    assert!(rest.len() <= text.len());
    let _ = Address::parse(text);
    let Ok(dsn) = text.parse::<Dsn>() else {
        return;
    };
    assert!(!dsn.scheme().is_empty());
    for address in dsn.addresses() {
        assert!(!address.host.is_empty());
        // The host and the engine read the same address.
        let shown = address.to_string();
        assert_eq!(Address::parse(&shown).as_ref(), Ok(address), "{shown}");
    }
    // A password is in no output.
    if let Some(password) = dsn.password() {
        let (shown, password) = (format!("{dsn:?}"), password.reveal());
        assert!(password.len() < 8 || !shown.contains(password), "{shown}");
    }
});

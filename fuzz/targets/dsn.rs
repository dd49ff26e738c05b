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
    // Nothing else is shown: no password, and nothing that may have one in it.
    let (scheme, addresses) = (dsn.scheme(), dsn.addresses());
    assert_eq!(
        format!("{dsn:?}"),
        format!("Dsn {{ scheme: {scheme:?}, addresses: {addresses:?}, .. }}")
    );
});

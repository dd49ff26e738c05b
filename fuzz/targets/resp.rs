//! Requests of the Redis protocol.
#![no_main]

#[path = "../../host/src/serve/resp/request.rs"]
mod request;

use libfuzzer_sys::fuzz_target;
use request::Request;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let mut request = Request::default();
    while let Ok(Some(length)) = request.read(rest) {
        assert!(length > 0 && length <= rest.len());
        let arguments: usize = request.arguments(rest).map(<[u8]>::len).sum();
        assert!(arguments <= length);
        // Bytes that have not arrived make no other request of those that have.
        let found: Vec<_> = request.arguments(rest).map(<[u8]>::to_vec).collect();
        let mut again = Request::default();
        let part = rest.get(..length).unwrap_or_default();
        assert_eq!(again.read(part), Ok(Some(length)));
        assert!(again.arguments(part).eq(found.iter().map(Vec::as_slice)));
        rest = rest.get(length..).unwrap_or_default();
    }
});

//! Free TCP ports on the loopback address.

use crate::error::{Error, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// The range that ports are chosen from: above those of well-known services and below the kernel's ephemeral
/// ports (32768 and up on Linux). Otherwise an outgoing connection could occupy a server's port while that
/// server is down.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// Returns a port on which nothing listens. This process does not return it again until the range is used up,
/// but another process may take it, so the caller must be prepared to retry with another port.
///
/// # Errors
/// [`Error::NoPort`] when no port in the range is free.
pub fn free() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let width = RANGE.end - RANGE.start;
    // Processes start at positions that are far apart (7919 is prime), so that they seldom try the same port.
    let start = u16::try_from(std::process::id() % u32::from(width)).unwrap_or(0);
    for _ in 0..width {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % width;
        let place = (u32::from(start) * 7919 + u32::from(step)) % u32::from(width);
        let port = RANGE.start + u16::try_from(place).unwrap_or(0);
        if is_free(port) {
            return Ok(port);
        }
    }
    Err(Error::NoPort(RANGE))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

//! Free TCP ports on the loopback address.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports are taken from here: above those of well-known services and below those that the
/// kernel gives to outgoing connections (32768 and up on Linux), one of which could otherwise sit
/// on a server's port while that server is down.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// A port on which nobody listens. Not given out again by this process; another process may
/// take it, so whoever starts a server on it must be ready to ask for another one.
///
/// # Panics
/// When there is none.
pub fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let width = RANGE.end - RANGE.start;
    // Processes begin far from each other (7919 is prime), so that they seldom look at the same
    // port.
    let start = u16::try_from(std::process::id() % u32::from(width)).unwrap_or(0);
    for _ in 0..width {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % width;
        let place = (u32::from(start) * 7919 + u32::from(step)) % u32::from(width);
        let port = RANGE.start + u16::try_from(place).unwrap_or(0);
        if is_free(port) {
            return port;
        }
    }
    panic!("no free port in {RANGE:?}");
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

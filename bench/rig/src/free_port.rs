//! Ports of the loopback for those who need one.

use std::sync::atomic::{AtomicU32, Ordering};

/// A port of this machine's loopback that nothing listens on. No port is given twice in a process; and it is below those
/// that the kernel gives to outgoing connections, of which one could have it by the time that it is used.
///
/// # Panics
/// All are in use.
#[must_use]
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 13_000..32_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let free = (0..PORTS.len()).find_map(|_| {
        // Processes at the same time begin in different places.
        let at = std::process::id().wrapping_mul(61).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS.start + at % PORTS.len() as u32) as u16;
        std::net::TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    });
    free.expect("a port that is free")
}

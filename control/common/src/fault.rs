//! Places where a test can have a program killed, or a thread panic or stand still, to see what becomes of the rest, and a way to have it
//! notice that it was resumed. Not in release builds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// As kill -9, when the environment variable `PDMV2_FAULT` names this place.
#[inline]
pub fn point(place: &str) {
    if cfg!(debug_assertions) && std::env::var_os("PDMV2_FAULT").is_some_and(|wanted| wanted == place) {
        tracing::error!(place, "killed by the test that asked for it");
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// A defect, when the environment variable `PDMV2_FAULT` names this place.
///
/// # Panics
/// Then.
pub fn panic_point(place: &str) {
    let wanted = cfg!(debug_assertions) && std::env::var_os("PDMV2_FAULT").is_some_and(|wanted| wanted == place);
    assert!(!wanted, "a defect that a test asked for");
}

/// Nothing more until the stop, when the environment variable `PDMV2_FAULT` names this place.
pub fn still_point(place: &str, stop: &AtomicBool) {
    while cfg!(debug_assertions)
        && std::env::var_os("PDMV2_FAULT").is_some_and(|wanted| wanted == place)
        && !stop.load(Ordering::Relaxed)
    {
        std::thread::sleep(Duration::from_millis(10));
    }
}

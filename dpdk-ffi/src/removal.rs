//! Devices that the kernel asks back (vfio-pci: 'Relaying device request to user'), or that are gone: DPDK says so by
//! callbacks, on its own thread; here they become a flag for each port.

use crate::sys;
use core::ffi::{c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};
use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// By port number.
static ASKED_BACK: [AtomicBool; sys::RTE_MAX_ETHPORTS as usize] =
    [const { AtomicBool::new(false) }; sys::RTE_MAX_ETHPORTS as usize];

/// The ports in use and the devices they are on.
static WATCHED: Mutex<Vec<(String, u16)>> = Mutex::new(Vec::new());

fn watched() -> MutexGuard<'static, Vec<(String, u16)>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has DPDK say which devices are asked back. Called once, when the EAL has started.
pub(crate) fn listen() {
    // SAFETY: no device name stands for all devices; the callback is a function of this program and its argument is not
    // used. DPDK refuses only when it has no memory for the entry; then nothing is heard, as without this.
    unsafe { sys::rte_dev_event_callback_register(core::ptr::null(), Some(device_event), core::ptr::null_mut()) };
}

/// Listens for the port of this number too, which is given out now.
pub(crate) fn watch(port: u16) {
    flag(port, false);
    if let Some(device) = device_of(port) {
        watched().push((device.name, port));
    }
    let event = sys::rte_eth_event_type_RTE_ETH_EVENT_INTR_RMV;
    // SAFETY: the port exists; the callback is a function of this program and its argument is not used. As above.
    unsafe { sys::rte_eth_dev_callback_register(port, event, Some(port_event), core::ptr::null_mut()) };
}

/// No more: the port is about to be closed.
pub(crate) fn unwatch(port: u16) {
    watched().retain(|&(_, watched)| watched != port);
}

/// Whether another port than this one is in use on this device.
pub(crate) fn is_shared(device: &str, port: u16) -> bool {
    watched().iter().any(|(name, other)| name == device && *other != port)
}

/// Whether this port's device is gone or asked back.
pub(crate) fn removed(port: u16) -> bool {
    ASKED_BACK.get(usize::from(port)).is_some_and(|flag| flag.load(Ordering::Relaxed)) || gone(port)
}

/// Whether it is gone: nothing that is read of it means anything.
pub(crate) fn gone(port: u16) -> bool {
    // SAFETY: the port exists. Drivers that cannot tell say that it is there.
    unsafe { sys::rte_eth_dev_is_removed(port) == 1 }
}

fn flag(port: u16, asked: bool) {
    if let Some(flag) = ASKED_BACK.get(usize::from(port)) {
        flag.store(asked, Ordering::Relaxed);
    }
}

/// What a port is on.
pub(crate) struct Device {
    /// The bus, by DPDK's name.
    pub bus: String,
    /// As the bus names it.
    pub name: String,
}

/// The device a port is on.
pub(crate) fn device_of(port: u16) -> Option<Device> {
    let mut info = sys::rte_eth_dev_info::default();
    // SAFETY: a string of DPDK's that lives as long as the device, and is copied here.
    let text =
        |text: *const c_char| unsafe { (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned()) };
    // SAFETY: the port exists; the answer's place is of its type; a device has a bus, which is there for good.
    unsafe {
        if sys::rte_eth_dev_info_get(port, &raw mut info) < 0 || info.device.is_null() {
            return None;
        }
        let bus = text(sys::rte_bus_name(sys::rte_dev_bus(info.device)))?;
        Some(Device { bus, name: text(sys::rte_dev_name(info.device))? })
    }
}

/// On DPDK's thread: something is the matter with a device.
unsafe extern "C" fn device_event(device: *const c_char, event: sys::rte_dev_event_type, _: *mut c_void) {
    if event != sys::rte_dev_event_type_RTE_DEV_EVENT_REMOVE || device.is_null() {
        return;
    }
    // SAFETY: DPDK hands over a terminated string.
    let device = unsafe { CStr::from_ptr(device) }.to_bytes();
    for (_, port) in watched().iter().filter(|(name, _)| name.as_bytes() == device) {
        flag(*port, true);
    }
}

/// On DPDK's thread: the driver has noticed that its device is gone.
unsafe extern "C" fn port_event(port: u16, _: sys::rte_eth_event_type, _: *mut c_void, _: *mut c_void) -> c_int {
    flag(port, true);
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_device_that_is_asked_back_shows_at_its_port_alone() {
        let port = testing::eal().port("net_null2").expect("port");
        assert!(!port.removed());
        let say = |device: &CStr, event| {
            // SAFETY: a terminated string. This is what DPDK does when the kernel's request comes.
            unsafe { sys::rte_dev_event_callback_process(device.as_ptr(), event) };
        };
        say(c"net_null2", sys::rte_dev_event_type_RTE_DEV_EVENT_ADD);
        say(c"net_null", sys::rte_dev_event_type_RTE_DEV_EVENT_REMOVE);
        say(c"net_null22", sys::rte_dev_event_type_RTE_DEV_EVENT_REMOVE);
        assert!(!port.removed());
        say(c"net_null2", sys::rte_dev_event_type_RTE_DEV_EVENT_REMOVE);
        assert!(port.removed());
        // It is still there, and is used until it is closed.
        assert!(port.stats().is_ok());
        drop(port);
        say(c"net_null2", sys::rte_dev_event_type_RTE_DEV_EVENT_REMOVE);
    }
}

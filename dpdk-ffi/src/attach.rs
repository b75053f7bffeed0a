//! Devices that come and go while the process lives: taken by DPDK with all that their drivers need, and given back to the kernel.

use crate::eal::Eal;
use crate::error::{Error, check};
use crate::port::{Port, Stopped};
use crate::sys;
use std::ffi::CString;
use std::sync::Arc;

impl Eal {
    /// Has DPDK take a device, and takes its port. It is named as for the EAL's command line: a PCI address, or a virtual device
    /// such as `net_tap0,iface=tA`, with arguments behind a comma.
    ///
    /// # Errors
    /// There is no such device, its driver refuses it (DPDK's lines on standard error say more), or its port is in use.
    pub fn attach(&self, device: &str) -> Result<Port<Stopped>, Error> {
        let text = CString::new(device).map_err(|_| Error::BadText(device.to_owned()))?;
        let name = device.split(',').next().unwrap_or(device);
        {
            let _nobody_looks_one_up = self.inner.taken();
            // SAFETY: a terminated string, which DPDK copies. Nobody takes or closes a port meanwhile.
            let probe = || unsafe { sys::rte_dev_probe(text.as_ptr()) };
            let mut done = probe();
            // Of a device that was there before DPDK says either.
            if (done == 0 || done == -libc::EEXIST) && !port_exists(name)? {
                // What is left of an attempt that failed half-way.
                remove(name, if is_pci(name) { "pci" } else { "vdev" }, name)?;
                done = probe();
            }
            if done != -libc::EEXIST {
                check(name, "rte_dev_probe", done)?;
            }
        }
        self.port(name)
    }
}

impl Port<Stopped> {
    /// Closes the port, and gives its device back: a PCI device to the kernel's driver, so that whoever unbinds it or another process
    /// may have it; a virtual one is gone. The pools stay.
    ///
    /// # Errors
    /// The driver refuses, or another port in use is on the same device.
    pub fn detach(mut self) -> Result<(), Error> {
        match Arc::get_mut(&mut self.inner) {
            Some(inner) => inner.end(true),
            None => Err(Error::QueuesOut(self.inner.name().to_owned())),
        }
    }
}

/// Has a device leave DPDK. Its port is closed.
pub fn remove(port: &str, bus: &str, device: &str) -> Result<(), Error> {
    let text = |text: &str| CString::new(text).map_err(|_| Error::BadText(text.to_owned()));
    let (bus, device) = (text(bus)?, text(device)?);
    // SAFETY: terminated strings, which DPDK copies; no port on the device is in use.
    check(port, "rte_eal_hotplug_remove", unsafe { sys::rte_eal_hotplug_remove(bus.as_ptr(), device.as_ptr()) })
}

fn port_exists(name: &str) -> Result<bool, Error> {
    let text = CString::new(name).map_err(|_| Error::BadText(name.to_owned()))?;
    let mut id = 0;
    // SAFETY: a terminated string and a place for the answer.
    Ok(unsafe { sys::rte_eth_dev_get_port_by_name(text.as_ptr(), &raw mut id) } == 0)
}

/// Whether a device's name is a PCI address: `0000:3b:00.0`.
fn is_pci(name: &str) -> bool {
    name.contains(':') && name.contains('.')
}

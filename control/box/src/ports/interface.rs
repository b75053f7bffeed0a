//! The kernel's interface that a software port stands on: it may be deleted and made again, and is another one then, of which the
//! port knows nothing.

use crate::config::Device;
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Drivers that stand on an interface which is not their own; that of `net_tap` comes and goes with the port.
const DRIVERS: [&str; 3] = ["net_af_packet", "net_af_xdp", "net_pcap"];

/// An interface, as it was when the port was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The kernel's number for it, which no other one gets. `None`: there was none.
    pub index: Option<u32>,
}

/// How an interface is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Now {
    /// The same as before.
    Same,
    /// There is none of this name.
    Absent,
    /// There is one, but it is another.
    Another,
}

impl Interface {
    /// The interface of a device, if it stands on one.
    #[must_use]
    pub fn of(device: &Device) -> Option<Self> {
        let Device::Virtual(text) = device else { return None };
        if !DRIVERS.iter().any(|driver| text.starts_with(driver)) {
            return None;
        }
        let name = text.split(',').find_map(|argument| argument.strip_prefix("iface="))?;
        Some(Self { name: name.to_owned(), index: index_of(name).ok().flatten() })
    }

    /// How it is now. `None`: the kernel does not say.
    #[must_use]
    pub fn now(&self) -> Option<Now> {
        Some(match index_of(&self.name).ok()? {
            None => Now::Absent,
            index if index == self.index => Now::Same,
            Some(_) => Now::Another,
        })
    }
}

/// The kernel's number of an interface; `None`: there is none of this name.
fn index_of(name: &str) -> Result<Option<u32>, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    match name_to_index(&socket, name) {
        Ok(index) => Ok(Some(index)),
        Err(Errno::NODEV | Errno::NXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_on_an_interface_of_the_kernels_has_one() {
        let of = |text: &str| Interface::of(&Device::Virtual(text.into()));
        let lo = of("net_af_packet0,blocksz=4096,iface=lo").expect("an interface");
        assert!(lo.name == "lo" && lo.index.is_some());
        assert_eq!(lo.now(), Some(Now::Same));
        assert_eq!(Interface { index: Some(u32::MAX), ..lo.clone() }.now(), Some(Now::Another), "made again");
        let none = of("net_af_xdp1,iface=pdmv2-none").expect("an interface that is not there");
        assert_eq!((none.index, none.now()), (None, Some(Now::Absent)));
        for text in ["net_tap0,iface=lo", "net_null0", "net_af_packet0"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(Interface::of(&Device::Pci("0000:3b:00.0,iface=lo".into())), None);
    }
}

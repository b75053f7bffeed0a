//! Errors, with what can be done about them.

use crate::sys;
use std::ffi::CStr;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The EAL was started in this process before; DPDK allows it once.
    #[error("the EAL was started before in this process; DPDK allows it once")]
    SecondEal,
    /// An argument or a name holds a zero octet or is too long.
    #[error("'{0}' cannot be handed to DPDK: it is too long or holds a zero octet")]
    BadText(String),
    /// The EAL did not start.
    #[error(
        "the EAL did not start: {reason}. Its own messages are above. Without hugepages use '--no-huge', '-m', '512'; with \
         them: echo 512 > /proc/sys/vm/nr_hugepages. Root, or the rights to the devices, are needed for most ports"
    )]
    Eal {
        /// DPDK's text.
        reason: String,
    },
    /// A mempool could not be made.
    #[error(
        "no memory for {buffers} packet buffers of {room} octets: {reason}. Use fewer, more hugepages, or a larger '-m'"
    )]
    Mempool {
        /// Buffers asked for.
        buffers: u32,
        /// Octets of each.
        room: u16,
        /// DPDK's text.
        reason: String,
    },
    /// There is no such port.
    #[error("there is no port '{name}'; there are: {there}")]
    NoPort {
        /// Name asked for.
        name: String,
        /// Names there are.
        there: String,
    },
    /// The port was given out before.
    #[error("port '{0}' is in use by this process already")]
    PortTaken(String),
    /// The port cannot do what was asked.
    #[error("port '{port}': {what}")]
    Unable {
        /// Its name.
        port: String,
        /// What it cannot do, and what would help.
        what: String,
    },
    /// The device does not take this MTU.
    #[error("port '{port}' does not take an MTU of {mtu} ({reason}): {limits}")]
    Mtu {
        /// Its name.
        port: String,
        /// What was asked for.
        mtu: u16,
        /// DPDK's text.
        reason: String,
        /// What it takes, and what to write.
        limits: String,
    },
    /// A call of DPDK failed.
    #[error("port '{port}': {call} failed: {reason}")]
    Call {
        /// The port's name.
        port: String,
        /// DPDK's function.
        call: &'static str,
        /// DPDK's text.
        reason: String,
        /// Its error number, positive.
        number: i32,
    },
    /// A port cannot be stopped while its queues are out.
    #[error("port '{0}' cannot be stopped: a worker still has one of its queues")]
    QueuesOut(String),
    /// The thread could not be registered.
    #[error("this thread could not be registered with DPDK: {0}")]
    Thread(String),
}

impl Error {
    /// Whether the driver has no such function at all.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Call { number: libc::ENOTSUP, .. })
    }
}

/// DPDK's text for an error number, which it gives with either sign.
pub(crate) fn text(number: i32) -> String {
    // SAFETY: rte_strerror takes any number and gives a string that lives as long as the thread's next call of it; it is
    // copied before that.
    unsafe { CStr::from_ptr(sys::rte_strerror(number.abs())) }.to_string_lossy().into_owned()
}

/// The text of the thread's `rte_errno`.
pub(crate) fn last() -> String {
    // SAFETY: reads a thread-local number.
    text(unsafe { sys::pdm_errno() })
}

/// What a call about a port gave, as an error when it is one.
pub(crate) fn check(port: &str, call: &'static str, result: i32) -> Result<(), Error> {
    if result < 0 {
        Err(Error::Call { port: port.to_owned(), call, reason: text(result), number: result.abs() })
    } else {
        Ok(())
    }
}

//! The environment: started once per process, cleaned up when nothing made from it is left.

use crate::error::{Error, last};
use crate::pool::Pool;
use crate::{removal, sys};
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

static STARTED: AtomicBool = AtomicBool::new(false);

/// What keeps DPDK's memory mapped. Pools, ports (so their queues too) and registered threads hold one of these. Mbufs do
/// not, since counting them would cost every packet something: they are looked for at the end.
#[derive(Debug)]
pub(crate) struct EalInner {
    /// Ports given out. Held while a port is looked up and while one is closed, so that nobody takes one that is about to go.
    pub taken: Mutex<Vec<u16>>,
    /// Every pool made. DPDK frees none of them before the clean-up.
    pub pools: Mutex<Vec<Pool>>,
    /// Set when something of a driver's may still use the memory, such as a port that could not be stopped.
    pub keep: AtomicBool,
    /// The thread that started the EAL.
    starter: ThreadId,
    /// `argv`, which DPDK keeps pointers into.
    arguments: Vec<CString>,
}

impl EalInner {
    /// The ports given out, with nobody else looking one up or closing one.
    pub fn taken(&self) -> MutexGuard<'_, Vec<u16>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether packets may come in memory of a device's (mlx5, asked for by this argument of its). None of them can be given
    /// back as those of a pool are, and to copy each costs more than that saves.
    pub fn receives_into_devices(&self) -> bool {
        let asks = |argument: &CString| argument.as_bytes().windows(8).any(|part| part == b"mprq_en=");
        self.arguments.iter().any(asks)
    }

    /// Whether a buffer of any pool may be in somebody's hands.
    ///
    /// Called when the last handle goes, so no pool and no queue is left to take a buffer out of: their number only
    /// falls. A buffer in a thread's cache counts as back, and while a thread moves its cache into the pool's ring, a
    /// buffer is for a moment in both: the count would be too low. Only threads with a cache do that: registered ones, of
    /// which there are none any more (each holds a handle), and the one that started the EAL, which is here.
    fn buffers_out(&self) -> bool {
        thread::current().id() != self.starter
            || self.pools.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|pool| pool.in_use() > 0)
    }
}

impl Drop for EalInner {
    fn drop(&mut self) {
        // A leak at the end of the process is harmless, a packet in memory that is gone is not.
        if *self.keep.get_mut() || self.buffers_out() {
            core::mem::forget(core::mem::take(&mut self.arguments));
            return;
        }
        // SAFETY: the EAL runs (this was made after rte_eal_init succeeded), and nothing points into its memory: pools,
        // ports and registered threads each hold an Arc of this, a queue holds its port, and no mbuf is out.
        unsafe { sys::rte_eal_cleanup() };
    }
}

/// The environment abstraction layer.
#[derive(Debug, Clone)]
pub struct Eal {
    pub(crate) inner: Arc<EalInner>,
}

impl Eal {
    /// Starts the EAL with these arguments (without the program's name, which is put in front). The calling thread's CPU
    /// affinity, which DPDK changes, is put back.
    ///
    /// # Errors
    /// It was started before, or DPDK refuses: its own messages on standard error say more.
    ///
    /// It is cleaned up when the last handle to it is gone, that is this and what was made from it: pools, ports, queues
    /// and registered threads. While an mbuf is still out, or when the last handle goes on another thread than this one,
    /// DPDK's memory stays until the process ends.
    pub fn init<S: AsRef<str>>(arguments: &[S]) -> Result<Self, Error> {
        let texts = core::iter::once("pdmv2-middlebox").chain(arguments.iter().map(AsRef::as_ref));
        let owned =
            texts.map(|t| CString::new(t).map_err(|_| Error::BadText(t.to_owned()))).collect::<Result<Vec<_>, _>>()?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Error::SecondEal);
        }
        // DPDK may exchange the pointers; the strings themselves stay ours.
        let mut argv: Vec<_> = owned.iter().map(|s| s.as_ptr().cast_mut()).collect();
        argv.push(core::ptr::null_mut());
        // SAFETY: sets where lines go, and is meant to be called before the EAL starts: EAL's own choice is standard error
        // and syslog, both of which end in the journal.
        unsafe { sys::pdm_log_to_stderr() };
        let affinity = Affinity::of_this_thread();
        // SAFETY: argc strings and a null pointer, alive for as long as the EAL is (kept in EalInner). Called once.
        let done = unsafe { sys::rte_eal_init((argv.len() - 1) as i32, argv.as_mut_ptr()) };
        affinity.put_back();
        if done < 0 {
            let reason = last();
            // Threads of a half-started EAL may go on, and nobody says that they do not look at these.
            core::mem::forget(owned);
            return Err(Error::Eal { reason });
        }
        removal::listen();
        Ok(Self {
            inner: Arc::new(EalInner {
                taken: Mutex::default(),
                pools: Mutex::default(),
                keep: AtomicBool::new(false),
                starter: thread::current().id(),
                arguments: owned,
            }),
        })
    }
}

/// The CPUs a thread may run on.
struct Affinity(Option<libc::cpu_set_t>);

impl Affinity {
    fn of_this_thread() -> Self {
        // SAFETY: a cpu_set_t is a bit set, for which zeros are valid; the kernel fills it up to its size.
        let (mut set, size) = (unsafe { core::mem::zeroed::<libc::cpu_set_t>() }, size_of::<libc::cpu_set_t>());
        // SAFETY: as above; thread 0 is the calling one.
        let got = unsafe { libc::sched_getaffinity(0, size, &raw mut set) };
        Self((got == 0).then_some(set))
    }

    fn put_back(self) {
        if let Some(set) = self.0 {
            // SAFETY: the set is initialised and of this size.
            unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
        }
    }
}

/// A thread that DPDK knows, and that so has a share in the mempools' caches. Ends when dropped, on the same thread.
#[derive(Debug)]
pub struct ThreadRegistration {
    _eal: Eal,
    _not_send: PhantomData<*const ()>,
}

impl ThreadRegistration {
    /// Registers the calling thread, which must not be one of the EAL's own.
    ///
    /// # Errors
    /// DPDK has no place left (`--lcores` and RTE_MAX_LCORE bound it), or another process shares its memory.
    pub fn new(eal: &Eal) -> Result<Self, Error> {
        // SAFETY: the EAL runs.
        if unsafe { sys::rte_thread_register() } < 0 {
            return Err(Error::Thread(last()));
        }
        Ok(Self { _eal: eal.clone(), _not_send: PhantomData })
    }
}

impl Drop for ThreadRegistration {
    fn drop(&mut self) {
        // SAFETY: this thread registered itself (the type is not Send), and the EAL still runs.
        unsafe { sys::rte_thread_unregister() };
    }
}

/// Has no descriptor that is open now go on to programs that this process starts. DPDK opens devices without saying so: a program
/// that has a group of vfio from here would keep it from whoever is to have it next, itself among them.
///
/// # Errors
/// The kernel cannot (before Linux 5.11).
pub fn keep_descriptors() -> std::io::Result<()> {
    // The standard streams are meant to go on.
    // SAFETY: it closes nothing now, and marks what is open; no memory is touched.
    let done = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// The time stamp counter.
#[inline]
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: reads a counter.
    unsafe { sys::pdm_tsc() }
}

/// Its frequency, cycles per second. 0 before [`Eal::init`].
#[must_use]
pub fn tsc_hz() -> u64 {
    // SAFETY: reads a number that rte_eal_init has set.
    unsafe { sys::rte_get_tsc_hz() }
}

/// How devices address memory, as `--iova-mode` of the EAL has it: `va` or `pa`; `None`: not before [`Eal::init`].
#[must_use]
pub fn iova_mode() -> Option<&'static str> {
    // SAFETY: reads a number that rte_eal_init has set.
    match unsafe { sys::rte_eal_iova_mode() } {
        sys::rte_iova_mode_RTE_IOVA_PA => Some("pa"),
        sys::rte_iova_mode_RTE_IOVA_VA => Some("va"),
        _ => None,
    }
}

/// DPDK's version, such as `DPDK 22.11.11`.
#[must_use]
pub fn version() -> String {
    // SAFETY: gives a static, terminated string.
    unsafe { CStr::from_ptr(sys::rte_version()) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn what_dpdk_has_opened_stays_with_this_process() {
        // As DPDK opens it.
        // SAFETY: a terminated name; the descriptor is not closed, since other tests of this process might have its number.
        let opened = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY) };
        assert!(opened > 2);
        let seen = || {
            let test = format!("[ -e /proc/self/fd/{opened} ]");
            Command::new("sh").args(["-c", &test]).status().expect("sh").success()
        };
        assert!(seen());
        keep_descriptors().expect("a kernel that can");
        assert!(!seen());
    }
}

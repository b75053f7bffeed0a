//! What has to be gone when a run ends, however it ends: each thing is taken down by the `Drop` of its owner, and all of
//! them on SIGINT and SIGTERM. What a killed run left behind goes when the next one starts.

use crate::command;
use crate::hugepages::Taken;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

/// What every namespace and directory of the rig is called first; the process id follows.
pub const PREFIX: &str = "pdmv2-";

/// Something outside this process that it made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A child process.
    Process(u32),
    /// A network namespace by name.
    Namespace(String),
    /// A directory with everything in it.
    Directory(PathBuf),
    /// Hugepages that the kernel set aside for it.
    Hugepages(Taken),
}

static ITEMS: Mutex<Vec<Item>> = Mutex::new(Vec::new());

fn items() -> MutexGuard<'static, Vec<Item>> {
    ITEMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers something for the case of a signal, before it is made. With the first comes the signal handler.
pub fn remember(item: Item) {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| match Signals::new([SIGINT, SIGTERM]) {
        Ok(mut signals) => {
            std::thread::spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    eprintln!("\ninterrupted: cleaning up");
                    // The lock stays held: nothing new is made meanwhile.
                    let mut items = items();
                    items.drain(..).rev().for_each(|item| take_down(&item));
                    std::process::exit(128 + signal);
                }
            });
        }
        Err(error) => eprintln!("signals cannot be caught ({error}): Ctrl-C will leave cleaning up to the next run"),
    });
    items().push(item);
}

/// Its owner has taken it down.
pub fn forget(item: &Item) {
    items().retain(|i| i != item);
}

/// Takes one thing down as far as it is there.
pub fn take_down(item: &Item) {
    match item {
        Item::Process(pid) => kill(*pid, Signal::KILL),
        Item::Namespace(name) => {
            let _ = command::run(&["ip", "netns", "del", name], Duration::from_secs(10));
        }
        Item::Directory(path) => {
            let _ = std::fs::remove_dir_all(path);
        }
        Item::Hugepages(taken) => taken.give_back(),
    }
}

/// Sends a signal to one process.
pub fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Takes down what runs left behind that were killed: the names hold their process ids.
pub fn stale() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !of_the_dead(&name) {
            continue;
        }
        let pids = command::run(&["ip", "netns", "pids", &name], Duration::from_secs(10));
        for pid in pids.iter().flat_map(|p| p.stdout.split_whitespace()).filter_map(|p| p.parse().ok()) {
            kill(pid, Signal::KILL);
        }
        take_down(&Item::Namespace(name));
    }
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if of_the_dead(&entry.file_name().to_string_lossy()) && entry.file_type().is_ok_and(|t| t.is_dir()) {
            take_down(&Item::Directory(entry.path()));
        }
    }
}

/// Whether a name is one of the rig's, of a process that is no more: `pdmv2-PID-N` and what follows.
fn of_the_dead(name: &str) -> bool {
    let mut parts = name.strip_prefix(PREFIX).unwrap_or_default().split('-');
    let pid = parts.next().and_then(|p| p.parse::<u32>().ok());
    let numbered = parts.next().is_some_and(|n| n.parse::<u32>().is_ok());
    pid.is_some_and(|pid| numbered && !Path::new(&format!("/proc/{pid}")).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_dead_processes_are_stale() {
        let own = std::process::id();
        assert!(!of_the_dead(&format!("pdmv2-{own}-0-host-a")));
        // Above the largest process id there can be (PID_MAX_LIMIT is 2^22).
        assert!(of_the_dead("pdmv2-4194305-0-host-a"));
        assert!(of_the_dead("pdmv2-4194305-0"));
        for other in ["pdmv2-", "pdmv2-keys", "pdmv2-4194305", "pdmv2-4194305-keys", "4194305-0", "hosts", ""] {
            assert!(!of_the_dead(other), "{other}");
        }
    }
}

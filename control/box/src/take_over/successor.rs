//! Starts the process that is to take over: the same program, from where it was installed, with the same arguments. It is this
//! one's child, so it stays within the unit, and what it writes goes where this one's lines go.

use crate::status::Status;
use common::admin::{Failure, Successor};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The argument that has it take over.
pub const ARGUMENT: &str = "--take-over";
/// Between two looks whether the child has ended.
const LOOK: Duration = Duration::from_millis(100);
/// A program starts within this.
const STARTING: Duration = Duration::from_secs(10);

/// For others to say why a child has ended.
const MOMENT: Duration = Duration::from_millis(500);

type Answer = Result<u32, String>;

/// How the program is started again.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// As this process was. At its start: a package that is installed later puts another file in its place, under this name.
    ///
    /// # Errors
    /// The kernel does not say what file this is.
    pub fn own() -> std::io::Result<Self> {
        let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
        if !arguments.iter().any(|argument| argument == ARGUMENT) {
            arguments.push(ARGUMENT.into());
        }
        Ok(Self { path: std::env::current_exe()?, arguments })
    }

    fn start(&self) -> Result<Child, String> {
        // The devices are to be free when this process lets go of them, and not be held open by the other one.
        dpdk_ffi::keep_descriptors().map_err(|error| format!("descriptors cannot be kept from it: {error}"))?;
        // systemd's word on which process is to be alive names this one.
        let child = Command::new(&self.path).args(&self.arguments).env_remove("WATCHDOG_PID").spawn();
        child.map_err(|error| format!("{} cannot be started: {error}", self.path.display()))
    }
}

/// Starts successors, one at a time, on a thread of its own: the child of a thread beside the workers' cores would be beside them too.
pub struct Successors {
    starter: Starter,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Asks for one.
#[derive(Clone, Debug)]
pub struct Starter {
    order: Sender<SyncSender<Answer>>,
    /// Whether one was asked for and has not ended.
    busy: Arc<AtomicBool>,
}

impl Successors {
    /// From now on, when one is asked for.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(program: Program, status: Arc<Status>) -> std::io::Result<Self> {
        let (order, orders) = channel();
        let (stop, busy) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let serving = Serving { program, status, stop: Arc::clone(&stop), busy: Arc::clone(&busy) };
        let thread = std::thread::Builder::new().name("successors".into()).spawn(move || serving.serve(&orders))?;
        Ok(Self { starter: Starter { order, busy }, stop, thread: Some(thread) })
    }

    /// Where one is asked for.
    #[must_use]
    pub fn starter(&self) -> Starter {
        self.starter.clone()
    }
}

impl Drop for Successors {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Serving {
    program: Program,
    status: Arc<Status>,
    stop: Arc<AtomicBool>,
    busy: Arc<AtomicBool>,
}

impl Serving {
    fn serve(&self, orders: &Receiver<SyncSender<Answer>>) {
        while !self.stops() {
            let Ok(answer) = orders.recv_timeout(LOOK) else { continue };
            match self.program.start() {
                Ok(child) => {
                    let process = child.id();
                    tracing::info!(process, program = %self.program.path.display(), "a process is started that is to take over");
                    let _ = answer.send(Ok(process)); // who asked may have gone
                    self.look_after(child);
                }
                Err(why) => drop(answer.send(Err(why))),
            }
            self.busy.store(false, Ordering::SeqCst);
        }
    }

    /// Until it has ended, which nobody else would take note of, or this process has: then it goes on.
    fn look_after(&self, mut child: Child) {
        let failed = self.status.take_overs_failed();
        let why = loop {
            match child.try_wait() {
                Ok(Some(ended)) => break format!("has ended: {ended}"),
                Err(error) => break format!("cannot be looked at: {error}"),
                Ok(None) if self.stops() => return,
                Ok(None) => std::thread::sleep(LOOK),
            }
        };
        tracing::error!(process = child.id(), "the process that was to take over {why}");
        // What it has said itself tells more, and so does what became of it while it took over.
        std::thread::sleep(MOMENT);
        if self.status.take_overs_failed() == failed {
            self.status
                .take_over_failed(&format!("the process that was to take over {why}; its lines in the log say more"));
        }
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

impl Starter {
    /// Starts one, which then takes over by itself.
    ///
    /// # Errors
    /// One is under way, or the program cannot be started.
    pub fn successor(&self) -> Result<Successor, Failure> {
        let failure =
            |error: &str, remedy: &str| Failure { error: error.into(), remedy: remedy.into(), known: Vec::new() };
        if self.busy.swap(true, Ordering::SeqCst) {
            let error = "a process that is to take over was started already, and has not come to its end";
            return Err(failure(error, "wait for it; 'pdmv2 status' says what became of it"));
        }
        let (answer, told) = sync_channel(1);
        let told = self.order.send(answer).ok().and_then(|()| told.recv_timeout(STARTING).ok());
        match told {
            Some(Ok(process)) => Ok(Successor { process, from_process: std::process::id() }),
            Some(Err(why)) => Err(failure(&why, "install the program at its place again")),
            None => Err(failure("the program does not start", "look at the box's log")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(script: &str) -> (Successors, Arc<Status>) {
        let program = Program { path: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] };
        let status = Arc::<Status>::default();
        (Successors::start(program, Arc::clone(&status)).expect("a thread"), status)
    }

    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let start = std::time::Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(30), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn one_at_a_time_is_started_and_its_end_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let go = dir.path().join("go");
        let (successors, status) = lab(&format!("while ! test -e {}; do sleep 0.05; done; exit 3", go.display()));
        let starter = successors.starter();
        let first = starter.successor().expect("started");
        assert!(first.process != std::process::id() && first.from_process == std::process::id());
        assert!(starter.successor().expect_err("one is under way").error.contains("started already"));
        std::fs::write(&go, "").expect("written");
        until("its end is told", || status.take_overs_failed() == 1);
        until("another may come", || starter.successor().is_ok());
        until("it ends too", || status.take_overs_failed() == 2);
    }

    #[test]
    fn a_program_that_is_gone_is_named() {
        let program = Program { path: "/nowhere/box".into(), arguments: Vec::new() };
        let successors = Successors::start(program, Arc::default()).expect("a thread");
        let starter = successors.starter();
        for _ in 0..2 {
            let said = starter.successor().expect_err("there is none");
            if !said.error.contains("started already") {
                assert!(said.error.contains("/nowhere/box cannot be started"), "{said:?}");
            }
        }
    }

    #[test]
    fn it_is_started_as_this_process_was_and_told_to_take_over() {
        let program = Program::own().expect("a program");
        assert_eq!(program.path, std::env::current_exe().expect("a program"));
        assert_eq!(program.arguments.iter().filter(|argument| *argument == ARGUMENT).count(), 1);
    }
}

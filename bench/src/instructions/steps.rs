//! Instructions counted by executing them one by one: exact, of whatever this CPU has, AVX-512 included, which valgrind
//! does not know. A step takes microseconds, so only what is between two marks is counted.
//!
//! The process that is counted asks to be traced, then stops itself at either mark. The one that counts starts it, and
//! has the kernel stop it again behind every instruction from the first mark to the second.
//!
//! A repeated string instruction (`rep movsb`) counts once per repetition. The packet path's copies are too short for it.
#![allow(unsafe_code, reason = "ptrace has no safe form")]

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, waitpid};
use std::io::Read;
use std::process::{Child, Command, Stdio};

/// Nothing that is counted takes so many: it has gone astray.
const MOST: u64 = 20_000_000;

/// In the process that is counted: lets the one that started it trace it.
///
/// # Errors
/// The kernel refuses; a container may.
pub fn allow() -> Result<()> {
    request(libc::PTRACE_TRACEME, 0, 0).context("it may not be traced")
}

/// In the process that is counted, behind [`allow`]: where counting begins, or ends.
///
/// # Errors
/// It cannot stop itself.
pub fn mark() -> Result<()> {
    kill_process(getpid(), Signal::STOP).context("it cannot stop itself")
}

/// Instructions between the two marks of a command, those of the marks included. It must end in order afterwards.
///
/// # Errors
/// It does not start, says why it cannot be counted, or makes no two marks.
pub fn count(command: &mut Command) -> Result<u64> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut traced = Traced::new(child.context("it does not start")?)?;
    traced.until_mark()?;
    // Should this process be killed, the other one would stay stopped for ever.
    request(libc::PTRACE_SETOPTIONS, traced.pid(), libc::PTRACE_O_EXITKILL as usize).context("PTRACE_SETOPTIONS")?;
    let mut steps = 0;
    loop {
        request(libc::PTRACE_SINGLESTEP, traced.pid(), 0).context("PTRACE_SINGLESTEP")?;
        let status = traced.wait()?;
        match status.stopping_signal() {
            Some(signal) if signal == Signal::TRAP.as_raw() => steps += 1,
            Some(signal) if signal == Signal::STOP.as_raw() => break,
            _ => bail!("between the marks: {}", traced.told(status)),
        }
        ensure!(steps < MOST, "no second mark within {MOST} instructions");
    }
    request(libc::PTRACE_CONT, traced.pid(), 0).context("PTRACE_CONT")?;
    let status = traced.wait()?;
    ensure!(status.exit_status() == Some(0), "behind the marks: {}", traced.told(status));
    Ok(steps)
}

/// A process that is counted; ended when dropped.
struct Traced {
    child: Child,
    pid: Pid,
    ended: bool,
}

impl Traced {
    fn new(child: Child) -> Result<Self> {
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("it has no process id")?;
        Ok(Self { child, pid, ended: false })
    }

    const fn pid(&self) -> libc::pid_t {
        self.pid.as_raw_pid()
    }

    /// It stops itself at its first mark.
    fn until_mark(&mut self) -> Result<()> {
        let status = self.wait()?;
        ensure!(status.stopping_signal() == Some(Signal::STOP.as_raw()), "before a mark: {}", self.told(status));
        Ok(())
    }

    /// Until it has stopped, or ended.
    fn wait(&mut self) -> Result<WaitStatus> {
        let (_, status) =
            waitpid(Some(self.pid), WaitOptions::empty()).context("waitpid")?.context("waitpid gives nothing")?;
        self.ended = !status.stopped();
        Ok(status)
    }

    /// How it stopped or ended, and what it said.
    fn told(&mut self, status: WaitStatus) -> String {
        self.end();
        let mut says = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.read_to_string(&mut says);
        }
        format!("{status:?} {}", says.trim())
    }

    fn end(&mut self) {
        if !self.ended {
            let _ = kill_process(self.pid, Signal::KILL);
            while !self.ended && self.wait().is_ok() {}
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.end();
    }
}

/// One request to the kernel about a process that this thread traces, or about this process.
fn request(what: libc::c_uint, pid: libc::pid_t, data: usize) -> std::io::Result<()> {
    debug_assert!(
        [libc::PTRACE_TRACEME, libc::PTRACE_SINGLESTEP, libc::PTRACE_CONT, libc::PTRACE_SETOPTIONS].contains(&what)
    );
    // SAFETY: none of the four requests above reads or writes memory of this process: their address is not looked at, and
    // their data is a number (a signal to deliver, 0 for none; options), not an address.
    let done = unsafe { libc::ptrace(what, pid, core::ptr::null_mut::<libc::c_void>(), data as *mut libc::c_void) };
    if done == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

//! Commands in the background. None outlives the thread that started it, and each goes when its owner does.

use crate::cleanup::{self, Item};
use crate::command::{tied, until};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::time::Duration;

/// What a program that stays, such as a box or a registrar, may take to start.
pub const START: Duration = Duration::from_secs(30);

/// A command in the background, its output in files. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    /// Kept open: some programs end when their input does.
    stdin: Option<ChildStdin>,
    out: PathBuf,
    log: PathBuf,
}

impl Running {
    /// Starts a command whose output goes to `NAME.out` and `NAME.log` in `dir`.
    ///
    /// # Errors
    /// The files cannot be made, or the command cannot be started.
    pub fn start(name: &str, args: &[&str], dir: &Path) -> Result<Self> {
        let (out, log) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.log")));
        let file = |path: &Path| File::create(path).with_context(|| format!("cannot create {}", path.display()));
        let mut child = tied(args)
            // DPDK makes its run-time directory here instead of in /var/run.
            .env("RUNTIME_DIRECTORY", dir)
            .stdin(Stdio::piped())
            .stdout(file(&out)?)
            .stderr(file(&log)?)
            .spawn()
            .with_context(|| format!("cannot start '{}' (setpriv is in util-linux)", args.join(" ")))?;
        cleanup::remember(Item::Process(child.id()));
        let stdin = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, ended: None, stdin, out, log })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its input.
    ///
    /// # Errors
    /// It no longer reads.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let input = self.stdin.as_mut().with_context(|| format!("{} has no input", self.name))?;
        writeln!(input, "{line}").and_then(|()| input.flush()).with_context(|| format!("{} does not read", self.name))
    }

    /// What it has written so far.
    #[must_use]
    pub fn out(&self) -> String {
        text(&self.out)
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// Waits until a line with `what` stands in its output or its log; gives that line.
    ///
    /// # Errors
    /// It ends before, or says nothing of the kind within `limit`; with the end of what it said.
    pub fn wait_for(&mut self, what: &str, limit: Duration) -> Result<String> {
        let found = until(limit, || {
            let ended = self.poll()?;
            let line = self.line(what);
            if line.is_none()
                && let Some(status) = ended
            {
                bail!("{} ended ({status}) before it said '{what}':\n{}", self.name, self.tail());
            }
            Ok(line)
        })?;
        found.with_context(|| format!("{} did not say '{what}' within {limit:?}:\n{}", self.name, self.tail()))
    }

    /// The first line with `what` in its output or its log.
    #[must_use]
    pub fn line(&self, what: &str) -> Option<String> {
        [self.out(), self.log()].iter().flat_map(|t| t.lines()).find(|l| l.contains(what)).map(str::to_owned)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn poll(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().context("cannot wait for a child process")?;
        }
        Ok(self.ended)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = until(limit, || self.poll())?;
        ended.with_context(|| format!("{} was not through after {limit:?}:\n{}", self.name, self.tail()))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            cleanup::kill(self.pid(), signal);
        }
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// It still runs after `limit`.
    pub fn stop(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        self.signal(signal);
        self.wait(limit)
    }

    /// The last lines of its output and log, for error messages.
    #[must_use]
    pub fn tail(&self) -> String {
        let both = [self.out(), self.log()].concat();
        let lines: Vec<_> = both.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.poll().ok().flatten().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        cleanup::forget(&Item::Process(self.child.id()));
    }
}

fn text(path: &Path) -> String {
    std::fs::read(path).map(|octets| String::from_utf8_lossy(&octets).into_owned()).unwrap_or_default()
}

//! External commands. Each is bounded in time, and none outlives the thread that started it.

use super::cleanup::{self, Item};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at something that is waited for.
const TICK: Duration = Duration::from_millis(10);

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// What it wrote.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// A command line that ends with this thread, also when it is killed: `setpriv` asks the kernel for that.
fn tied(args: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(args);
    command
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started, or is not through after `limit` (and is then killed).
pub fn run(args: &[&str], limit: Duration) -> Result<Finished> {
    let line = args.join(" ");
    let mut child = tied(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start '{line}' (setpriv is in util-linux)"))?;
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let Some(status) = wait(&mut child, limit)? else {
        let _ = child.kill();
        let _ = child.wait();
        bail!("'{line}' was not through after {limit:?}");
    };
    Ok(Finished { status, stdout: stdout.join().unwrap_or_default(), stderr: stderr.join().unwrap_or_default() })
}

/// Runs a command that has to succeed; gives what it wrote.
///
/// # Errors
/// As [`run`], and when it fails.
pub fn check(args: &[&str], limit: Duration) -> Result<String> {
    let finished = run(args, limit)?;
    if !finished.status.success() {
        bail!("'{}' failed ({}): {}{}", args.join(" "), finished.status, finished.stderr, finished.stdout);
    }
    Ok(finished.stdout)
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut octets = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut octets);
        }
        String::from_utf8_lossy(&octets).into_owned()
    })
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    until(limit, || child.try_wait().context("cannot wait for a child process"))
}

/// Asks until there is an answer, or `limit` is over.
///
/// # Errors
/// The first of `ask`.
pub fn until<T>(limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let start = Instant::now();
    loop {
        let answer = ask()?;
        if answer.is_some() || start.elapsed() > limit {
            return Ok(answer);
        }
        std::thread::sleep(TICK);
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_ended() {
        let error = run(&["sleep", "100"], Duration::from_millis(50)).expect_err("bounded");
        assert!(error.to_string().contains("'sleep 100' was not through after 50ms"), "{error}");
    }

    #[test]
    fn output_and_failure_of_a_command_come_back() {
        let second = Duration::from_secs(10);
        assert_eq!(check(&["echo", "a b"], second).expect("runs"), "a b\n");
        let error = check(&["sh", "-c", "echo why >&2; exit 3"], second).expect_err("fails").to_string();
        assert!(error.contains("why") && error.contains('3'), "{error}");
    }
}

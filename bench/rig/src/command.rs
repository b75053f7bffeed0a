//! External commands that run to their end. Each is bounded in time, and none outlives the thread that started it.

use anyhow::{Context, Result, bail};
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
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
pub(crate) fn tied(args: &[&str]) -> Command {
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

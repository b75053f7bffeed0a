//! `pdmv2 upgrade`: a process of the program as it is installed takes over from the one that runs.

use crate::client::{Client, Which};
use crate::units::plain;
use anyhow::bail;
use common::admin::{Status, Successor, TakeOver};
use std::io::Write;
use std::time::{Duration, Instant};

/// The command.
#[derive(Debug, clap::Args)]
pub struct UpgradeArgs {
    #[command(flatten)]
    which: Which,
}

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// It has taken over within this, or has failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Has it done, and waits for what becomes of it.
///
/// # Errors
/// The box cannot be asked, or no other process has taken over: then the one that ran goes on.
pub fn run(args: &UpgradeArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = Client::new(&args.which)?;
    let before: Status = client.ask("/v1/status")?;
    let successor: Successor = client.order("/v1/take-over")?;
    writeln!(out, "process {} is to take over from process {}", successor.process, successor.from_process)?;
    out.flush()?;
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
        // While sockets change hands one question may go unanswered.
        let Ok(status) = client.ask::<Status>("/v1/status") else { continue };
        if let Some(said) = came_of(&before.take_over, successor, &status.take_over)? {
            writeln!(out, "{said}; version {}", plain(&status.version))?;
            return Ok(());
        }
    }
    bail!("process {} has not taken over within {} s: look at the box's log", successor.process, PATIENCE.as_secs())
}

/// What has come of it. `None`: nothing yet.
fn came_of(before: &TakeOver, successor: Successor, now: &TakeOver) -> anyhow::Result<Option<String>> {
    let gap = now.gap_seconds.unwrap_or_default() * 1000.0;
    if now.process == successor.process {
        return Ok(Some(format!("process {} has taken over: nobody had the ports for {gap:.1} ms", now.process)));
    }
    if now.process == before.process && now.failed > before.failed {
        let why = now.last_failure.as_deref().unwrap_or("it does not say why");
        bail!("process {} goes on, since the other could not take over: {}", now.process, plain(why));
    }
    if now.process != before.process {
        bail!("the box runs as process {}, which was started otherwise; look at its log", now.process);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_it_is_said() {
        let before = TakeOver { process: 7, failed: 2, ..TakeOver::default() };
        let successor = Successor { process: 8, from_process: 7 };
        let said = |now: &TakeOver| came_of(&before, successor, now).map_err(|error| error.to_string());
        assert_eq!(said(&before), Ok(None));
        let done = TakeOver { process: 8, from_process: Some(7), gap_seconds: Some(0.0431), ..TakeOver::default() };
        let expected = "process 8 has taken over: nobody had the ports for 43.1 ms";
        assert_eq!(said(&done), Ok(Some(expected.to_owned())));
        let failed = TakeOver { failed: 3, last_failure: Some("no\x1b port".into()), ..before.clone() };
        assert!(said(&failed).expect_err("failed").ends_with("could not take over: no? port"));
        assert!(said(&TakeOver { process: 9, ..before.clone() }).expect_err("another").contains("process 9"));
    }
}

//! Measurements in processes of their own: how one is asked for, and how it answers. Which there are, this does not know.

use super::environment;
use anyhow::{Context, Result, bail};
use rig::running::Running;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::Path;
use std::time::Duration;

/// What one process measures, handed over as JSON.
pub trait Task: Serialize + DeserializeOwned {
    /// What it is called on the command line of `bench measure`: its benchmark.
    const NAME: &'static str;
    /// What comes back.
    type Sample: Serialize + DeserializeOwned;

    /// Measures, in this process.
    ///
    /// # Errors
    /// DPDK refuses, or packets did not get what the task says.
    fn measure(&self) -> Result<Self::Sample>;
}

/// Measures in a process of its own that ends with this one, and within `limit`. Its output goes to files in `dir` that
/// begin with `name`.
///
/// # Errors
/// It fails; what it said is in the error.
pub fn measure<T: Task>(name: &str, task: &T, dir: &Path, limit: Duration) -> Result<T::Sample> {
    let program = std::env::current_exe().context("where is this program?")?.display().to_string();
    let task = serde_json::to_string(&Map::from_iter([(T::NAME.to_owned(), serde_json::to_value(task)?)]))?;
    let mut args = environment::first();
    args.extend([program, "measure".to_owned(), "--task".to_owned(), task.clone()]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut running = Running::start(name, &args, dir)?;
    let status = running.wait(limit)?;
    if !status.success() {
        bail!("a measurement failed ({status}): {task}\n{}", running.tail());
    }
    serde_json::from_str(running.out().trim())
        .with_context(|| format!("a measurement said something else:\n{}", running.tail()))
}

/// The other end of [`measure`]: what is to be measured, by name.
///
/// # Errors
/// It is not one task as JSON.
pub fn read(task: &str) -> Result<(String, Value)> {
    let named: Map<String, Value> = serde_json::from_str(task).context("--task")?;
    let mut named = named.into_iter();
    let (Some(first), None) = (named.next(), named.next()) else { bail!("--task: one name and what it measures") };
    Ok(first)
}

/// Measures in this process; gives the sample as JSON.
///
/// # Errors
/// It is no task of this kind, or as [`Task::measure`].
pub fn answer<T: Task>(task: Value) -> Result<String> {
    let task: T = serde_json::from_value(task).context("--task")?;
    Ok(serde_json::to_string(&task.measure()?)?)
}

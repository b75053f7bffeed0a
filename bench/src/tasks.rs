//! `bench measure`: every measurement that a process of its own can be asked for.

use anyhow::{Result, bail};
use bench::latency::LatencyJob;
use bench::ports::child::{self, Task};
use bench::ports::job::Job;
use bench::rfc2544::SearchJob;
use bench::scale::ScaleJob;
use serde_json::Value;

/// Arguments of `bench measure`.
#[derive(clap::Args, Debug)]
pub struct MeasureArgs {
    /// The measurement, as JSON
    #[arg(long)]
    task: String,
}

/// Measures what the JSON says; gives the sample as JSON.
type Measure = fn(Value) -> Result<String>;

/// All of them.
const TASKS: [(&str, Measure); 4] = [entry::<Job>(), entry::<LatencyJob>(), entry::<ScaleJob>(), entry::<SearchJob>()];

const fn entry<T: Task>() -> (&'static str, Measure) {
    (T::NAME, child::answer::<T>)
}

/// Measures, and prints the sample as JSON.
///
/// # Errors
/// There is no such measurement; DPDK refuses, or packets did not get what the task says.
pub fn run(args: &MeasureArgs) -> Result<bool> {
    let (name, task) = child::read(&args.task)?;
    let Some((_, measure)) = TASKS.iter().find(|(known, _)| *known == name) else {
        bail!("--task: there is no measurement '{name}'")
    };
    println!("{}", measure(task)?);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_task_has_a_name_of_its_own() {
        let names: HashSet<_> = TASKS.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), TASKS.len());
    }

    #[test]
    fn what_is_no_task_is_refused() {
        for (task, why) in [
            ("", "--task"),
            ("[]", "--task"),
            ("{}", "one name"),
            (r#"{"scale": 1, "latency": 2}"#, "one name"),
            (r#"{"no-such": {}}"#, "no measurement 'no-such'"),
            (r#"{"scale": {}}"#, "--task"),
        ] {
            let error = run(&MeasureArgs { task: task.to_owned() }).expect_err(task);
            assert!(format!("{error:#}").contains(why), "{task}: {error:#}");
        }
    }
}

//! `pdmv2 policy`: policies of a running box, which may be started and stopped.

use crate::client::{Client, Which, with_parameters};
use crate::status::policies as table;
use crate::units::{plain, span};
use anyhow::{Context, ensure};
use common::admin::{MOST_POLICY_SECONDS, Policies, Policy};
use common::config::reader::parse_duration;
use std::io::Write;

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub enum PolicyCommand {
    /// The policies of a running box, when each ends, and what was measured under it
    List(ListArgs),
    /// Start a policy: options are added under it again, until it ends or the box does
    Start(StartArgs),
    /// Stop a policy: no more options are added under it, until it is started again or the box is
    Stop(StopArgs),
}

/// `pdmv2 policy list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// `pdmv2 policy start`.
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    #[command(flatten)]
    which: Which,
    /// The policy's name
    name: String,
    /// How long it lasts, such as 30m, 1h or 7d [default: its `lifetime`; for good, if it has none]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: Option<u64>,
}

/// `pdmv2 policy stop`.
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    #[command(flatten)]
    which: Which,
    /// The policy's name
    name: String,
}

/// Seconds.
fn duration(text: &str) -> anyhow::Result<u64> {
    let lasts = parse_duration(text).context("write a whole number and a unit: 90s, 30m, 1h or 7d")?.as_secs();
    ensure!((1..=MOST_POLICY_SECONDS).contains(&lasts), "choose from 1s to {}d", MOST_POLICY_SECONDS / 86_400);
    Ok(lasts)
}

/// Does it, and says what became of it.
///
/// # Errors
/// The box cannot be asked, has no such policy, or it adds nothing.
pub fn run(command: &PolicyCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        PolicyCommand::List(ListArgs { which, json }) => {
            let policies: Policies = Client::new(which)?.ask("/v1/policies")?;
            if *json {
                writeln!(out, "{}", serde_json::to_string(&policies)?)?;
            } else {
                out.write_all(table(&policies.policies).as_bytes())?;
            }
            Ok(())
        }
        PolicyCommand::Start(StartArgs { which, name, lasts }) => {
            let more = lasts.map(|seconds| ("for_seconds", seconds.to_string()));
            let path = with_parameters("/v1/policies/start", [("policy", name.clone())].into_iter().chain(more));
            tell(&Client::new(which)?.order(&path)?, out)
        }
        PolicyCommand::Stop(StopArgs { which, name }) => {
            let path = with_parameters("/v1/policies/stop", [("policy", name.clone())]);
            tell(&Client::new(which)?.order(&path)?, out)
        }
    }
}

fn tell(policy: &Policy, out: &mut dyn Write) -> anyhow::Result<()> {
    let stands = match policy.ends_in_seconds {
        None => "adds options, and does not end".to_owned(),
        Some(0.0) => "has ended: it adds no more options".to_owned(),
        Some(seconds) => format!("adds options, and ends in {}", span(seconds.ceil())),
    };
    writeln!(out, "policy {} {stands}", plain(&policy.name))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_within_bounds() {
        assert_eq!(["90s", "30m", "1h", "7d"].map(|text| duration(text).ok()), [90, 1800, 3600, 604_800].map(Some));
        for text in ["", "1", "0s", "500ms", "36501d", "1 h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_became_of_it_is_said() {
        let said = |ends_in_seconds| {
            let policy = Policy {
                name: "web\n".into(),
                mode: "clear".into(),
                ends_in_seconds,
                measured: common::admin::Measured::default(),
            };
            let mut out = Vec::new();
            tell(&policy, &mut out).expect("told");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(said(Some(3599.2)), "policy web? adds options, and ends in 1 h 0 min\n");
        assert_eq!(said(Some(0.0)), "policy web? has ended: it adds no more options\n");
        assert_eq!(said(None), "policy web? adds options, and does not end\n");
    }
}

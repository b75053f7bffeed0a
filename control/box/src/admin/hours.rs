//! Policies that an operator starts or ends: from then on the path adds options under them, or no longer does (RFC 8250
//! section 4.4). It holds until the box ends: what lasts stands in the configuration.

use super::World;
use super::status::{none_of, policy_named};
use common::admin::{Failure, Policy};
use pipeline::state::policies::{Mode, OutboundAction, Policy as Rule};

/// Starts a policy for so many seconds; `None`: for its lifetime, or for good if it has none.
///
/// # Errors
/// There is no such policy, or it adds no options at any time.
pub fn start(world: &World, name: &str, seconds: Option<u64>) -> Result<Policy, Failure> {
    let rule = rule(world, name)?;
    let adds_nothing = |because: &str| Failure {
        error: format!("policy: '{name}' adds no options: it has {because}"),
        remedy: "start one that does, or change it in the configuration and start the box again".to_owned(),
        known: Vec::new(),
    };
    if rule.mode == Mode::Off {
        return Err(adds_nothing("mode = \"off\""));
    }
    if rule.outbound == OutboundAction::Pass {
        return Err(adds_nothing("outbound = \"pass\""));
    }
    let lasts = seconds.map(|seconds| seconds.saturating_mul(1_000_000_000)).or(rule.lifetime_ns);
    set(world, name, lasts.map(|lasts| (world.now)().saturating_add(lasts)))
}

/// Ends a policy.
///
/// # Errors
/// There is no such policy.
pub fn stop(world: &World, name: &str) -> Result<Policy, Failure> {
    set(world, name, Some((world.now)()))
}

fn set(world: &World, name: &str, end_ns: Option<u64>) -> Result<Policy, Failure> {
    if !world.shared.end_policy(name, end_ns) {
        return Err(missing(world, name));
    }
    let policy = policy_named(&(world.counts)(), name).ok_or_else(|| missing(world, name))?;
    match policy.ends_in_seconds {
        Some(0.0) => tracing::info!(policy = name, "a policy was stopped"),
        Some(seconds) => tracing::info!(policy = name, seconds = seconds.ceil(), "a policy was started"),
        None => tracing::info!(policy = name, "a policy was started, for good"),
    };
    Ok(policy)
}

fn rule(world: &World, name: &str) -> Result<Rule, Failure> {
    let rules = world.shared.snapshots.rules();
    rules
        .policies()
        .find(|(rule, _)| rule.name == name)
        .map(|(rule, _)| rule.clone())
        .ok_or_else(|| missing(world, name))
}

fn missing(world: &World, name: &str) -> Failure {
    let rules = world.shared.snapshots.rules();
    none_of("policy", name, rules.policies().map(|(rule, _)| rule.name.clone()))
}

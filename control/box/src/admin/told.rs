//! What is told of one packet: every step that it took, in sentences.

use super::World;
use common::admin::{Step, Traced};
use pipeline::observe::counters::Outcome;
use pipeline::observe::reasons::Reason;
use pipeline::state::rules::PolicyId;
use pipeline::state::shared::Shared;
use pipeline::state::watch::note::{Direction, Note, OptionSeen};
use protocol::delta_time::{Scaled, to_nanos};
use protocol::wire::option::{Form, Metrics};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Tells of packets.
pub struct Teller {
    shared: Arc<Shared>,
    /// What is to be added to the workers' clock for nanoseconds since 1970.
    offset: u64,
}

impl Teller {
    /// Of this box's packets.
    #[must_use]
    pub fn new(world: &World) -> Self {
        Self { shared: Arc::clone(&world.shared), offset: since_1970().wrapping_sub((world.now)()) }
    }

    /// A time of the workers' clock in nanoseconds since 1970.
    #[must_use]
    pub fn wall(&self, at_ns: u64) -> u64 {
        at_ns.wrapping_add(self.offset)
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        since_1970()
    }

    fn policy(&self, id: PolicyId) -> Option<String> {
        let rules = self.shared.snapshots.rules();
        rules.policies().find(|(_, standing)| standing.id == id).map(|(policy, _)| policy.name.clone())
    }

    /// A packet and its steps.
    #[must_use]
    pub fn told(&self, note: &Note) -> Traced {
        let (outcome, reason) = outcome(note.outcome);
        let policy = note.policy.and_then(|id| self.policy(id));
        Traced {
            time_ns: self.wall(note.at_ns),
            direction: direction(note).to_owned(),
            worker: note.worker,
            length: note.before.frame_len() as u64,
            flow: note.tuple.ok().map(|tuple| tuple.to_string()),
            outcome: outcome.to_owned(),
            reason: reason.map(|reason| reason.name().to_owned()),
            steps: steps(note, policy.as_deref()),
            policy,
        }
    }

    /// What a capture says of a packet.
    #[must_use]
    pub fn comment(&self, note: &Note) -> String {
        let (outcome, reason) = outcome(note.outcome);
        let mut said = vec![format!("{} {outcome}", direction(note))];
        if let Some(reason) = reason {
            said.push(format!("{}: {}", reason.name(), reason.describe().trim()));
        }
        if let Some(policy) = note.policy.and_then(|id| self.policy(id)) {
            said.push(format!("policy {policy}"));
        }
        if let Some(option) = &note.option {
            said.push(of_option(option));
            said.extend(option.metrics.as_ref().map(of_metrics));
        }
        said.join("; ")
    }
}

fn since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

const fn direction(note: &Note) -> &'static str {
    match note.direction {
        Direction::Outbound => "outbound",
        Direction::Inbound => "inbound",
    }
}

const fn outcome(outcome: Outcome) -> (&'static str, Option<Reason>) {
    match outcome {
        Outcome::Added(_) => ("added", None),
        Outcome::Removed(_) => ("removed", None),
        Outcome::Verified(_) => ("verified", None),
        Outcome::Passed(reason) => ("passed", Some(reason)),
        Outcome::Stripped(reason) => ("stripped", Some(reason)),
        Outcome::Dropped(reason) => ("dropped", Some(reason)),
        Outcome::TooBig => ("too_big", None),
        Outcome::HandedOver(_) => ("handed_over", None),
    }
}

const fn form(form: Form) -> &'static str {
    match form {
        Form::Pdm => "PDM",
        Form::Clear => "PDMv2 in clear",
        Form::Encrypted => "PDMv2 encrypted",
    }
}

fn time(ns: u64) -> String {
    format!("{:.2?}", Duration::from_nanos(ns))
}

fn of_option(option: &OptionSeen) -> String {
    let mut said = form(option.form).to_owned();
    if let Some(head) = option.head {
        said += &format!(", PRSEQ {}, F {}", head.prseq, head.f);
    }
    if let Some((generation, kri)) = option.key {
        said += &format!(", generation {generation}, Kri {kri}");
    }
    said
}

fn of_metrics(metrics: &Metrics) -> String {
    let delta = |value, scale| time(to_nanos(Scaled { value, scale }));
    format!(
        "PSNTP {}, PSNLR {}, DeltaTLR {}, DeltaTLS {}, Global Pointer {}",
        metrics.psntp,
        metrics.psnlr,
        delta(metrics.delta_tlr, metrics.scale_dtlr),
        delta(metrics.delta_tls, metrics.scale_dtls),
        metrics.global_pointer,
    )
}

fn steps(note: &Note, policy: Option<&str>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut say = |step: &str, says: String| steps.push(Step { step: step.to_owned(), says });
    let (port, length) =
        (if note.direction == Direction::Outbound { "inside" } else { "outside" }, note.before.frame_len());
    match note.from {
        Some(from) => say("taken over", format!("by worker {} from worker {from}, {length} octets", note.worker)),
        None => say("received", format!("at the {port} port by worker {}, {length} octets", note.worker)),
    }
    match note.tuple {
        Ok(_) => say("parsed", format!("IPv6, {}", note.came_with.map_or("no option", form))),
        Err(reason) => say("parsed", reason.describe().trim().to_owned()),
    }
    if let Some(policy) = policy {
        say("policy", policy.to_owned());
    }
    if let Ok(tuple) = note.tuple {
        match (&note.flow_before, &note.flow) {
            (_, None) => say("flow", format!("{tuple}: not in the table")),
            (before, Some(flow)) => {
                let known = if before.is_some() { "known" } else { "new" };
                say("flow", format!("{tuple}: {known}, owned by worker {}", flow.owner));
            }
        }
    }
    if let Some(option) = &note.option {
        let outbound = note.direction == Direction::Outbound;
        let added = matches!(note.outcome, Outcome::Added(_));
        match (outbound, option.form, option.key) {
            (true, Form::Encrypted, Some(_)) if added => say("sealed", of_option(option)),
            (false, Form::Encrypted, Some(_)) => say("opened", of_option(option)),
            (false, Form::Encrypted, None) => say("not opened", of_option(option)),
            _ => say("option", of_option(option)),
        }
        if let Some(metrics) = &option.metrics {
            say("numbers", of_metrics(metrics));
        }
    }
    of_flow(note, &mut say);
    of_end(note, &mut say);
    steps
}

/// What its burst has changed in its flow, of a packet that came back.
fn of_flow(note: &Note, say: &mut impl FnMut(&str, String)) {
    let (Direction::Inbound, Some(after)) = (note.direction, &note.flow) else { return };
    match note.outcome {
        Outcome::Removed(_) | Outcome::Verified(_) => {
            say("replay check", format!("new; {} came so far, {} of them late", after.received, after.late));
        }
        Outcome::Dropped(Reason::Replayed)
        | Outcome::Stripped(Reason::Replayed)
        | Outcome::Passed(Reason::Replayed) => {
            say("replay check", format!("it came before; {} copies so far", after.duplicates));
        }
        _ => {}
    }
    let samples = note.flow_before.as_ref().map_or(0, |before| before.round_trip.samples);
    if after.round_trip.samples > samples {
        let [network, server] = [&after.round_trip, &after.server_delay].map(|times| time(times.last_ns));
        say("measured", format!("round trip {network}, server delay {server} (the last of its burst)"));
    }
}

fn of_end(note: &Note, say: &mut impl FnMut(&str, String)) {
    let (before, after) = (note.before.frame_len(), note.after.frame_len());
    let (_, reason) = outcome(note.outcome);
    if note.is_forwarded() && after != before {
        let by = if after > before { "longer" } else { "shorter" };
        say("rewritten", format!("{} octets {by}", after.abs_diff(before)));
    }
    if let Some(reason) = reason {
        say("reason", format!("{}: {}", reason.name(), reason.describe().trim()));
        say("remedy", reason.remedy().to_owned());
    }
    match note.outcome {
        Outcome::Dropped(_) => say("dropped", "it does not go on".to_owned()),
        Outcome::TooBig => say("answered", "with ICMPv6 Packet Too Big, which goes back".to_owned()),
        Outcome::HandedOver(owner) => say("handed over", format!("to worker {owner}, which owns its flow")),
        _ => {
            let port = if note.direction == Direction::Outbound { "outside" } else { "inside" };
            say("sent", format!("at the {port} port, {after} octets"));
        }
    }
}

//! Stage choose: policy, flow and first guess of one packet, or why its option is not looked at.

use super::chosen::{Chosen, Plan, Plans};
use super::consequence;
use super::guess::{first_guess, same_as_before};
use crate::flow::lookup::Likely;
use crate::observe::counters::WorkerCounters;
use crate::observe::reasons::Reason;
use crate::packet::buffer::PacketBuf;
use crate::packet::encrypted::EncryptedOption;
use crate::packet::mss;
use crate::packet::parse;
use crate::state::keyring::KeyRing;
use crate::state::policies::{InboundAction, OnFailure};
use crate::state::rules::Rules;
use crate::state::shared::Shared;
use crate::state::snapshot::Snapshot;
use protocol::five_tuple::FiveTuple;
use protocol::wire::dest_opts::{RemovePlan, plan_remove};
use protocol::wire::option::Form;
use protocol::wire::profile;

/// How its option would be taken out of a packet, and where its IPv6 header is.
pub(super) fn plan_of<B: PacketBuf>(packet: &B) -> Option<(usize, RemovePlan)> {
    let parse::Parsed { l3, chain } = parse::parse(packet).ok()?;
    Some((l3, plan_remove(&chain, &packet.data()[l3..])?))
}

/// Chooses a packet of the measured shape whose flow is known and in which nothing is out of the way. `None`: [`choose`]
/// it.
#[inline]
pub(super) fn choose_known<'a, B: PacketBuf>(
    ring: &KeyRing,
    rules: &Rules,
    packet: &B,
    Likely { quick, form, flow, .. }: &Likely<'a>,
    number: u8,
) -> Option<Chosen<'a>> {
    let (flow, form) = (flow.filter(|flow| flow.back.is(&quick.words))?, (*form)?);
    let (policy, way) = rules.way(flow.back.policy())?;
    if way.opens != Some(form) || flow.back.host_measures(form) {
        return None;
    }
    let option_at = parse::PLAIN_UPPER + form.option_at();
    let guess = if form == Form::Encrypted {
        flow.prefetch_inbound_rest();
        let f = profile::is_f(*packet.data().get(option_at + profile::FLAGS_AT)?);
        let source = FiveTuple::from_words(quick.words).reversed().source();
        Some(same_as_before(ring, flow, source, f)?)
    } else {
        None
    };
    Some(Chosen {
        flow: Some(flow),
        guess,
        policy: policy as u32,
        option_at: option_at as u32,
        packet: number,
        plan: None,
        form,
        slot: None,
        derived: false,
        refused: false,
        keeps: way.keeps,
    })
}

/// Finds policy, flow and first guess of one packet.
#[inline(never)]
pub(super) fn choose<'a, B: PacketBuf>(
    shared: &'a Shared,
    snapshot: &Snapshot,
    counters: &WorkerCounters,
    packet: &mut B,
    plans: &mut Plans,
    now: u64,
) -> Result<Chosen<'a>, (OnFailure, Reason)> {
    let pass = |reason| (OnFailure::Pass, reason);
    let parse::Parsed { l3, chain } = parse::parse(packet).map_err(pass)?;
    let (ring, rules) = (&*snapshot.ring, &*snapshot.rules);
    let tuple = chain.five_tuple;
    let outbound = tuple.reversed();
    let words = outbound.words();
    let hash = shared.table.hash(&words);
    let flow = shared.table.find(hash, &words);
    let policy = rules.policy_of(flow.map(|flow| flow.back), &words).ok_or(pass(Reason::Off))?;
    let rule = rules.policy(policy).ok_or(pass(Reason::Off))?;
    let form = rule.mode.form().ok_or(pass(Reason::Off))?;
    if rules.config.mss_clamp {
        let mtu_with = |len| shared.mtu_with(rules, &tuple.src, len, now);
        mss::clamp_packet(packet, l3, &chain, form, counters, mtu_with).map_err(pass)?;
    }
    let option = chain.option.ok_or(pass(Reason::NoOption))?;
    if rule.inbound == InboundAction::Pass {
        return Err(pass(Reason::PolicyPass));
    }
    if option.form != form {
        return Err(pass(Reason::OtherForm));
    }
    let data = &packet.data()[l3..];
    let octets = data.get(option.offset..option.offset + form.option_len()).ok_or(pass(Reason::Truncated))?;
    let remove = plan_remove(&chain, data).ok_or(pass(Reason::MalformedOption))?;
    // An encrypted option says by itself whose it is.
    let others = form != Form::Encrypted && !remove.as_inserted;
    if others || flow.is_some_and(|flow| flow.back.host_measures(form)) {
        return Err(pass(Reason::HostsOwn));
    }
    let mut guess = None;
    if form == Form::Encrypted {
        if ring.peers.is_empty() {
            return Err(consequence(ring, OnFailure::Pass, Reason::NoKey));
        }
        let option = EncryptedOption::parse(octets).ok_or(pass(Reason::MalformedOption))?;
        guess = first_guess(ring, flow, &tuple, option.head.f != 0);
        if guess.is_none() {
            if let Some(policy) = rules.counters(policy as u32, counters.worker) {
                policy.failed.add(1);
            }
            return Err(consequence(ring, rule.on_failure, Reason::UnknownPeer));
        }
    }
    plans.push(Plan { l3, remove, words, hash });
    let (plan, option_at) = (Some(plans.len() as u8 - 1), (l3 + option.offset) as u32);
    let (policy, keeps) = (policy as u32, rule.inbound == InboundAction::Verify);
    Ok(Chosen {
        flow,
        guess,
        policy,
        option_at,
        packet: 0,
        plan,
        form,
        slot: None,
        derived: false,
        refused: false,
        keeps,
    })
}

//! ICMPv6 errors from beyond (RFC 4443) that quote a packet with the option that this box put in: put into terms that the
//! host understands, which knows of no option.
//!
//! The option is taken out of the quotation, and the lengths, the Next Header chain and the checksum follow. The MTU of a
//! Packet Too Big becomes what the host may send so that its packet still fits with the option; the pointer of a Parameter
//! Problem goes where the octet stood that the host sent. What was reported bounds insertion from then on ([`path_mtu`]).
//! Without this a host obeys the MTU, its packets then grow by the option, and are refused for ever.
//!
//! Anybody can send an error. So nothing is done unless the quoted packet is of a flow that this box measures and its option
//! one that the box lately put into a packet of that flow (`proof`); what is done then is limited by two buckets. All else
//! passes as it came, is counted, makes no state, and costs a look-up, and one opening when it quotes a sealed option.
//!
//! [`path_mtu`]: crate::state::path_mtu

mod mending;
mod proof;
mod quotation;

use crate::observe::counters::{Outcome, WorkerCounters};
use crate::observe::reasons::{Finding, Reason};
use crate::packet::buffer::{PacketBuf, make_ready};
use crate::packet::checksum::checksum;
use crate::ports::BURST;
use crate::state::budgets::ErrorBudget;
use crate::state::path_mtu::MIN_MTU;
use crate::state::policies::OutboundAction;
use crate::state::shared::Shared;
use crate::state::snapshot::Snapshot;
use arrayvec::ArrayVec;
use mending::Mending;
use protocol::wire::dest_opts::{RemovePlan, plan_remove};
use protocol::wire::ext_chain::{self, Chain, MAX_HEADERS, WalkError};
use protocol::wire::{ethernet, ipv6};
use quotation::{Error, PARAMETER_PROBLEM, Quotation, TOO_BIG, UNREACHABLE};

/// Whether a frame holds an ICMPv6 error that [`mend`] knows. Cheap: nearly all frames that come here are none.
#[inline]
pub(crate) fn is_one(frame: &[u8]) -> bool {
    let Some(packet) = ethernet::ipv6_offset(frame).and_then(|l3| frame.get(l3..)) else { return false };
    let Some(&(mut next)) = packet.get(ipv6::NEXT_HEADER_AT) else { return false };
    let mut at = ipv6::HEADER_LEN;
    for _ in 0..=MAX_HEADERS {
        match next {
            ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::DEST_OPTS => {
                let Some(&[named, units, ..]) = packet.get(at..) else { return false };
                next = named;
                at += (usize::from(units) + 1) * 8;
            }
            ipv6::ICMPV6 => {
                return packet.get(at).is_some_and(|kind| (UNREACHABLE..=PARAMETER_PROBLEM).contains(kind));
            }
            _ => return false,
        }
    }
    false
}

/// Puts the ICMPv6 errors of a burst into terms that hosts understand; bit i: packet i is one.
#[cold]
#[expect(clippy::too_many_arguments, reason = "one caller; a struct for it would only rename them")]
pub(super) fn mend_all<B: PacketBuf>(
    shared: &Shared,
    snapshot: &Snapshot,
    counters: &WorkerCounters,
    errors: &mut ErrorBudget,
    packets: &mut [B],
    outcomes: &mut ArrayVec<Outcome, BURST>,
    mut quoting: u32,
    now: u64,
) {
    while quoting != 0 {
        let at = quoting.trailing_zeros() as usize;
        quoting &= quoting - 1;
        if let (Some(packet), Some(outcome)) = (packets.get_mut(at), outcomes.get_mut(at))
            && !matches!(outcome, Outcome::Dropped(_))
            && let Some(reason) = mend(shared, snapshot, counters, errors, packet, now)
        {
            *outcome = Outcome::Dropped(reason);
        }
    }
}

/// Mends an error, if it quotes an option of this box's. The reason to drop it, if there is one. Call it for a packet that
/// [`is_one`], within a burst.
#[cold]
pub(crate) fn mend<B: PacketBuf>(
    shared: &Shared,
    snapshot: &Snapshot,
    counters: &WorkerCounters,
    budget: &mut ErrorBudget,
    packet: &mut B,
    now: u64,
) -> Option<Reason> {
    let error = Error::parse(packet)?;
    if packet.data().len() < error.end {
        return None;
    }
    let finding = match examine(shared, snapshot, counters, budget, packet.data(), &error, now) {
        // With no buffer to copy it into it passes as it came.
        Ok(_) if !make_ready(packet, || counters.copied.add(1)) => return None,
        Ok(quotation) => act(shared, counters, budget, packet, &error, &quotation, now),
        Err(finding) => finding?,
    };
    counters.quotations[finding as usize].add(1);
    (finding == Finding::Refused).then_some(Reason::OptionRefused)
}

/// Reads the quotation, and finds out whether this box made what is quoted. `Err(None)`: it holds no option.
fn examine(
    shared: &Shared,
    snapshot: &Snapshot,
    counters: &WorkerCounters,
    budget: &mut ErrorBudget,
    frame: &[u8],
    error: &Error,
    now: u64,
) -> Result<Quotation, Option<Finding>> {
    let quoted = error.quoted(frame);
    // The quotation is the beginning of a packet, as a first segment is.
    let chain = ext_chain::walk(quoted, usize::MAX)
        .map_err(|e| matches!(e, WalkError::Truncated).then_some(Finding::TooShort))?;
    let option = chain.option.ok_or(None)?;
    let words = chain.five_tuple.words();
    let flow = shared.table.find(shared.table.hash(&words), &words).ok_or(Finding::NotOurs)?;
    let policy = snapshot.rules.policy_of(Some(flow.back), &words).ok_or(Finding::NotOurs)?;
    let rule = snapshot.rules.policy(policy).ok_or(Finding::NotOurs)?;
    let measures = rule.outbound == OutboundAction::Add && rule.mode.form() == Some(option.form);
    let plan = plan_remove(&chain, quoted).filter(|plan| measures && is_as_inserted(&chain, plan));
    let plan = plan.ok_or(Finding::NotOurs)?;
    let octets = quoted.get(option.offset..option.offset + option.form.option_len()).ok_or(Finding::TooShort)?;
    // An error goes to who sent what it quotes.
    if chain.five_tuple.src != error.dst {
        return Err(Some(Finding::NotSent));
    }
    match proof::lately_sent(shared, &snapshot.ring, counters, budget, flow, option.form, octets, now) {
        proof::Proof::Sent => {}
        proof::Proof::NotSent => return Err(Some(Finding::NotSent)),
        proof::Proof::TooMany => return Err(Some(Finding::TooOften)),
    }
    if error.kind == TOO_BIG && !(MIN_MTU..chain.payload_end).contains(&(error.word as usize)) {
        return Err(Some(Finding::BadMtu));
    }
    if !budget.mended.take(now) {
        return Err(Some(Finding::TooOften));
    }
    let icmp = frame.get(error.icmp..error.end).unwrap_or_default();
    if checksum(&error.src, &error.dst, icmp) != 0 {
        return Err(Some(Finding::BadChecksum));
    }
    Ok(Quotation { chain, plan, form: option.form })
}

/// Whether the option stands where the box puts it (profile section 1): in the header directly before the upper layer, in
/// one of its own or at the other's end.
fn is_as_inserted(chain: &Chain, plan: &RemovePlan) -> bool {
    chain.option.is_some_and(|option| {
        let header = option.header;
        let end = header.offset + header.len;
        let alone = plan.at == header.offset && plan.len == header.len;
        let appended = plan.at == option.offset && plan.at + plan.len == end;
        end == chain.upper_offset && plan.len == option.form.header_len() && (alone || appended)
    })
}

/// Learns from a genuine error, and puts it into the host's terms.
fn act<B: PacketBuf>(
    shared: &Shared,
    counters: &WorkerCounters,
    budget: &mut ErrorBudget,
    packet: &mut B,
    error: &Error,
    quotation: &Quotation,
    now: u64,
) -> Finding {
    let (paths, destination, added) = (&shared.path_mtus, quotation.destination(), quotation.form.header_len());
    let mut word = error.word;
    match error.kind {
        TOO_BIG => {
            let mtu = error.word as usize;
            if budget.learnt.has(now) && paths.learn(destination, mtu, now) {
                budget.learnt.take(now);
                counters.path_mtus_learnt.add(1);
            }
            word = mtu.saturating_sub(added).max(MIN_MTU) as u32;
        }
        UNREACHABLE | PARAMETER_PROBLEM => match mending::word_for_host(error, quotation) {
            Some(mended) => word = mended,
            // The host hears nothing of octets that it did not send. What it sends again goes without them.
            None => {
                if budget.learnt.has(now) && paths.refuse(destination, now) {
                    budget.learnt.take(now);
                    counters.path_mtus_learnt.add(1);
                }
                return Finding::Refused;
            }
        },
        _ => {}
    }
    Mending { error, plan: &quotation.plan, word }.apply(packet);
    Finding::Mended
}

#[cfg(all(test, not(loom)))]
mod tests;

//! Whether a packet gets an option.

use super::Burst;
use super::chosen::{Chosen, Not, Plans};
use crate::flow::hash::FlowHash;
use crate::flow::lookup::Likely;
use crate::flow::record::{Vouched, WholeFlow};
use crate::flow::table::NoFlow;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, make_ready};
use crate::packet::mss;
use crate::packet::parse;
use crate::state::path_mtu::Known;
use crate::state::policies::{InboundAction, OutboundAction};
use crate::state::rules::Rules;
use protocol::five_tuple::FiveTuple;
use protocol::sender::Number;
use protocol::wire::dest_opts::plan_insert;
use protocol::wire::ipv6;
use protocol::wire::option::Form;

/// Chooses a packet of the plain shape whose flow is known and in which nothing is out of the way. `None`: [`choose`] it.
#[inline]
pub(super) fn choose_known<'a, B: PacketBuf>(
    burst: Burst<'_>,
    packet: &B,
    Likely { quick, flow, form, .. }: &Likely<'a>,
    number: u8,
) -> Option<Chosen<'a>> {
    let flow = flow.filter(|flow| form.is_none() && flow.back.is(&quick.words) && flow.owner() == burst.me)?;
    let Vouched { policy, limit } = match flow.vouched(burst.name) {
        Some(vouched) => vouched,
        None => vouch(burst, flow, &quick.words)?,
    };
    let form = burst.snapshot.rules.way_at(usize::from(policy))?.form;
    if quick.len > usize::from(limit) || packet.headroom() < form.header_len() {
        return None;
    }
    flow.prefetch_outbound_rest();
    flow.front.seen(burst.now);
    let link_local = ipv6::is_link_local(quick.words[0]);
    Some(Chosen {
        flow,
        number: Number::default(),
        policy: policy.into(),
        packet: number,
        plan: None,
        form,
        link_local,
        pointer: 0,
    })
}

/// Why a packet goes on as it came that came with an option of this kind, of a known flow. `None`: [`choose`] it.
#[inline]
pub(super) fn choose_measured(burst: Burst<'_>, Likely { quick, flow, form, .. }: &Likely<'_>) -> Option<Reason> {
    let (measured, flow) = (Some((*form)?), flow.filter(|flow| flow.back.is(&quick.words))?);
    let rules = &*burst.snapshot.rules;
    let index = rules.policy_of(Some(flow.back), &quick.words)?;
    left_alone(rules, index, measured, burst.now, || Some(flow))
}

/// Why packets of this policy get no option, or this packet, which came with one. `flow`: the packet's.
#[inline]
fn left_alone<'a>(
    rules: &Rules,
    index: usize,
    measured: Option<Form>,
    now: u64,
    flow: impl FnOnce() -> Option<WholeFlow<'a>>,
) -> Option<Reason> {
    let Some((policy, form)) = rules.policy(index).and_then(|policy| Some((policy, policy.mode.form()?))) else {
        return Some(Reason::Off);
    };
    if measured == Some(form)
        && policy.inbound != InboundAction::Pass
        && let Some(flow) = flow()
    {
        // What comes back with an option may be the other host's, and is left to this one.
        flow.back.set_host_measures(form);
        flow.back.seen(now);
    }
    if policy.outbound == OutboundAction::Pass {
        return Some(Reason::PolicyPass);
    }
    if rules.expired(index, now) {
        return Some(Reason::PolicyExpired);
    }
    measured.map(|measured| if measured == form { Reason::AlreadyMeasured } else { Reason::OtherForm })
}

/// What a flow is told once while a snapshot lasts and what is known of paths: its policy, whether this box speaks for its
/// source, and how long its packets may be for the option to fit the path.
#[cold]
fn vouch(
    Burst { shared, snapshot, name, now, .. }: Burst<'_>,
    flow: WholeFlow<'_>,
    words: &[u64; 5],
) -> Option<Vouched> {
    let (ring, rules) = (&*snapshot.ring, &*snapshot.rules);
    let (policy, way) = rules.way(flow.back.policy())?;
    let tuple = FiveTuple::from_words(*words);
    if way.form == Form::Encrypted && !ring.sealer.as_ref()?.seals(&tuple) {
        return None;
    }
    flow.use_in_lanes(ring.lanes_of(way.form, ipv6::is_link_local(words[0])));
    let room = shared.path_mtus.known(&tuple.dst, now).map_or(usize::MAX, |known| known.room(way.form.header_len()));
    // A policy whose place does not fit the word is no worse off than a packet of another shape.
    let policy = u16::try_from(policy).ok()?;
    let limit = if rules.expired(usize::from(policy), now) { 0 } else { way.add_up_to.min(room) };
    let vouched = Vouched { policy, limit: u16::try_from(limit).unwrap_or(u16::MAX) };
    flow.vouch(name, vouched);
    Some(vouched)
}

/// Whether a packet is none to be measured. Such packets have no flow, and there may be many of them. (Not inlined: the loop that
/// asks needs its registers for packets that are measured.)
#[inline(never)]
pub(super) fn is_off(rules: &Rules, likely: Option<&Likely<'_>>) -> bool {
    matches!(likely, Some(Likely { quick, flow: None, .. }) if rules.classify(&quick.words).is_none())
}

/// Finds the policy and the flow of one packet, and everything that could keep it from getting an option.
#[inline(never)]
pub(super) fn choose<'a, B: PacketBuf>(burst: Burst<'a>, packet: &mut B, plans: &mut Plans) -> Result<Chosen<'a>, Not> {
    let Burst { shared, snapshot, counters, now, .. } = burst;
    let (ring, rules) = (&*snapshot.ring, &*snapshot.rules);
    let parse::Parsed { l3, chain } = parse::parse(packet)?;
    let tuple = chain.five_tuple;
    let words = tuple.words();
    let hash = shared.table.hash(&words);
    let known = shared.table.find(hash, &words);
    let index = rules.policy_of(known.map(|flow| flow.back), &words).ok_or(Reason::Off)?;
    let policy = rules.policy(index).ok_or(Reason::Off)?;
    let form = policy.mode.form().ok_or(Reason::Off)?;
    if rules.config.mss_clamp {
        let mtu_with = |len| shared.mtu_with(rules, &tuple.dst, len, now);
        mss::clamp_packet(packet, l3, &chain, form, counters, mtu_with)?;
    }
    let measured = chain.option.map(|option| option.form);
    if let Some(reason) =
        left_alone(rules, index, measured, now, || known.or_else(|| enter(burst, &tuple, hash, index).ok()))
    {
        return Err(reason.into());
    }
    match (form, &ring.sealer) {
        (Form::Encrypted, None) => return Err(Reason::NoKey.into()),
        (Form::Encrypted, Some(sealer)) if !sealer.speaks_for(tuple.source()) => {
            return Err(Reason::SourceNotOurs.into());
        }
        (Form::Encrypted, Some(sealer)) if !sealer.keys.has(&tuple) => return Err(Reason::NoKey.into()),
        _ => {}
    }
    // What has to do with this packet alone its owner looks at, so that packets of a flow do not pass each other.
    if let Some(flow) = known {
        Not::unless_owned(flow, burst.me, counters)?;
    }
    let plan = plan_insert(&chain, &packet.data()[l3..], form)?;
    if chain.payload_end + plan.len > rules.config.outside_mtu {
        return Err(Reason::Oversize.into());
    }
    match shared.path_mtus.known(&tuple.dst, now) {
        Some(Known::Refused) => return Err(Reason::OptionRefused.into()),
        Some(known) if chain.payload_end > known.room(plan.len) => return Err(Reason::PathMtu.into()),
        _ => {}
    }
    if !make_ready(packet, || counters.copied.add(1)) {
        return Err(Reason::ReadOnly.into());
    }
    if packet.headroom() < plan.len {
        return Err(Reason::NoHeadroom.into());
    }
    let flow = match known {
        Some(flow) => flow,
        None => enter(burst, &tuple, hash, index)?,
    };
    Not::unless_owned(flow, burst.me, counters)?; // another worker may just have brought it into the table
    flow.back.seen(now);
    if known.is_none() {
        // Its second packet need not ask; it can have many that are no more than that.
        vouch(burst, flow, &words);
    }
    let link_local = ipv6::is_link_local(words[0]);
    plans.push((l3, plan));
    let plan = Some(plans.len() as u8 - 1);
    Ok(Chosen { flow, number: Number::default(), policy: index as u32, packet: 0, plan, form, link_local, pointer: 0 })
}

/// Brings a flow into the table.
fn enter<'a>(
    Burst { shared, snapshot, counters, me, now, .. }: Burst<'a>,
    tuple: &FiveTuple,
    hash: FlowHash,
    policy: usize,
) -> Result<WholeFlow<'a>, NoFlow> {
    let (flow, new) = shared.insert(me.into(), tuple, hash, policy, &snapshot.rules, now)?;
    counters.flows_inserted.add(u64::from(new));
    Ok(flow)
}

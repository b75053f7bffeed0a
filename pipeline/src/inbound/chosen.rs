//! The packets of a burst whose options are looked at.

use super::guess::Guess;
use crate::flow::hash::FlowHash;
use crate::flow::record::WholeFlow;
use crate::observe::counters::Outcome;
use crate::packet::buffer::PacketBuf;
use crate::packet::parse;
use crate::ports::BURST;
use crate::state::budgets::Purse;
use arrayvec::ArrayVec;
use protocol::five_tuple::FiveTuple;
use protocol::wire::dest_opts::RemovePlan;
use protocol::wire::option::{Form, Metrics};
use protocol::wire::profile::{PDM, PROFILE};

/// A packet with an option that is ours to look at. Small, since there are many of them: what only few need is in
/// [`Plans`].
pub(super) struct Chosen<'a> {
    /// Always there when there is no plan.
    pub(super) flow: Option<WholeFlow<'a>>,
    /// What a sealed one was most likely sealed under.
    pub(super) guess: Option<Guess>,
    /// The place of its policy among the rules.
    pub(super) policy: u32,
    /// Offset of the option in the frame.
    pub(super) option_at: u32,
    pub(super) packet: u8,
    /// Which of the plans is its own; `None`: it is of the measured shape.
    pub(super) plan: Option<u8>,
    pub(super) form: Form,
    /// Its slot in the batch, if it got one.
    pub(super) slot: Option<u8>,
    /// Whether its key was derived.
    pub(super) derived: bool,
    /// Whether there was no budget to derive it.
    pub(super) refused: bool,
    /// Whether the option is left in place.
    pub(super) keeps: bool,
}

/// A packet that is not of the measured shape, or of a flow that is not known.
pub(super) struct Plan {
    /// Where the IPv6 header is.
    pub(super) l3: usize,
    /// What goes out.
    pub(super) remove: RemovePlan,
    /// Of the outbound 5-tuple, which is the reverse of the packet's own.
    pub(super) words: [u64; 5],
    pub(super) hash: FlowHash,
}

pub(super) type Plans = ArrayVec<Plan, BURST>;

impl Chosen<'_> {
    pub(super) fn plan<'p>(&self, plans: &'p Plans) -> Option<&'p Plan> {
        plans.get(usize::from(self.plan?))
    }

    /// The packet's own 5-tuple.
    pub(super) fn tuple(&self, plans: &Plans) -> FiveTuple {
        let words = self.plan(plans).map(|p| p.words).or(self.flow.map(|f| f.back.words()));
        FiveTuple::from_words(words.unwrap_or_default()).reversed()
    }

    /// Where the derivation of its key is paid from.
    pub(super) const fn purse(&self) -> Purse {
        Purse::first(self.flow.is_some())
    }

    pub(super) const fn done(&self) -> Outcome {
        if self.keeps { Outcome::Verified(self.form) } else { Outcome::Removed(self.form) }
    }
}

/// A packet's first segment, from the option on.
#[inline]
pub(super) fn octets_of<'p, B: PacketBuf>(packets: &'p [B], c: &Chosen<'_>) -> Option<&'p [u8]> {
    packets.get(usize::from(c.packet))?.data().get(c.option_at as usize..)
}

/// What tells whether a packet is a TCP segment without data, if that is asked.
#[inline]
pub(super) fn is_bare<'p, B: PacketBuf>(packets: &'p [B], c: &Chosen<'_>) -> impl FnOnce() -> bool + use<'p, B> {
    let (packet, is_plain, form) = (packets.get(usize::from(c.packet)), c.plan.is_none(), c.form);
    move || match packet {
        Some(packet) if is_plain => parse::is_bare_behind(packet.data(), parse::ETHERNET, form),
        Some(packet) => parse::is_bare(packet),
        None => false,
    }
}

/// The metrics of an option in clear.
pub(super) fn metrics_in_clear<B: PacketBuf>(packets: &[B], c: &Chosen<'_>) -> Option<Metrics> {
    let octets = octets_of(packets, c)?;
    match c.form {
        Form::Pdm => octets.get(PDM.head_len..)?.first_chunk().map(Metrics::parse_pdm),
        _ => octets.get(PROFILE.head_len..)?.first_chunk().map(Metrics::parse),
    }
}

//! What no policy can name, told from the 5-tuple by a few compares, so that traffic that is not measured costs neither a hash
//! nor a look-up.
//!
//! Made once, with the rules. Its "no" is [`Rules::classify`]'s; its "yes" may be more: where there are many policies, prefixes
//! or port ranges, some stand for several, so that packets of measured flows do not pay for a long list.
//!
//! [`Rules::classify`]: crate::state::rules::Rules::classify

use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::PacketBuf;
use crate::packet::parse::Quick;
use crate::ports::BURST;
use crate::state::policies::{Mode, Policy, ProtocolMatch};
use arrayvec::ArrayVec;
use protocol::prefix::Prefix;

/// Policies that are asked one by one; those behind are asked as one.
const TESTS: usize = 8;
/// Packets between a line's being asked for and its being looked at.
const AHEAD: usize = 8;
/// Prefixes, and port ranges, of one of them.
const RANGES: usize = 4;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) enum Sieve {
    /// Nothing is measured.
    #[default]
    Nothing,
    /// Whatever comes may be.
    Everything,
    /// The first that holds decides.
    Some(Box<[Test]>),
}

/// A policy, or what covers several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Test {
    /// None of them: every address.
    inside: ArrayVec<Masked, RANGES>,
    outside: ArrayVec<Masked, RANGES>,
    /// None of them: every port.
    ports: ArrayVec<(u16, u16), RANGES>,
    protocol: Option<u8>,
    /// Whether what it holds of is measured.
    measured: bool,
}

/// A prefix as the words of a 5-tuple hold addresses.
#[derive(Clone, Copy, Debug)]
struct Masked {
    network: [u64; 2],
    mask: [u64; 2],
}

impl Sieve {
    pub(crate) fn of(policies: &[Policy]) -> Self {
        let measured = |policy: &Policy| policy.mode != Mode::Off;
        // Policies that are off say something only in front of those that are not.
        let last = policies.iter().rposition(measured);
        let Some(policies) = last.and_then(|last| policies.get(..=last)) else { return Self::Nothing };
        let mut tests = Vec::new();
        for (at, policy) in policies.iter().enumerate() {
            if tests.len() + 1 == TESTS {
                let rest: Vec<_> = policies.iter().skip(at).filter(|policy| measured(policy)).collect();
                tests.push(Test::covering(&rest));
                break;
            }
            // What is off must not be said of a packet more than its policy says it of.
            if measured(policy) || Test::is_exact(policy) {
                tests.push(Test::covering(&[policy]));
            }
        }
        match tests.first() {
            Some(first) if first.holds_of_all() => Self::Everything,
            _ => Self::Some(tests.into()),
        }
    }

    /// Whether packets of this outbound 5-tuple (as words) may be measured.
    #[inline]
    pub(crate) fn may_match(&self, outbound: &[u64; 5]) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Some(tests) => tests.iter().find(|test| test.holds(outbound)).is_some_and(|test| test.measured),
        }
    }

    /// Which packets of a burst no policy names, as bits, as far as it is asked to find out: `parse` gives the outbound 5-tuple of
    /// those of the usual shapes. `None`: that are all of them, and `outcomes` says so.
    #[inline]
    pub(crate) fn sift<B: PacketBuf>(
        &self,
        sifting: bool,
        packets: &[B],
        parse: impl Fn(&B) -> Option<Quick>,
        outcomes: &mut ArrayVec<Outcome, BURST>,
    ) -> Option<u32> {
        outcomes.clear();
        let off = match self {
            Self::Nothing => u32::MAX,
            Self::Some(_) if sifting => self.off(packets, parse),
            Self::Some(_) | Self::Everything => return Some(0),
        };
        if off.trailing_ones() as usize >= packets.len() {
            outcomes.extend(core::iter::repeat_n(Outcome::Passed(Reason::Off), packets.len().min(BURST)));
            return None;
        }
        Some(off)
    }

    /// (Not inlined: for packets that are measured it is not called.)
    #[inline(never)]
    fn off<B: PacketBuf>(&self, packets: &[B], parse: impl Fn(&B) -> Option<Quick>) -> u32 {
        let prefetch = |packet: &B| {
            if let Some(octet) = packet.data().first() {
                protocol::prefetch::line(octet);
            }
        };
        packets.iter().take(AHEAD).for_each(prefetch);
        let mut off = 0;
        for (i, packet) in packets.iter().enumerate().take(BURST) {
            packets.iter().skip(i + AHEAD).take(1).for_each(prefetch);
            if let Some(quick) = parse(packet) {
                off |= u32::from(!self.may_match(&quick.words)) << i;
            }
        }
        off
    }

    /// Whether the next burst is sifted, this one having ended so: that costs each packet something, and spares those that are not
    /// measured some ten times as much.
    #[inline]
    pub(crate) fn is_worth_it(&self, outcomes: &[Outcome]) -> bool {
        let off = || outcomes.iter().filter(|&&outcome| outcome == Outcome::Passed(Reason::Off)).count();
        matches!(self, Self::Some(_)) && 8 * off() >= outcomes.len()
    }
}

impl Test {
    /// Whether a policy is told apart from all else.
    fn is_exact(policy: &Policy) -> bool {
        [policy.inside.len(), policy.outside.len(), policy.ports.len()].iter().all(|&len| len <= RANGES)
    }

    /// Holds of all that one of these policies names, which are all measured, or one that is not.
    fn covering(policies: &[&Policy]) -> Self {
        let mut protocols = policies.iter().map(|policy| match policy.protocol {
            ProtocolMatch::Any => None,
            ProtocolMatch::Number(number) => Some(number),
        });
        let first = protocols.next().flatten();
        Self {
            inside: prefixes(policies.iter().map(|policy| &policy.inside[..])),
            outside: prefixes(policies.iter().map(|policy| &policy.outside[..])),
            ports: ports(policies.iter().map(|policy| &policy.ports[..])),
            protocol: first.filter(|_| protocols.all(|other| other == first)),
            measured: policies.iter().all(|policy| policy.mode != Mode::Off),
        }
    }

    fn holds_of_all(&self) -> bool {
        self.measured
            && self.protocol.is_none()
            && self.ports.is_empty()
            && self.inside.is_empty()
            && self.outside.is_empty()
    }

    #[inline]
    fn holds(&self, &[src, src2, dst, dst2, rest]: &[u64; 5]) -> bool {
        let within = |list: &[Masked], address| list.is_empty() || list.iter().any(|masked| masked.contains(address));
        let (sport, dport) = ((rest as u16).swap_bytes(), ((rest >> 16) as u16).swap_bytes());
        let port = |&(lo, hi): &(u16, u16)| (lo <= sport && sport <= hi) | (lo <= dport && dport <= hi);
        self.protocol.is_none_or(|number| u64::from(number) == rest >> 32)
            && within(&self.inside, [src, src2])
            && within(&self.outside, [dst, dst2])
            && (self.ports.is_empty() || self.ports.iter().any(port))
    }
}

impl Masked {
    /// The least prefix that holds these addresses.
    fn from_to(first: u128, last: u128) -> Self {
        let mask = match (first ^ last).leading_zeros() {
            0 => 0,
            len => u128::MAX << (128 - len),
        };
        let words = |bits: u128| {
            let bits = bits.swap_bytes();
            [bits as u64, (bits >> 64) as u64]
        };
        Self { network: words(first & mask), mask: words(mask) }
    }

    #[inline]
    const fn contains(&self, [first, second]: [u64; 2]) -> bool {
        let ([a, b], [m, n]) = (self.network, self.mask);
        (first ^ a) & m | (second ^ b) & n == 0
    }
}

/// Few prefixes that hold what these lists hold; none, as in a list, stand for every address.
fn prefixes<'p>(lists: impl Iterator<Item = &'p [Prefix]>) -> ArrayVec<Masked, RANGES> {
    let Some(all) = joined(lists) else { return ArrayVec::new() };
    let mut all: Vec<_> = all.iter().map(|prefix| (prefix.first_bits(), prefix.last_bits())).collect();
    all.sort_unstable();
    // Cut where neighbours have least in common.
    let mut cuts: Vec<_> = (1..all.len()).collect();
    cuts.sort_by_key(|&at| (all[at - 1].0 ^ all[at].0).leading_zeros());
    cuts.truncate(RANGES - 1);
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([all.len()]);
    let mut begin = 0;
    let cover = |end: usize| {
        let group = all.get(core::mem::replace(&mut begin, end)..end)?;
        let last = group.iter().map(|&(_, last)| last).max()?;
        Some(Masked::from_to(group.first()?.0, last))
    };
    let covers: ArrayVec<_, RANGES> = ends.filter_map(cover).collect();
    // As good as no prefix at all, and cheaper.
    if covers.iter().any(|masked| masked.mask == [0, 0]) { ArrayVec::new() } else { covers }
}

/// The same of port ranges.
fn ports<'p>(lists: impl Iterator<Item = &'p [(u16, u16)]>) -> ArrayVec<(u16, u16), RANGES> {
    let Some(all) = joined(lists) else { return ArrayVec::new() };
    if all.len() <= RANGES {
        return all.into_iter().collect();
    }
    let lowest = all.iter().map(|&(lo, _)| lo).min();
    let highest = all.iter().map(|&(_, hi)| hi).max();
    lowest.zip(highest).into_iter().collect()
}

/// All of these lists; `None`: one of them is empty, and so stands for everything.
fn joined<'p, T: Copy + 'p>(lists: impl Iterator<Item = &'p [T]>) -> Option<Vec<T>> {
    let mut all = Vec::new();
    for list in lists {
        if list.is_empty() {
            return None;
        }
        all.extend_from_slice(list);
    }
    Some(all)
}

#[cfg(all(test, not(loom)))]
mod tests;

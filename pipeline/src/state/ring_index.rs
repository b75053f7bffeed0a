//! How a worker finds a peer, however many there are: by its number, and by the source that it speaks for. Made with the
//! ring, off the packet path; a look-up is a few steps in tables that do not change.
//!
//! By source: prefixes cut the addresses into segments, in each of which the same peers fit. So the segments' beginnings,
//! ascending, and the peers that fit behind each, are all that a search needs.

use crate::state::keyring::Peer;
use crate::state::newest::Newest;
use crate::state::prefixes::Prefixes;
use arrayvec::ArrayVec;
use protocol::suite::Aead;

/// Peers that one source may belong to and that are tried.
pub(crate) const MOST_SPEAKERS: usize = 4;

/// Places of peers in their ring, those of the longest prefix first.
type Speakers = ArrayVec<u16, MOST_SPEAKERS>;

/// In the table by number: no peer has this one.
const NOBODY: u16 = u16::MAX;

/// See the module.
#[derive(Debug, Default)]
pub struct RingIndex {
    /// The lowest number there is.
    lowest: u16,
    /// From it on, the place of the peer with each number. Numbers are never given twice, so there may be gaps.
    places: Box<[u16]>,
    /// Where a segment begins.
    begins: Box<[u128]>,
    /// Who speaks for it.
    speakers: Box<[Speakers]>,
    /// By place, what nearly every packet asks of a peer.
    briefs: Box<[Brief]>,
}

/// What nearly every packet that comes back asks of the peer that its flow's packet before was of, on one cache line: among
/// thousands of peers each packet's may be another one.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Brief {
    /// The first range of addresses that it speaks for; empty if there is none.
    range: (u128, u128),
    /// There are more of them.
    has_more: bool,
    pub(crate) aead: Aead,
    /// As the peer's own.
    pub(crate) newest: Newest,
}

const _: () = assert!(size_of::<Brief>() == 64);

impl Brief {
    pub(crate) fn of(Peer { aead, prefixes, newest, .. }: &Peer) -> Self {
        let mut ranges = prefixes.ranges();
        // Nothing lies between these.
        let range = ranges.next().unwrap_or((1, 0));
        Self { range, has_more: ranges.next().is_some(), aead: *aead, newest: newest.clone() }
    }

    /// The range around this source that it speaks for. `Err`: another one may be around it.
    #[inline]
    pub(crate) fn range_of(&self, source: u128) -> Result<Option<(u128, u128)>, ()> {
        let (first, last) = self.range;
        if first <= source && source <= last {
            return Ok(Some(self.range));
        }
        if self.has_more { Err(()) } else { Ok(None) }
    }
}

impl RingIndex {
    /// Of peers with these numbers that speak for these sources. Of two with one number the first counts.
    pub(crate) fn new<'a>(peers: impl IntoIterator<Item = (u16, &'a Prefixes)>) -> Self {
        let peers: Vec<_> = peers.into_iter().take(usize::from(NOBODY)).collect();
        let lowest = peers.iter().map(|&(number, _)| number).min().unwrap_or(0);
        let highest = peers.iter().map(|&(number, _)| number).max().unwrap_or(0);
        let mut places = vec![NOBODY; usize::from(highest - lowest) + 1];
        for (place, &(number, _)) in peers.iter().enumerate().rev() {
            places[usize::from(number - lowest)] = place as u16;
        }
        let Segments { begins, speakers } = Segments::of(&peers);
        Self { lowest, places: places.into(), begins: begins.into(), speakers: speakers.into(), briefs: Box::default() }
    }

    /// With what nearly every packet asks of these peers, by place.
    pub(crate) fn with_briefs(self, peers: &[Peer]) -> Self {
        Self { briefs: peers.iter().map(Brief::of).collect(), ..self }
    }

    /// What nearly every packet asks of a peer.
    #[inline]
    pub(crate) fn brief(&self, number: u16) -> Option<&Brief> {
        self.briefs.get(self.place(number)?)
    }

    /// The place of the peer with this number.
    #[inline]
    pub(crate) fn place(&self, number: u16) -> Option<usize> {
        let place = *self.places.get(usize::from(number.checked_sub(self.lowest)?))?;
        (place != NOBODY).then_some(usize::from(place))
    }

    /// The places of the peers that speak for this source.
    #[inline]
    pub(crate) fn speakers(&self, source: u128) -> &[u16] {
        let behind = self.begins.partition_point(|&begin| {
            #[cfg(all(test, not(loom)))]
            steps::count();
            begin <= source
        });
        behind.checked_sub(1).and_then(|at| self.speakers.get(at)).map_or(&[], |speakers| speakers)
    }
}

/// The segments, while they are made: ascending, and no two neighbours alike.
#[derive(Default)]
struct Segments {
    begins: Vec<u128>,
    speakers: Vec<Speakers>,
}

impl Segments {
    fn of(peers: &[(u16, &Prefixes)]) -> Self {
        let mut listed: Vec<(u128, u8, u128, u16)> = Vec::new();
        for (place, (_, prefixes)) in peers.iter().enumerate() {
            listed.extend(prefixes.iter().map(|p| (p.first_bits(), p.len(), p.last_bits(), place as u16)));
        }
        // A prefix comes behind those that it lies in; of one prefix the peers come as they stand in the ring.
        listed.sort_unstable();
        let mut this = Self::default();
        // The prefixes that the one at hand lies in, with who speaks for what is in no longer one.
        let mut open: Vec<(u128, Speakers)> = Vec::new();
        for same in listed.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let Some(&(first, _, last, _)) = same.first() else { continue };
            this.close(&mut open, |end| end < first);
            let mut speakers = Speakers::new();
            let around = open.last().map(|(_, speakers)| speakers.as_slice()).unwrap_or_default();
            // Of each prefix around it there are as many as can be needed: those that stand there twice are made up for.
            for &place in same.iter().map(|(.., place)| place).chain(around) {
                if !speakers.is_full() && !speakers.contains(&place) {
                    speakers.push(place);
                }
            }
            this.begin(first, speakers.clone());
            open.push((last, speakers));
        }
        this.close(&mut open, |_| true);
        this
    }

    /// Ends the open prefixes that end so: behind them is what they lie in.
    fn close(&mut self, open: &mut Vec<(u128, Speakers)>, ends: impl Fn(u128) -> bool) {
        while let Some((last, _)) = open.pop_if(|(last, _)| ends(*last)) {
            if let Some(behind) = last.checked_add(1) {
                self.begin(behind, open.last().map(|(_, speakers)| speakers.clone()).unwrap_or_default());
            }
        }
    }

    fn begin(&mut self, at: u128, speakers: Speakers) {
        if self.begins.last() == Some(&at) {
            self.begins.pop();
            self.speakers.pop();
        }
        if self.speakers.last().map(Speakers::as_slice).unwrap_or_default() != speakers.as_slice() {
            self.begins.push(at);
            self.speakers.push(speakers);
        }
    }
}

/// How many steps this thread's look-ups have taken.
#[cfg(all(test, not(loom)))]
mod steps {
    use core::cell::Cell;

    thread_local!(static STEPS: Cell<u64> = const { Cell::new(0) });

    pub fn count() {
        STEPS.set(STEPS.get() + 1);
    }

    pub fn taken() -> u64 {
        STEPS.take()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::prefix::Prefix;

    /// A peer as the index sees it.
    struct Peer {
        number: u16,
        prefixes: Prefixes,
    }

    fn peer(number: u16, prefixes: Vec<Prefix>) -> Peer {
        Peer { number, prefixes: prefixes.into() }
    }

    fn index(peers: &[Peer]) -> RingIndex {
        RingIndex::new(peers.iter().map(|p| (p.number, &p.prefixes)))
    }

    /// As it was searched for before: every peer is asked. The longest prefix first, then as they stand in the ring.
    fn asked(peers: &[Peer], source: u128) -> Vec<u16> {
        let longest = |p: &Peer| p.prefixes.iter().filter(|p| p.contains_bits(source)).map(Prefix::len).max();
        let mut fit: Vec<_> = peers.iter().enumerate().filter_map(|(i, p)| Some((longest(p)?, i as u16))).collect();
        fit.sort_by_key(|&(len, i)| (core::cmp::Reverse(len), i));
        fit.into_iter().map(|(_, i)| i).take(MOST_SPEAKERS).collect()
    }

    fn prefix() -> impl Strategy<Value = Prefix> {
        // Few networks, so that many nest and many are the same.
        let len = prop_oneof![Just(0u8), 1u8..=6, 124u8..=128];
        (0u8..8, 0u8..16, len).prop_map(|(high, low, len)| {
            let address = u128::from(high) << 125 | u128::from(low);
            Prefix::new(address.to_be_bytes(), len).expect("a length")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn as_if_each_peer_were_asked(
            lists in prop::collection::vec(prop::collection::vec(prefix(), 0..6), 0..12),
            numbers in prop::collection::btree_set(1u16.., 12),
            sources in prop::collection::vec((0u8..8, 0u8..17), 1..32),
        ) {
            let peers: Vec<_> = lists.into_iter().zip(&numbers).map(|(list, &number)| peer(number, list)).collect();
            let index = self::index(&peers);
            let edges = peers.iter().flat_map(|p| p.prefixes.iter()).flat_map(|p| [p.first_bits(), p.last_bits(), p.last_bits().wrapping_add(1)]);
            let sources = sources.into_iter().map(|(high, low)| u128::from(high) << 125 | u128::from(low));
            for source in sources.chain(edges).chain([0, u128::MAX]) {
                prop_assert_eq!(index.speakers(source), &asked(&peers, source)[..], "{:x}", source);
            }
            for number in numbers.iter().flat_map(|&n| [n, n.wrapping_add(1), n - 1]) {
                prop_assert_eq!(index.place(number), peers.iter().position(|p| p.number == number));
            }
        }
    }

    #[test]
    fn two_boxes_of_one_prefix_are_both_found_in_order_and_a_longer_prefix_first() {
        let p = |text: &str| text.parse::<Prefix>().expect("a prefix");
        let peers = [
            peer(9, vec![p("2001:db8::/32")]),
            peer(4, vec![p("2001:db8:a::/48")]),
            peer(65_535, vec![p("2001:db8:a::/48"), p("2001:db8:c::/48")]),
        ];
        let index = self::index(&peers);
        let of = |text: &str| {
            let places = index.speakers(text.parse::<core::net::Ipv6Addr>().expect("an address").into());
            places.iter().map(|&at| peers[usize::from(at)].number).collect::<Vec<_>>()
        };
        assert_eq!(of("2001:db8:a::1"), [4, 65_535, 9]);
        assert_eq!(of("2001:db8:b::1"), [9]);
        assert_eq!(of("2001:db8:c::1"), [65_535, 9]);
        assert_eq!(of("2001:db9::1"), [0u16; 0]);
        assert_eq!(index.places.len(), 65_532, "from 4 on, and nothing below");
    }

    /// 64 prefixes are what a node may have.
    #[test]
    fn a_search_takes_few_steps_however_many_prefixes_there_are() {
        let network = |i: u32| Prefix::new((0x2001_0DB8_u128 << 96 | u128::from(i) << 64).to_be_bytes(), 64);
        let list = |number: u16| (0..64).map(|i| network(u32::from(number) * 64 + i).expect("a length")).collect();
        let peers: Vec<_> = (1..=4000).map(|number| peer(number, list(number))).collect();
        let index = self::index(&peers);
        for i in [0, 64, 65, 99_999, 4000 * 64, 4001 * 64] {
            steps::taken();
            let found = index.speakers(network(i).expect("a length").first_bits());
            let expected = (64..4001 * 64).contains(&i).then(|| (i / 64 - 1) as u16);
            assert_eq!((found.first().copied(), steps::taken() <= 20), (expected, true), "network {i}");
        }
    }

    #[test]
    fn without_peers_nothing_is_found() {
        let index = self::index(&[]);
        assert_eq!((index.place(0), index.place(1), index.speakers(5).len()), (None, None, 0));
        assert_eq!(RingIndex::default().place(0), None);
    }
}

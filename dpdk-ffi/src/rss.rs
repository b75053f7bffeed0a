//! How a port spreads packets over its queues: the hash key, and what of it is in force.

use crate::sys;
use core::sync::atomic::{AtomicU8, Ordering};

/// The longest key that a driver can ask for: it says how long in one octet.
const LONGEST: usize = 256;

/// Octets of a key where the driver does not say: what two IPv6 addresses and two ports need.
const USUAL: u8 = 40;

/// Entries of the largest redirection table that is looked at, and of one part of it.
const LARGEST_TABLE: u16 = 4096;
const TABLE_PART: u16 = 64;

/// An octet of a Toeplitz key of period 16 bits, under which both directions of a connection hash alike (Woo and Park,
/// 2012).
fn octet(at: usize) -> u8 {
    if at.is_multiple_of(2) { 0x6D } else { 0x5A }
}

/// A key that DPDK has a pointer to.
type Key = [AtomicU8; LONGEST];

/// The ports' keys, by number. DPDK keeps the pointer it is configured with, and drivers read the key there when the port is
/// started, some when it is reset: so they are here for good, in memory that may be written to, as the pointer's type says.
static KEYS: [Key; sys::RTE_MAX_ETHPORTS as usize] =
    [const { [const { AtomicU8::new(0) }; LONGEST] }; sys::RTE_MAX_ETHPORTS as usize];

/// What a port is asked to hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash {
    port: u16,
    /// Header fields, as far as the driver can.
    pub fields: u64,
    /// Octets of the key.
    length: u8,
}

impl Hash {
    /// `None`: the driver cannot hash IP packets. IPv6 packets `by_addresses` alone, if it can.
    pub fn new(port: u16, info: &sys::rte_eth_dev_info, alone: bool) -> Option<Self> {
        let mut fields = info.flow_type_rss_offloads & sys::PDM_RSS_FIELDS;
        if alone && by_addresses(info) {
            fields &= !sys::PDM_RSS_IPV6_PORTS;
        }
        let length = if info.hash_key_size == 0 { USUAL } else { info.hash_key_size };
        (fields != 0).then_some(Self { port, fields, length })
    }

    /// The setting for DPDK. What it points to lives for good.
    pub fn conf(self) -> sys::rte_eth_rss_conf {
        let key = &KEYS[usize::from(self.port)];
        for (at, place) in key.iter().enumerate() {
            place.store(octet(at), Ordering::Relaxed);
        }
        sys::rte_eth_rss_conf { rss_key: key.as_ptr().cast_mut().cast(), rss_key_len: self.length, rss_hf: self.fields }
    }

    /// Has a started port hash as it was configured to: some drivers take the fields from the configuration, and keep a
    /// key of their own.
    pub fn put_in_force(self) {
        let Some((_, key)) = self.in_force() else { return };
        if !is_symmetric(&key) {
            let mut conf = self.conf();
            // SAFETY: the port exists; the setting lives until the call returns, its key for good. What comes of it shows
            // when it is read again.
            unsafe { sys::rte_eth_dev_rss_hash_update(self.port, &raw mut conf) };
        }
    }

    /// Fields and key that the driver says are in force. `None`: it does not say.
    pub fn in_force(self) -> Option<(u64, Vec<u8>)> {
        let mut key = [0; LONGEST];
        let mut conf =
            sys::rte_eth_rss_conf { rss_key: key.as_mut_ptr(), rss_key_len: self.length, ..Default::default() };
        // SAFETY: the port exists; the answer's place is of its type, and the key's has room for the longest.
        let done = unsafe { sys::rte_eth_dev_rss_hash_conf_get(self.port, &raw mut conf) };
        (done >= 0).then(|| (conf.rss_hf, key[..usize::from(self.length)].to_vec()))
    }
}

/// Whether a driver can hash all IPv6 packets by their addresses alone. Others know only kinds of IPv6 packets (i40e: TCP, UDP,
/// …), each with its ports: without a kind its packets would all go to the first queue.
pub(crate) const fn by_addresses(info: &sys::rte_eth_dev_info) -> bool {
    info.flow_type_rss_offloads & sys::PDM_RSS_IPV6 != 0
}

/// What these fields are of an IPv6 packet.
pub(crate) const fn of_ipv6(fields: u64) -> HashedBy {
    if fields & sys::PDM_RSS_IPV6_PORTS != 0 {
        HashedBy::Ports
    } else if fields & sys::PDM_RSS_FIELDS != 0 {
        HashedBy::Addresses
    } else {
        HashedBy::Nothing
    }
}

/// What of an IPv6 packet decides about its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashedBy {
    /// Nothing.
    Nothing,
    /// Its addresses.
    Addresses,
    /// Its addresses, and its ports where the driver finds them.
    Ports,
}

/// Whether both directions of a connection hash alike under a key: it repeats itself after 16 bits.
fn is_symmetric(key: &[u8]) -> bool {
    key.iter().zip(key.iter().skip(2)).all(|(a, b)| a == b) && key.iter().any(|&o| o != 0)
}

/// Queues, of those there are, that a port's redirection table of this many entries leads to.
pub(crate) fn queues_reached(port: u16, queues_there: u16, entries: u16) -> Option<u16> {
    if !(1..=LARGEST_TABLE).contains(&entries) {
        return None;
    }
    let all = sys::rte_eth_rss_reta_entry64 { mask: u64::MAX, ..Default::default() };
    let mut table = vec![all; usize::from(entries.div_ceil(TABLE_PART))];
    // SAFETY: the port exists; there are as many parts as these entries need.
    let done = unsafe { sys::rte_eth_dev_rss_reta_query(port, table.as_mut_ptr(), entries) };
    if done < 0 {
        return None;
    }
    let mut queues: Vec<u16> = table.iter().flat_map(|part| part.reta).take(usize::from(entries)).collect();
    queues.retain(|&queue| queue < queues_there);
    queues.sort_unstable();
    queues.dedup();
    Some(queues.len() as u16)
}

/// How a started port spreads packets over its queues, as its driver says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Queues it was started with.
    pub queues: u16,
    /// Whether it hashes IP packets. With one queue it is not asked to.
    pub hashes: bool,
    /// The key in force. `None`: it does not say.
    pub key: Option<Vec<u8>>,
    /// Queues that its redirection table leads to. `None`: it does not say.
    pub reached: Option<u16>,
    /// What it hashes of IPv6 packets. `None`: it does not say, or is not asked to.
    pub ipv6: Option<HashedBy>,
}

impl Spread {
    /// Whether the two directions of a connection meet on one queue number. `None`: the driver does not say.
    #[must_use]
    pub fn symmetric(&self) -> Option<bool> {
        self.key.as_deref().map(is_symmetric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mempool, PortConfig, testing};

    /// Toeplitz, as Microsoft and the NICs have it.
    fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
        let bit = |octets: &[u8], at: usize| octets[at / 8] >> (7 - at % 8) & 1 == 1;
        let window = |at: usize| (at..at + 32).fold(0, |w, i| w << 1 | u32::from(bit(key, i)));
        (0..input.len() * 8).filter(|&at| bit(input, at)).fold(0, |hash, at| hash ^ window(at))
    }

    fn key(length: usize) -> Vec<u8> {
        (0..length).map(octet).collect()
    }

    #[test]
    fn toeplitz_is_the_real_one() {
        // Microsoft's verification suite: 66.9.149.187:2794 to 161.142.100.80:1766.
        let key = [
            0x6D, 0x5A, 0x56, 0xDA, 0x25, 0x5B, 0x0E, 0xC2, 0x41, 0x67, 0x25, 0x3D, 0x43, 0xA3, 0x8F, 0xB0, 0xD0, 0xCA,
            0x2B, 0xCB, 0xAE, 0x7B, 0x30, 0xB4, 0x77, 0xCB, 0x2D, 0xA3, 0x80, 0x30, 0xF2, 0x0C, 0x6A, 0x42, 0xB7, 0x3B,
            0xBE, 0xAC, 0x01, 0xFA,
        ];
        assert_eq!(toeplitz(&key, &[66, 9, 149, 187, 161, 142, 100, 80, 0x0A, 0xEA, 0x06, 0xE6]), 0x51CC_C178);
        assert!(!is_symmetric(&key) && !is_symmetric(&[0; 40]));
    }

    #[test]
    fn both_directions_hash_alike_under_the_key_whatever_its_length() {
        let mut state = 1u64;
        let mut random = |n: usize| -> Vec<u8> {
            let mut octet = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            };
            (0..n).map(|_| octet()).collect()
        };
        let mut hashes = std::collections::HashSet::new();
        for length in [40, 41, 52, 53, 64, 128, 255] {
            assert!(is_symmetric(&key(length)));
            for address in [4, 16] {
                for _ in 0..500 {
                    let (a, b, p, q) = (random(address), random(address), random(2), random(2));
                    let there = toeplitz(&key(length), &[&a[..], &b, &p, &q].concat());
                    assert_eq!(there, toeplitz(&key(length), &[&b[..], &a, &q, &p].concat()));
                    assert_eq!(
                        toeplitz(&key(length), &[&a[..], &b].concat()),
                        toeplitz(&key(length), &[&b[..], &a].concat())
                    );
                    hashes.insert(there);
                }
            }
        }
        assert!(hashes.len() > 5000, "and connections are told apart: {}", hashes.len());
    }

    #[test]
    fn addresses_alone_are_hashed_where_all_ipv6_packets_have_them() {
        let of = |offered, alone| {
            let info = sys::rte_eth_dev_info { flow_type_rss_offloads: offered, ..Default::default() };
            Hash::new(0, &info, alone).map(|hash| (hash.fields, of_ipv6(hash.fields)))
        };
        let (all, ports) = (sys::PDM_RSS_FIELDS, sys::PDM_RSS_IPV6_PORTS);
        assert_eq!(of(all, false), Some((all, HashedBy::Ports)));
        assert_eq!(of(all | 1 << 60, true), Some((all & !ports, HashedBy::Addresses)));
        // A driver that knows IPv6 packets by their kinds alone.
        assert_eq!(of(ports, true), Some((ports, HashedBy::Ports)));
        assert_eq!((of(1 << 60, true), of_ipv6(0)), (None, HashedBy::Nothing));
    }

    /// Overwrites what functions that have returned left on the stack.
    #[inline(never)]
    fn write_over_the_stack() -> u8 {
        let stack = core::hint::black_box([0xEEu8; 1 << 16]);
        stack[usize::from(stack[0])]
    }

    #[test]
    fn the_key_lives_as_long_as_dpdk_may_read_it_and_is_in_force() {
        let eal = testing::eal();
        let pool = Mempool::new(&eal, "hash", 1023, 0, 2048 + 128, None).expect("pool");
        let config = PortConfig { queues: 2, rx_descriptors: 256, tx_descriptors: 256, mtu: None, promiscuous: true };
        let mut port = eal.port("net_null0").expect("port");
        port.configure(&config, &pool).expect("configured");
        assert_eq!(write_over_the_stack(), 0xEE);

        // What a driver reads when the port is started: the key that DPDK was told of when it was configured.
        let mut conf = sys::rte_eth_conf::default();
        // SAFETY: the port exists; the answer's place is of its type.
        assert_eq!(unsafe { sys::rte_eth_dev_conf_get(port.inner.id, &raw mut conf) }, 0);
        let rss = conf.rx_adv_conf.rss_conf;
        assert_eq!((rss.rss_key_len, rss.rss_hf & !sys::PDM_RSS_FIELDS), (40, 0));
        // SAFETY: the test is about that this points to so many octets.
        let kept = unsafe { core::slice::from_raw_parts(rss.rss_key, usize::from(rss.rss_key_len)) };
        assert_eq!(kept, key(40));

        // net_null has a key of its own until it is told another.
        let port = port.start().expect("started");
        let spread = port.spread().expect("said");
        assert_eq!((spread.queues, spread.hashes, spread.symmetric()), (2, true, Some(true)));
        assert_eq!(spread.key.as_deref(), Some(&key(40)[..]));
        assert_eq!(spread.reached, Some(1), "net_null's table is all zeros");

        let mut one = eal.port("net_null1").expect("port");
        one.configure(&PortConfig { queues: 1, ..config }, &pool).expect("configured");
        let spread = one.start().expect("started").spread().expect("said");
        assert_eq!(spread, Spread { queues: 1, hashes: false, key: None, reached: None, ipv6: None });
    }
}

//! The stages of packets that come back ([`portable`](crate::lanes::inbound::portable)), four blocks or sixteen words in a
//! register.

use super::ops::{
    Z, and, each, four, load_blocks, load_words, low_longs, octets, of_arrays, of_bucket, of_records, or, settle,
    store_blocks, store_longs, transpose, word, xor,
};
use super::{fingerprint, of_group};
use crate::flow::hash::{FlowHash, HashKey};
use crate::flow::index::FlowIndex;
use crate::lanes::inbound::{FLAGS_AT, HEAD, Head, OPTION, Scratch, UPPER, View, ask_for, by_other_buckets};
use crate::lanes::record::{FINGERPRINT_AT, NOBODY, Record};
use crate::lanes::scratch::GROUP;
use crate::packet::parse::PLAIN_UPPER;
use crate::ports::BURST;
use core::arch::x86_64::{
    _mm512_add_epi32, _mm512_cmpeq_epi32_mask, _mm512_cmpge_epu32_mask, _mm512_cmple_epu32_mask, _mm512_srli_epi32,
    _mm512_ternarylogic_epi64, _mm512_test_epi32_mask, _mm512_testn_epi32_mask,
};
use core::hint::select_unpredictable;
use protocol::prefetch;
use protocol::sync::Ordering;
use protocol::wire::ipv6;
use protocol::wire::option::Form;
use protocol::wire::profile::PROFILE;

/// The stages, one after the other. Gives the packets whose flow is known, as bits by their places.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::lanes) fn front<'a>(
    view: &View<'a>,
    heads: &[&Head; BURST],
    records: &mut [&'a Record; BURST],
    s: &mut Scratch,
) -> u32 {
    parse(view.key, heads, s);
    find(view, records, s);
    check(records, s)
}

/// Register `I` of a block at `AT` in sixteen heads.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn of_heads<const I: usize, const AT: usize>(heads: &[&Head; GROUP]) -> Z {
    of_arrays::<I, AT, HEAD>(heads)
}

/// The header behind the IPv6 header from its third octet on: padding, then the option's first two octets.
const BEGIN: u32 = u32::from_le_bytes([1, 0, PROFILE.option_type, Form::Encrypted.data_len()]);
/// Where in the block at 48 the header's Next Header stands, and octets of the block at 82 that are the ports.
const NEXT: usize = PLAIN_UPPER - 48;
const PORTS: usize = UPPER - 82;
const _: () = assert!(NEXT == 6 && PORTS == 12 && OPTION == 58);

/// Which packets are of the measured shape, F of their options, and the fingerprints of their reversed 5-tuples, which are those
/// of their flows. What is not of the shape gets some fingerprint, too.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::lanes) fn parse(key: &HashKey, heads: &[&Head; BURST], s: &mut Scratch) {
    // Ports change places; Next Header stands where it does in a packet towards the network.
    const PORTS_BACK: [u8; 16] = [128, 128, 128, 128, 128, 128, 14, 15, 12, 13, 128, 128, 128, 128, 128, 128];
    const NEXT_HEADER: [u8; 16] = [128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 6, 128, 128, 128];
    (s.measured, s.f) = (0, 0);
    for (g, heads) in heads.as_chunks::<GROUP>().0.iter().enumerate().take(s.groups()) {
        let option = four!(I => of_heads::<I, 48>(heads));
        let prints = four!(I => {
            let (source, destination) = (of_heads::<I, 38>(heads), of_heads::<I, 22>(heads));
            let ports = octets(of_heads::<I, 82>(heads), &PORTS_BACK);
            fingerprint(key, source, destination, or(ports, octets(option[I], &NEXT_HEADER)))
        });
        store_blocks(&mut s.fingerprint[g], prints);
        store_longs(&mut s.hash[g], low_longs(prints));
        let [_, kind, payload, next] = transpose(four!(I => of_heads::<I, 8>(heads)));
        let [_, begin, padding, field] = transpose(option);
        let is_ipv6 = _mm512_cmpeq_epi32_mask(and(kind, word(0x00F0_FFFF)), word(0x0060_DD86));
        let dest_opts = _mm512_cmpeq_epi32_mask(and(next, word(0xFF)), word(ipv6::DEST_OPTS.into()));
        // Hdr Ext Len is above Next Header, both in the upper half; version in the high four bits.
        let units =
            _mm512_cmpeq_epi32_mask(_mm512_srli_epi32::<24>(begin), word(Form::Encrypted.header_units().into()));
        let padded = _mm512_cmpeq_epi32_mask(padding, word(BEGIN));
        let version = _mm512_cmpeq_epi32_mask(and(field, word(0xF0)), word(u32::from(PROFILE.version) << 4));
        let payload_len = octets(payload, &[3, 2, 128, 128, 7, 6, 128, 128, 11, 10, 128, 128, 15, 14, 128, 128]);
        let protocol = and(_mm512_srli_epi32::<16>(begin), word(0xFF));
        let (first, frame) = (load_words(&s.first_len[g]), load_words(&s.frame_len[g]));
        let end = _mm512_add_epi32(payload_len, word(PLAIN_UPPER as u32));
        let whole = _mm512_cmple_epu32_mask(end, frame) & _mm512_cmpge_epu32_mask(end, word(UPPER as u32 + 8));
        let udp = _mm512_cmpeq_epi32_mask(protocol, word(ipv6::UDP.into()))
            & _mm512_cmpge_epu32_mask(first, word(UPPER as u32 + 8));
        let tcp = _mm512_cmpeq_epi32_mask(protocol, word(ipv6::TCP.into()))
            & _mm512_cmpge_epu32_mask(first, word(FLAGS_AT as u32 + 1))
            & !of_group(s.syn, g);
        let measured = is_ipv6 & dest_opts & units & padded & version & whole & (udp | tcp) & of_group(s.there, g);
        s.measured |= u32::from(measured) << (GROUP * g);
        s.f |= u32::from(_mm512_test_epi32_mask(field, word(1 << 24))) << (GROUP * g);
    }
}

/// The record that is most likely each packet's flow, by the tag in its flow's bucket; asks for the record's first lines.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::lanes) fn find<'a>(view: &View<'a>, records: &mut [&'a Record; BURST], s: &mut Scratch) {
    settle(s);
    let buckets = view.index.buckets();
    let hashes = s.hash.as_flattened().iter().take(s.count);
    let bucket_of = |hash: u64| buckets.get(hash as usize & (buckets.len() - 1));
    hashes.clone().filter_map(|&hash| bucket_of(hash)).for_each(prefetch::line);
    let mut found = 0;
    let places = records.iter_mut().zip(s.number.as_flattened_mut());
    for ((p, &hash), (record, number)) in hashes.enumerate().zip(places) {
        let Some(bucket) = bucket_of(hash) else { continue };
        // The words' high halves are the odd ones.
        let live = word(FlowIndex::live_half(FlowHash(hash)));
        let ways = u32::from(_mm512_cmpeq_epi32_mask(of_bucket(bucket), live) & 0xAAAA);
        // The last one, as `FlowIndex::candidate`.
        let way = ((u32::BITS - 1).wrapping_sub(ways.leading_zeros()) / 2) as usize % bucket.0.len();
        let there = bucket.0[way].load(Ordering::Acquire);
        *number = select_unpredictable(ways != 0, there as u32, u32::MAX);
        *record = view.records.get(*number as usize).unwrap_or(&NOBODY);
        found |= u32::from((*number as usize) < view.records.len()) << p;
        ask_for(view, *number);
    }
    s.found = found;
    if s.measured & !found != 0 {
        by_other_buckets(view, records, s);
    }
}

/// The records that are found are the packets' flows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::lanes) fn check(records: &[&Record; BURST], s: &mut Scratch) -> u32 {
    let mut known = 0;
    for (g, records) in records.as_chunks::<GROUP>().0.iter().enumerate().take(s.groups()) {
        let prints = load_blocks(&s.fingerprint[g]);
        let [a, b, c, d] = transpose(four!(I => xor(prints[I], of_records::<I, FINGERPRINT_AT>(records))));
        let differ = or(_mm512_ternarylogic_epi64::<0xFE>(a, b, c), d);
        known |= u32::from(_mm512_testn_epi32_mask(differ, differ)) << (GROUP * g);
    }
    known & s.measured & s.found
}

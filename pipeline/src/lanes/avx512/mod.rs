//! The stages on AVX-512, VAES and VPCLMULQDQ: four blocks or sixteen words in a register. Beside each function stands one of
//! the same name in [`portable`](super::portable), which says in plain Rust what it does.

mod aead;
pub(super) mod inbound;
mod ops;

pub(super) use aead::seal;

use super::portable;
use super::record::{FINGERPRINT_AT, INDEX_LIMIT, LAST_SENT_AT, NOBODY, ORDER_AT, Record, held_by};
use super::scratch::{GROUP, NOT_KEPT, Scratch, block_at};
use super::{Head, SYN_AT, View, by_other_buckets};
use crate::flow::hash::FlowHash;
use crate::flow::hash::HashKey;
use crate::flow::index::FlowIndex;
use crate::flow::record::words::{flags, seen};
use crate::packet::buffer::{PacketBuf, WINDOW_BEFORE, Window};
use crate::packet::parse::PLAIN_UPPER;
use crate::ports::BURST;
use core::arch::x86_64::{
    __mmask8, __mmask16, __mmask32, _MM_FROUND_NO_EXC, _MM_FROUND_TO_ZERO, _mm512_add_epi16, _mm512_add_epi32,
    _mm512_aesenc_epi128, _mm512_castpd_si512, _mm512_cmpeq_epi16_mask, _mm512_cmpeq_epi32_mask,
    _mm512_cmpge_epu32_mask, _mm512_cmple_epu32_mask, _mm512_cmplt_epu32_mask, _mm512_cmpneq_epi32_mask,
    _mm512_lzcnt_epi32, _mm512_mask_blend_epi32, _mm512_mask_blend_epi64, _mm512_mask_mov_epi16,
    _mm512_maskz_cvtepi64_pd, _mm512_maskz_or_epi32, _mm512_maskz_sub_epi32, _mm512_max_epu32, _mm512_movepi64_mask,
    _mm512_mul_round_pd, _mm512_mullo_epi16, _mm512_set1_epi16, _mm512_set1_epi64, _mm512_set1_pd,
    _mm512_setzero_si512, _mm512_slli_epi16, _mm512_slli_epi32, _mm512_slli_epi64, _mm512_sllv_epi32,
    _mm512_srli_epi16, _mm512_srli_epi32, _mm512_srlv_epi32, _mm512_sub_epi16, _mm512_sub_epi32, _mm512_sub_epi64,
    _mm512_ternarylogic_epi64, _mm512_test_epi32_mask, _mm512_testn_epi32_mask, _mm512_unpackhi_epi32,
    _mm512_unpacklo_epi32,
};
use core::hint::select_unpredictable;
use ops::{
    Four, Z, and, each, four, high_longs, high_words, in_order, load_blocks, load_line, load_words, longs, low_longs,
    low_words, octets, of_bucket, of_heads, of_records, or, pairs, select, settle, spread, store_blocks, store_line,
    store_longs, store_words, swap16, transpose, word, xor,
};
use protocol::meter::TIME_BITS;
use protocol::prefetch;
use protocol::prseq::VALUES;
use protocol::sync::{Ordering, fence};
use protocol::wire::ipv6;
use protocol::wire::option::{Form, Prefix6};

const LOW_HALF: u32 = 0xFFFF;
const HEADER: usize = Form::Encrypted.header_len();
const CLEAR_HEADER: usize = Form::Clear.header_len();

/// Stages a to d: which packets are of the plain shape, which records are theirs, and which of them stay.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn front<'a>(
    view: &View<'a>,
    heads: &[&Head; BURST],
    records: &mut [&'a Record; BURST],
    s: &mut Scratch,
) -> u32 {
    parse(view.key, heads, s);
    find(view, records, s);
    check(view, records, s)
}

/// Stages f and g, up to what is put into the packets.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn back(records: &[&Record; BURST], sent_ns: u64, s: &mut Scratch) {
    times(records, sent_ns, s);
    if s.form == Form::Encrypted {
        seal(records, s);
    }
}

/// Stages a and b: the head of each packet, and the fingerprint of its 5-tuple. What is not of the plain shape gets some
/// fingerprint, too.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn parse(key: &HashKey, heads: &[&Head; BURST], s: &mut Scratch) {
    s.plain = 0;
    for (g, heads) in heads.as_chunks::<GROUP>().0.iter().enumerate().take(s.groups()) {
        // Octets 8 to 24, of which the words from the second on are looked at.
        let middle = four!(I => of_heads::<I, 8>(heads));
        let prints = four!(I => {
            let (source, destination) = (of_heads::<I, 22>(heads), of_heads::<I, 38>(heads));
            fingerprint(key, source, destination, ports_and_next(of_heads::<I, 48>(heads), middle[I]))
        });
        store_blocks(&mut s.fingerprint[g], prints);
        store_longs(&mut s.hash[g], low_longs(prints));
        // Type, version and traffic class; flow label's end and Payload Length; Next Header and what is behind it.
        let [_, kind, payload, next] = transpose(middle);
        let is_ipv6 = _mm512_cmpeq_epi32_mask(and(kind, word(0x00F0_FFFF)), word(0x0060_DD86));
        let payload_len = octets(payload, &[3, 2, 128, 128, 7, 6, 128, 128, 11, 10, 128, 128, 15, 14, 128, 128]);
        let protocol = and(next, word(0xFF));
        let (first, frame) = (load_words(&s.first_len[g]), load_words(&s.frame_len[g]));
        let whole = _mm512_cmple_epu32_mask(_mm512_add_epi32(payload_len, word(PLAIN_UPPER as u32)), frame)
            & _mm512_cmpge_epu32_mask(payload_len, word(8));
        let udp = _mm512_cmpeq_epi32_mask(protocol, word(ipv6::UDP.into()))
            & _mm512_cmpge_epu32_mask(first, word(PLAIN_UPPER as u32 + 8));
        let tcp = _mm512_cmpeq_epi32_mask(protocol, word(ipv6::TCP.into()))
            & _mm512_cmpge_epu32_mask(first, word(SYN_AT as u32 + 1))
            & !of_group(s.syn, g);
        let plain = is_ipv6 & whole & (udp | tcp) & of_group(s.there, g);
        s.plain |= u32::from(plain) << (GROUP * g);
        let len = _mm512_add_epi32(payload_len, word(ipv6::HEADER_LEN as u32));
        store_words(&mut s.len[g], len);
        store_words(&mut s.next[g], protocol);
        // Payload Length grows by the header's octets, and Next Header becomes 60, in octets 16 to 24.
        let longer = _mm512_add_epi32(payload_len, word(s.form.header_len() as u32));
        let longer = octets(longer, &[128, 128, 1, 0, 128, 128, 5, 4, 128, 128, 9, 8, 128, 128, 13, 12]);
        let payload = select(word(LOW_HALF), payload, longer);
        let next = select(word(0xFF), word(ipv6::DEST_OPTS.into()), next);
        let patch = in_order(_mm512_unpacklo_epi32(payload, next), _mm512_unpackhi_epi32(payload, next));
        store_longs(&mut s.patch[g], patch);
    }
}

/// A burst's bits, those of a group.
fn of_group(bits: u32, g: usize) -> __mmask16 {
    (bits >> (GROUP * g)) as __mmask16
}

/// The third block of the fingerprint: ports of the block at 48, Next Header of the one at 8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn ports_and_next(at_48: Z, at_8: Z) -> Z {
    const PORTS: [u8; 16] = [0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0];
    const NEXT: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0];
    // The first, or the second and third.
    _mm512_ternarylogic_epi64::<0xF8>(and(at_48, spread(&PORTS)), at_8, spread(&NEXT))
}

/// See [`hash`](crate::flow::hash): of four packets.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn fingerprint(key: &HashKey, source: Z, destination: Z, ports: Z) -> Z {
    let HashKey { source: s, destination: d, ports: p, .. } = key;
    let through = |block: Z, keys: &[[u8; 16]; 4]| {
        let block = _mm512_aesenc_epi128(xor(block, spread(&keys[0])), spread(&keys[1]));
        _mm512_aesenc_epi128(_mm512_aesenc_epi128(block, spread(&keys[2])), spread(&keys[3]))
    };
    let (source, destination, ports) = (through(source, s), through(destination, d), through(ports, p));
    // The sum comes for nothing: the last rounds add each to the next.
    let sum = _mm512_aesenc_epi128(ports, _mm512_setzero_si512());
    _mm512_aesenc_epi128(source, _mm512_aesenc_epi128(destination, sum))
}

/// Stage c: the record that is most likely each packet's, by the tag in its flow's bucket; asks for the record's lines.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn find<'a>(view: &View<'a>, records: &mut [&'a Record; BURST], s: &Scratch) {
    settle(s);
    let (buckets, hashes) = (view.index.buckets(), s.hash.as_flattened());
    let bucket_of = |p: usize| buckets.get(hashes[p % BURST] as usize & (buckets.len() - 1));
    (0..s.count).filter_map(bucket_of).for_each(prefetch::line);
    let mut missed = false;
    for p in 0..s.count {
        let Some(bucket) = bucket_of(p) else { break };
        // The words' high halves are the odd ones.
        let live = word(FlowIndex::live_half(FlowHash(hashes[p % BURST])));
        let ways = u32::from(_mm512_cmpeq_epi32_mask(of_bucket(bucket), live) & 0xAAAA);
        let number = bucket.0[(ways.trailing_zeros() / 2) as usize % bucket.0.len()].load(Ordering::Acquire);
        let number = select_unpredictable(ways != 0, number as u32 as usize, usize::MAX);
        let record = view.records.get(number).unwrap_or(&NOBODY);
        records[p % BURST] = record;
        missed |= ways == 0;
        portable::ask_for(record);
    }
    if missed {
        by_other_buckets(view, records, s);
    }
}

/// Stage d: the records that are found are the packets' flows, they are this worker's, and nothing is out of the way. Notes
/// that those flows were seen.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn check(view: &View<'_>, records: &[&Record; BURST], s: &mut Scratch) -> u32 {
    let now = seen(view.now_ns);
    let mut fast = 0;
    for (g, records) in records.as_chunks::<GROUP>().0.iter().enumerate().take(s.groups()) {
        let prints = load_blocks(&s.fingerprint[g]);
        let [a, b, c, d] = transpose(four!(I => xor(prints[I], of_records::<I, FINGERPRINT_AT>(records))));
        let differ = or(_mm512_ternarylogic_epi64::<0xFE>(a, b, c), d);
        let same = _mm512_testn_epi32_mask(differ, differ);
        let [name, limit, owner, last] = transpose(four!(I => pairs::<I>(
            records,
            |record| record.vouched.load(Ordering::Relaxed),
            |record| record.held.load(Ordering::Relaxed),
        )));
        let was = high_words(longs(records, |record| record.meter.next.load(Ordering::Relaxed)));
        store_words(&mut s.limit[g], limit);
        store_words(&mut s.was[g], was);
        let low = word(LOW_HALF);
        let named = _mm512_cmpeq_epi32_mask(name, word(view.name));
        let fits = _mm512_cmple_epu32_mask(load_words(&s.len[g]), and(limit, low));
        let but_f = word(!(u32::from(flags::F) << 16));
        let mine = _mm512_cmpeq_epi32_mask(and(owner, but_f), word(held_by(view.me, s.form)));
        let within = _mm512_cmplt_epu32_mask(and(was, low), word(INDEX_LIMIT.into()));
        let stay = same & named & fits & mine & within & of_group(s.plain, g);
        fast |= u32::from(stay) << (GROUP * g);
        let mut stale = _mm512_cmpneq_epi32_mask(last, word(now)) & stay;
        while stale != 0 {
            records[stale.trailing_zeros() as usize % GROUP].seen(view.now_ns);
            stale &= stale - 1;
        }
    }
    // What only the owner writes is read behind this: the owner before, if there was one, had released it.
    fence(Ordering::Acquire);
    fast
}

/// Stage f: PRSEQ, delta times and metrics; the head of the option; where the time of sending is kept.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn times(records: &[&Record; BURST], sent_ns: u64, s: &mut Scratch) {
    orders(records, s);
    // Hdr Ext Len and the padding before the option, behind Next Header; the option's first four octets.
    let begin = u32::from(s.form.header_units()) << 8 | 1 << 16;
    let kind = Prefix6::default().to_word(s.form) as u32;
    for (g, records) in records.as_chunks::<GROUP>().0.iter().enumerate().take(s.packed_groups()) {
        let number = load_words(&s.numbers[g]);
        let psntp = _mm512_srli_epi32::<16>(number);
        let received = longs(records, |record| record.meter.last_received.load(Ordering::Relaxed));
        let acknowledged = low_words(longs(records, |record| record.meter.acknowledged.load(Ordering::Relaxed)));
        let own = four!(I => of_records::<I, LAST_SENT_AT>(records));
        let (last_sent, heard) = (low_longs(own), low_words(received));
        let came_since = _mm512_cmpneq_epi32_mask(heard, low_words(high_longs(own)));
        // Another packet of the flow goes out before it, at the same moment.
        let is_first = _mm512_cmpeq_epi32_mask(load_words(&s.was[g]), number);
        let now = _mm512_set1_epi64((sent_ns << (64 - TIME_BITS)) as i64);
        let since_received = each!(I in 0 1 => elapsed(received[I], now));
        let since_sent = each!(I in 0 1 => {
            let came = (came_since >> (8 * I)) as __mmask8;
            elapsed(last_sent[I], _mm512_mask_blend_epi64(came, now, time_of(received[I])))
        });
        let [tlr, scale_tlr] = scaled(high_words(since_received), !0);
        let [tls, scale_tls] = scaled(high_words(since_sent), is_first);
        // Metrics: scales and Global Pointer, PSNTP, PSNLR, delta times, the numbers in network order.
        let low = word(LOW_HALF);
        let pointer = swap16(load_words(&s.pointers[g]));
        let text = [
            select(low, or(scale_tlr, _mm512_slli_epi32::<8>(scale_tls)), pointer),
            select(low, pointer, swap16(number)),
            swap16(select(low, heard, _mm512_slli_epi32::<16>(tlr))),
            swap16(tls),
        ];
        store_blocks(&mut s.text[g], transpose(text));
        store_words(&mut s.heard[g], heard);
        store_words(&mut s.slot[g], log_slot(psntp, acknowledged));
        let order = load_words(&s.order[g]);
        let f = and(_mm512_srli_epi32::<16>(load_words(&s.held[g])), word(flags::F.into()));
        let field = or(_mm512_slli_epi32::<1>(order), f);
        let head = [
            or(load_words(&s.next[g]), word(begin)),
            word(kind),
            swap16(or(field, _mm512_slli_epi32::<16>(order))),
            _mm512_setzero_si512(),
        ];
        store_blocks(&mut s.head[g], transpose(head));
    }
}

/// PRSEQ of the whole burst: half words, of packets p in the low and of p + 16 in the high half of a word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn orders(records: &[&Record; BURST], s: &mut Scratch) {
    let low = word(LOW_HALF);
    let [first, second] = records.as_chunks::<GROUP>().0 else { return };
    // Eight round keys of 16 bits are four words.
    let keys = transpose(four!(I => of_records::<I, ORDER_AT>(first)));
    let keys2 = if s.packed > GROUP { transpose(four!(I => of_records::<I, ORDER_AT>(second))) } else { keys };
    let even = four!(I => select(low, keys[I], _mm512_slli_epi32::<16>(keys2[I])));
    let odd = four!(I => select(low, _mm512_srli_epi32::<16>(keys[I]), keys2[I]));
    let index = select(low, load_words(&s.numbers[0]), _mm512_slli_epi32::<16>(load_words(&s.numbers[1])));
    let mut order = permute(index, &even, &odd);
    // A walk through one cycle of the permutation, as in `protocol::prseq`; nearly always of no step.
    loop {
        let beyond: __mmask32 = _mm512_cmpeq_epi16_mask(order, _mm512_set1_epi16(VALUES as i16));
        if beyond == 0 {
            break;
        }
        order = _mm512_mask_mov_epi16(order, beyond, permute(order, &even, &odd));
    }
    let order = _mm512_add_epi16(order, _mm512_set1_epi16(1));
    store_words(&mut s.order[0], and(order, low));
    store_words(&mut s.order[1], _mm512_srli_epi32::<16>(order));
}

/// A permutation of 0..32768, as in `protocol::prseq`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn permute(value: Z, even: &Four, odd: &Four) -> Z {
    let mix = |value: Z, key: Z| {
        _mm512_srli_epi16::<8>(_mm512_mullo_epi16(xor(value, key), _mm512_set1_epi16(0x9E37_u16 as i16)))
    };
    let (mut low, mut high) = (and(value, _mm512_set1_epi16(0xFF)), _mm512_srli_epi16::<8>(value));
    for (&even, &odd) in even.iter().zip(odd) {
        // high ^ (mix & 0x7F)
        high = _mm512_ternarylogic_epi64::<0x78>(high, mix(low, even), _mm512_set1_epi16(0x7F));
        low = xor(low, mix(high, odd));
    }
    or(low, _mm512_slli_epi16::<8>(high))
}

/// The 47 bits of a packed time, topmost: differences then are right modulo 2^47, and signed.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn time_of(packed: Z) -> Z {
    and(_mm512_slli_epi64::<1>(packed), _mm512_set1_epi64(!0 << (64 - TIME_BITS)))
}

/// The time from a packed one to another one (topmost 47 bits), in attoseconds as a floating-point number; 0 if there is none.
/// A negative one stays negative. 46 bits times 30 bits are rounded to zero: the highest 53 are exact.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn elapsed(from: Z, to: Z) -> Z {
    /// 10^9 attoseconds are a nanosecond, which here is 2^17.
    const ATTOS: f64 = 1e9 / (1u64 << (64 - TIME_BITS)) as f64;
    let since = _mm512_maskz_cvtepi64_pd(_mm512_movepi64_mask(from), _mm512_sub_epi64(to, time_of(from)));
    let attos = _mm512_mul_round_pd::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(since, _mm512_set1_pd(ATTOS));
    _mm512_castpd_si512(attos)
}

/// From the high words of floating-point numbers (sign 1, exponent 11, the first 20 bits behind the highest one): 16 bits and
/// scales, as `protocol::delta_time` makes them; 0 and 0 of what is not positive, or not among `which`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn scaled(high: Z, which: __mmask16) -> [Z; 2] {
    /// The exponent of a number whose highest bit is its sixteenth.
    const EXPONENT: u32 = 1023 + 15;
    // Sign, exponent and 15 bits. 0 becomes the largest.
    let number = _mm512_srli_epi32::<5>(high);
    let positive = _mm512_cmplt_epu32_mask(_mm512_sub_epi32(number, word(1)), word((1 << 26) - 1)) & which;
    [
        _mm512_maskz_or_epi32(positive, and(number, word(0x7FFF)), word(0x8000)),
        _mm512_maskz_sub_epi32(positive, _mm512_srli_epi32::<15>(number), word(EXPONENT)),
    ]
}

/// Where the time of sending is kept: of every packet while few are under way, and of every 2nd, 4th, … when many are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn log_slot(psntp: Z, acknowledged: Z) -> Z {
    let one = word(1);
    let behind = and(_mm512_sub_epi16(psntp, acknowledged), word(LOW_HALF));
    let some = _mm512_test_epi32_mask(acknowledged, acknowledged);
    let under_way = _mm512_mask_blend_epi32(some, one, _mm512_max_epu32(behind, one));
    let quarter = _mm512_srli_epi32::<2>(_mm512_sub_epi32(under_way, one));
    let shift = _mm512_sub_epi32(word(32), _mm512_lzcnt_epi32(quarter));
    let every = _mm512_srlv_epi32(psntp, shift);
    let kept = _mm512_cmpeq_epi32_mask(_mm512_sllv_epi32(every, shift), psntp);
    _mm512_mask_blend_epi32(kept, word(NOT_KEPT), and(every, word(3)))
}

/// Stage g, the packets: makes room and puts the options in. Gives the packets of the burst that have one.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn place<B: PacketBuf>(packets: &mut [B], s: &Scratch) -> u32 {
    settle(s);
    let mut done = 0;
    for j in 0..s.packed {
        let p = s.at[j % BURST];
        let packet = packets.get_mut(usize::from(p));
        let Some(window) = packet.and_then(|packet| packet.grow_window(s.form.header_len())) else { continue };
        match (s.form, s.tagged >> p & 1 != 0) {
            (Form::Clear, false) => put::<CLEAR_HEADER, 0>(window, j, s),
            (Form::Clear, true) => put::<CLEAR_HEADER, 4>(window, j, s),
            (_, false) => put::<HEADER, 0>(window, j, s),
            (_, true) => put::<HEADER, 4>(window, j, s),
        }
        done |= 1 << p;
    }
    done
}

/// One packet's. `H`: octets of the header; `TAG`: before what is as in a frame without tag.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn put<const H: usize, const TAG: usize>(window: &mut Window, j: usize, s: &Scratch) {
    // What moves is in 64 octets. Others move with it, onto the header, which is written behind that.
    const { assert!(TAG + PLAIN_UPPER <= 64 && 64 <= TAG + PLAIN_UPPER + H) };
    let at = block_at(j) % BURST;
    let Some(front) = window[WINDOW_BEFORE..].first_chunk() else { return };
    let front = load_line(front);
    if let Some(to) = window[WINDOW_BEFORE - H..].first_chunk_mut() {
        store_line(to, front);
    }
    let frame = &mut window[WINDOW_BEFORE - H + TAG..];
    frame[16..24].copy_from_slice(&s.patch.as_flattened()[j % BURST].to_le_bytes());
    let header = &mut frame[PLAIN_UPPER..PLAIN_UPPER + H];
    // Each is written over what the one before it has too much.
    header[..16].copy_from_slice(&s.head.as_flattened()[at]);
    if H == HEADER {
        header[10..26].copy_from_slice(&s.text.as_flattened()[at]);
        header[24..].copy_from_slice(&s.tag.as_flattened()[at]);
    } else {
        header[10..24].copy_from_slice(&s.text.as_flattened()[at][..14]);
    }
}

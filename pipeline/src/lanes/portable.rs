//! The stages in plain Rust, packet by packet: what a CPU without a twin of its own gets, what is easiest to read, and the
//! oracle for the twins ([`wide`](super::wide)), which have these functions under these names and leave the same in [`Scratch`].

use super::record::{NOBODY, Record, held_by, index_limit};
use super::scratch::{NOT_KEPT, Scratch, block_at};
use super::{HEAD, Head, SYN_AT, View, by_other_buckets};
use crate::flow::hash::FlowHash;
use crate::flow::hash::HashKey;
use crate::flow::index::FlowIndex;
use crate::flow::record::words::flags;
use crate::packet::buffer::{PacketBuf, WINDOW_BEFORE, Window};
use crate::packet::parse::PLAIN_UPPER;
use crate::ports::BURST;
use protocol::aead::KeyState;
use protocol::delta_time;
use protocol::meter::{ANCHOR_AT, TIME_MASK, VALID};
use protocol::nonce::xor_prseq;
use protocol::prefetch;
use protocol::prseq::Lanes as Orders;
use protocol::suite::Aead;
use protocol::sync::{Ordering, fence};
use protocol::wire::ipv6;
use protocol::wire::option::{Form, Metrics, Prefix6, emit_pdm};
use protocol::wire::tlv::PADN;

/// Ethernet's type up to the IPv6 version and the traffic class.
const KIND_AT: usize = 12;
const PAYLOAD_LEN_AT: usize = 14 + ipv6::PAYLOAD_LEN_AT;
const NEXT_AT: usize = 14 + ipv6::NEXT_HEADER_AT;
/// The eight octets that are written anew.
const PATCH_AT: usize = 16;
const HEADER: usize = Form::Encrypted.header_len();
const CLEAR_HEADER: usize = Form::Clear.header_len();
const PDM_HEADER: usize = Form::Pdm.header_len();

/// Stages a to d: which packets are of the plain shape, which records are theirs, and which of them stay.
#[inline(always)]
pub(super) fn front<'a>(
    view: &View<'a>,
    heads: &[&Head; BURST],
    records: &mut [&'a Record; BURST],
    s: &mut Scratch,
) -> u32 {
    parse(view.key, view.index, heads, s);
    find(view, records, s);
    check(view, records, s)
}

/// Stages f and g, up to what is put into the packets.
#[inline(always)]
pub(super) fn back(records: &[&Record; BURST], sent_ns: u64, s: &mut Scratch) {
    times(records, sent_ns, s);
    if s.form == Form::Encrypted {
        seal(records, s);
    }
}

/// Stages a and b: the head of each packet, and the fingerprint of its 5-tuple; asks for its bucket. What is not of the plain
/// shape gets some fingerprint, too.
#[inline(always)]
pub(super) fn parse(key: &HashKey, index: &FlowIndex, heads: &[&Head; BURST], s: &mut Scratch) {
    s.plain = 0;
    for (p, head) in heads.iter().enumerate().take(s.count) {
        let long = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| head[at + i]));
        let payload = usize::from(u16::from_be_bytes([head[PAYLOAD_LEN_AT], head[PAYLOAD_LEN_AT + 1]]));
        let next = head[NEXT_AT];
        let (first, frame) = (s.first_len.as_flattened()[p] as usize, s.frame_len.as_flattened()[p] as usize);
        let is_ipv6 = head[KIND_AT..KIND_AT + 2] == [0x86, 0xDD] && head[KIND_AT + 2] >> 4 == 6;
        let whole = payload >= 8 && PLAIN_UPPER + payload <= frame;
        let there = s.there >> p & 1 != 0;
        let plain = match next {
            ipv6::UDP => first >= PLAIN_UPPER + 8,
            ipv6::TCP => first > SYN_AT && s.syn >> p & 1 == 0,
            _ => false,
        };
        s.plain |= u32::from(plain && is_ipv6 && whole && there) << p;
        let len = ipv6::HEADER_LEN + payload;
        s.len.as_flattened_mut()[p] = len as u32;
        s.next.as_flattened_mut()[p] = next.into();
        // Payload Length and Next Header are octets 2 to 4 of these eight.
        let mut patch = long(PATCH_AT).to_le_bytes();
        patch[2..4].copy_from_slice(&((payload + s.form.header_len()) as u16).to_be_bytes());
        patch[4] = ipv6::DEST_OPTS;
        s.patch.as_flattened_mut()[p] = u64::from_le_bytes(patch);
        let ports = u64::from(long(PLAIN_UPPER) as u32);
        let words = [long(22), long(30), long(38), long(46), ports | u64::from(next) << 32];
        let print = key.fingerprint(&words);
        s.fingerprint.as_flattened_mut()[block_at(p)] = print.bits().to_le_bytes();
        s.hash.as_flattened_mut()[p] = print.lo;
        index.prefetch(FlowHash(print.lo));
    }
}

/// Stage c: the record that is most likely each packet's, by the tag in its flow's bucket; asks for the record's lines.
#[inline(always)]
pub(super) fn find<'a>(view: &View<'a>, records: &mut [&'a Record; BURST], s: &Scratch) {
    let buckets = view.index.buckets();
    let hashes = s.hash.as_flattened().iter().take(s.count);
    let bucket_of = |hash: u64| buckets.get(hash as usize & (buckets.len() - 1));
    let mut missed = false;
    for (&hash, record) in hashes.zip(records.iter_mut()) {
        let live = FlowIndex::live_half(FlowHash(hash));
        let words = bucket_of(hash).into_iter().flat_map(|bucket| &bucket.0);
        let word = words.map(|word| word.load(Ordering::Acquire)).find(|word| (word >> 32) as u32 == live);
        *record = word.and_then(|word| view.records.get(word as u32 as usize)).unwrap_or(&NOBODY);
        missed |= core::ptr::eq(*record, &NOBODY);
        ask_for(record);
    }
    if missed {
        by_other_buckets(view, records, s);
    }
}

/// Asks for a record's two lines that are looked at next.
#[inline]
pub(super) fn ask_for(record: &Record) {
    prefetch::line(record);
    prefetch::line(&record.meter.last_received);
}

/// Stage d: the records that are found are the packets' flows, they are this worker's, and nothing is out of the way. Notes
/// that those flows were seen.
#[inline(always)]
pub(super) fn check(view: &View<'_>, records: &[&Record; BURST], s: &mut Scratch) -> u32 {
    let mut fast = 0;
    for (p, record) in records.iter().enumerate().take(s.count) {
        let print = record.fingerprint.each_ref().map(|half| half.load(Ordering::Relaxed));
        let print = u128::from(print[0]) | u128::from(print[1]) << 64;
        let [held, vouched, next] = record.looked_at();
        let was = (next >> 32) as u32;
        s.limit.as_flattened_mut()[p] = (vouched >> 32) as u32;
        s.was.as_flattened_mut()[p] = was;
        let same = print.to_le_bytes() == s.fingerprint.as_flattened()[block_at(p)];
        let named = vouched as u32 == view.name;
        let fits = s.len.as_flattened()[p] <= (vouched >> 32) as u32 & 0xFFFF;
        let mine = held as u32 & !(u32::from(flags::F) << 16) == held_by(view.me, s.form);
        let within = (was as u16) < index_limit(s.count.min(BURST));
        if same & named & fits & mine & within & (s.plain >> p & 1 != 0) {
            fast |= 1 << p;
            record.seen(view.now_ns);
        }
    }
    // What only the owner writes is read behind this: the owner before, if there was one, had released it.
    fence(Ordering::Acquire);
    fast
}

/// Stage f: PRSEQ, delta times and metrics; the head of the option; where the time of sending is kept.
#[inline(always)]
pub(super) fn times(records: &[&Record; BURST], sent_ns: u64, s: &mut Scratch) {
    let mut orders = Orders::<BURST>::default();
    for (j, record) in records.iter().enumerate().take(s.packed) {
        let order = record.order.each_ref().map(|half| half.load(Ordering::Relaxed));
        orders.set(j, order, s.numbers.as_flattened()[j] as u16);
    }
    let prseqs = if s.form == Form::Pdm { [0; BURST] } else { orders.prseqs() };
    for (j, (record, prseq)) in records.iter().zip(prseqs).enumerate().take(s.packed) {
        let number = s.numbers.as_flattened()[j];
        let psntp = (number >> 16) as u16;
        let received = record.meter.last_received.load(Ordering::Relaxed);
        let acknowledged = record.meter.acknowledged.load(Ordering::Relaxed) as u32;
        let last_sent = record.meter.last_sent.load(Ordering::Relaxed);
        let came_since = received as u32 != record.meter.next.load(Ordering::Relaxed) as u32;
        let since_received = elapsed(received, sent_ns);
        // Another packet of the flow goes out before it, at the same moment.
        let is_first = s.was.as_flattened()[j] == number;
        let since_sent = match came_since {
            _ if !is_first => 0,
            true => elapsed(last_sent, received >> 16),
            false => elapsed(last_sent, sent_ns),
        };
        let (tlr, tls) = (delta_time::from_nanos(since_received), delta_time::from_nanos(since_sent));
        let metrics = Metrics {
            scale_dtlr: tlr.scale,
            scale_dtls: tls.scale,
            global_pointer: s.pointers.as_flattened()[j],
            psntp,
            psnlr: received as u16,
            delta_tlr: tlr.value,
            delta_tls: tls.value,
        };
        s.heard.as_flattened_mut()[j] = received as u32;
        s.slot.as_flattened_mut()[j] = log_slot(psntp, acknowledged);
        let next = s.next.as_flattened()[j] as u8;
        if s.form == Form::Pdm {
            s.head.as_flattened_mut()[block_at(j)] = pdm_header(next, &metrics);
            continue;
        }
        let [low, high] = metrics.to_words();
        s.text.as_flattened_mut()[block_at(j)] = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
        s.order.as_flattened_mut()[j] = prseq.into();
        let f = (s.held.as_flattened()[j] >> 16 & u32::from(flags::F)) as u8;
        let option = Prefix6 { reserved: 0, prseq, f }.emit(s.form);
        let head = &mut s.head.as_flattened_mut()[block_at(j)];
        head[..4].copy_from_slice(&[next, s.form.header_units(), 1, 0]);
        head[4..10].copy_from_slice(&option);
        head[10..12].copy_from_slice(&prseq.to_be_bytes());
        head[12..].fill(0);
    }
}

/// The whole header of PDM: the option, and two octets of padding behind it.
#[inline(always)]
fn pdm_header(next: u8, metrics: &Metrics) -> [u8; PDM_HEADER] {
    let mut header = [0; PDM_HEADER];
    header[..2].copy_from_slice(&[next, Form::Pdm.header_units()]);
    header[2..14].copy_from_slice(&emit_pdm(metrics));
    header[14] = PADN;
    header
}

/// Nanoseconds from a packed time to another time, of which the lowest 47 bits count; 0 if there is no time, or if the other
/// one is earlier (the nearer way round).
#[inline(always)]
fn elapsed(from: u64, to_ns: u64) -> u64 {
    let since = to_ns.wrapping_sub(from >> 16) & TIME_MASK;
    if from & VALID == 0 || since > TIME_MASK / 2 { 0 } else { since }
}

/// Where the time of sending is kept: of every packet while few are under way, and of every 2nd, 4th, … from the anchor on when
/// many are ([`Meter::acknowledged`](protocol::meter::Meter::acknowledged)).
#[inline(always)]
fn log_slot(psntp: u16, acknowledged: u32) -> u32 {
    let under_way = if acknowledged == 0 { 1 } else { psntp.wrapping_sub(acknowledged as u16).max(1) };
    // How many bits of (under_way - 1) / 4 there are: 0 for up to 4, 1 for up to 8, 2 for up to 16, …
    let shift = u16::BITS - ((under_way - 1) >> 2).leading_zeros();
    let from_anchor = psntp.wrapping_sub((acknowledged >> ANCHOR_AT) as u16);
    let every = from_anchor >> shift;
    if every << shift == from_anchor { u32::from(every) % 4 } else { NOT_KEPT }
}

/// Stage g, the AEAD: ciphertexts and tags.
#[inline(always)]
pub(super) fn seal(records: &[&Record; BURST], s: &mut Scratch) {
    let Scratch { batch, keys, .. } = s;
    for (j, (record, key)) in records.iter().zip(keys.iter_mut()).enumerate().take(s.packed) {
        record.key.load(key);
        let (nonce, end) = (record.nonce.load(Ordering::Relaxed), record.nonce_end.load(Ordering::Relaxed) as u32);
        let prseq = s.order.as_flattened()[j] as u16;
        let head = u128::from_le_bytes(s.head.as_flattened()[block_at(j)]);
        let text = u128::from_le_bytes(s.text.as_flattened()[block_at(j)]);
        batch.set_words(j, (nonce, xor_prseq(end, prseq)), (head >> 32) as u64, [text as u64, (text >> 64) as u64]);
    }
    let all: [&KeyState; BURST] = keys.each_ref();
    batch.seal(Aead::Aes128Gcm, all.get(..s.packed).unwrap_or(&[]));
    for j in 0..s.packed.min(BURST) {
        s.text.as_flattened_mut()[block_at(j)] = batch.text[j];
        s.tag.as_flattened_mut()[block_at(j)] = batch.tag[j];
    }
}

/// Stage g, the packets: makes room and puts the options in. Gives the packets of the burst that have one.
#[inline(always)]
pub(super) fn place<B: PacketBuf>(packets: &mut [B], s: &Scratch) -> u32 {
    let mut done = 0;
    for (j, &p) in s.at.iter().enumerate().take(s.packed) {
        let packet = packets.get_mut(usize::from(p));
        let Some(window) = packet.and_then(|packet| packet.grow_window(s.form.header_len())) else { continue };
        match (s.form, s.tagged >> p & 1 != 0) {
            (Form::Encrypted, false) => put::<HEADER, 0>(window, j, s),
            (Form::Encrypted, true) => put::<HEADER, 4>(window, j, s),
            (Form::Clear, false) => put::<CLEAR_HEADER, 0>(window, j, s),
            (Form::Clear, true) => put::<CLEAR_HEADER, 4>(window, j, s),
            (Form::Pdm, false) => put::<PDM_HEADER, 0>(window, j, s),
            (Form::Pdm, true) => put::<PDM_HEADER, 4>(window, j, s),
        }
        done |= 1 << p;
    }
    done
}

/// One packet's. `H`: octets of the header; `TAG`: before what is as in a frame without tag.
fn put<const H: usize, const TAG: usize>(window: &mut Window, j: usize, s: &Scratch) {
    let block = |blocks: &[[[u8; 16]; 16]; 2]| blocks.as_flattened()[block_at(j)];
    window.copy_within(WINDOW_BEFORE..WINDOW_BEFORE + TAG + PLAIN_UPPER, WINDOW_BEFORE - H);
    let frame = &mut window[WINDOW_BEFORE - H + TAG..];
    frame[PATCH_AT..PATCH_AT + 8].copy_from_slice(&s.patch.as_flattened()[j].to_le_bytes());
    let header = &mut frame[PLAIN_UPPER..PLAIN_UPPER + H];
    // Each is written over what the one before it has too much.
    header[..16].copy_from_slice(&block(&s.head));
    if H > PDM_HEADER {
        header[10..24].copy_from_slice(&block(&s.text)[..14]);
    }
    if H == HEADER {
        header[24..].copy_from_slice(&block(&s.tag));
    }
}

const _: () = assert!(HEADER == WINDOW_BEFORE && HEAD > SYN_AT);

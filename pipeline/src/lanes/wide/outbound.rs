//! The stages of packets towards the network.

/// See [`wide`](super). Expects what [`derived`](super::derived) makes, [`aead`](super::aead)'s `seal`, and the operations of
/// [`avx512`](crate::lanes::avx512).
macro_rules! outbound {
    ($features:literal) => {
        use crate::flow::hash::{FlowHash, HashKey};
        use crate::flow::index::FlowIndex;
        use crate::flow::record::words::{flags, seen};
        use crate::lanes::record::{FINGERPRINT_AT, LAST_SENT_AT, NOBODY, ORDER_AT, held_by, index_limit};
        use crate::lanes::scratch::{NOT_KEPT, block_at};
        use crate::lanes::wide::{block_of, pair, settle};
        use crate::lanes::{HEAD, Head, SYN_AT, View, by_other_buckets, portable};
        use crate::packet::buffer::{PacketBuf, WINDOW_BEFORE, Window};
        use crate::packet::parse::PLAIN_UPPER;
        use core::hint::select_unpredictable;
        use protocol::meter::{ANCHOR_AT, TIME_BITS};
        use protocol::prefetch;
        use protocol::prseq::VALUES;
        use protocol::sync::{Ordering, fence};
        use protocol::wire::ipv6;
        use protocol::wire::option::{Form, Prefix6};
        use protocol::wire::profile::PDM;
        use protocol::wire::tlv::PADN;

        const LOW_HALF: u32 = 0xFFFF;
        const HEADER: usize = Form::Encrypted.header_len();
        const CLEAR_HEADER: usize = Form::Clear.header_len();
        const PDM_HEADER: usize = Form::Pdm.header_len();

        /// Register `I` of a block at `AT` in heads.
        #[inline]
        #[target_feature(enable = $features)]
        fn of_heads<const I: usize, const AT: usize>(heads: &[&Head; W]) -> Z {
            lanes(|lane| block_of::<AT, HEAD>(heads[4 * lane + I]))
        }

        /// Register `I` of blocks of two words of records, by atomic loads: others may store to them.
        #[inline]
        #[target_feature(enable = $features)]
        fn pairs<const I: usize>(
            records: &[&Record; W],
            low: impl Fn(&Record) -> u64,
            high: impl Fn(&Record) -> u64,
        ) -> Z {
            lanes(|lane| {
                let record = records[4 * lane + I];
                let high = high(record);
                pair(low(record), high)
            })
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn shl<const BITS: u32>(a: Z) -> Z {
            shl_each(a, word(BITS))
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn shr<const BITS: u32>(a: Z) -> Z {
            shr_each(a, word(BITS))
        }

        /// The two octets of every half word change places: network order.
        #[inline]
        #[target_feature(enable = $features)]
        fn swap16(a: Z) -> Z {
            octets(a, &[1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14])
        }

        /// The low halves of blocks, as longs in order.
        #[inline]
        #[target_feature(enable = $features)]
        fn low_longs(a: Four) -> [Z; 2] {
            in_order(low_halves(a[0], a[1]), low_halves(a[2], a[3]))
        }

        /// The high halves.
        #[inline]
        #[target_feature(enable = $features)]
        fn high_longs(a: Four) -> [Z; 2] {
            in_order(high_halves(a[0], a[1]), high_halves(a[2], a[3]))
        }

        /// A round's words (or longs).
        fn round<T>(all: &[[T; GROUP]; 2], g: usize) -> &[T; W] {
            &all.as_flattened().as_chunks::<W>().0[g % (2 * GROUP / W)]
        }

        fn round_mut<T>(all: &mut [[T; GROUP]; 2], g: usize) -> &mut [T; W] {
            &mut all.as_flattened_mut().as_chunks_mut::<W>().0[g % (2 * GROUP / W)]
        }

        /// Stages a to d: which packets are of the plain shape, which records are theirs, and which of them stay.
        #[target_feature(enable = $features)]
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
        #[target_feature(enable = $features)]
        pub(super) fn back(records: &[&Record; BURST], sent_ns: u64, s: &mut Scratch) {
            times(records, sent_ns, s);
            if s.form == Form::Encrypted {
                seal(records, s);
            }
        }

        /// Stages a and b: the head of each packet, and the fingerprint of its 5-tuple; asks for its bucket. What is not of the plain
        /// shape gets some fingerprint, too.
        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn parse(key: &HashKey, index: &FlowIndex, heads: &[&Head; BURST], s: &mut Scratch) {
            s.plain = 0;
            for (g, heads) in heads.as_chunks::<W>().0.iter().enumerate().take(s.count.div_ceil(W)) {
                // Octets 8 to 24, of which the words from the second on are looked at.
                let middle = four!(I => of_heads::<I, 8>(heads));
                let prints = four!(I => {
                    let (source, destination) = (of_heads::<I, 22>(heads), of_heads::<I, 38>(heads));
                    fingerprint(key, source, destination, ports_and_next(of_heads::<I, 48>(heads), middle[I]))
                });
                store_blocks(&mut s.fingerprint, g, prints);
                store_longs(round_mut(&mut s.hash, g), low_longs(prints));
                settle(round(&s.hash, g));
                round(&s.hash, g).iter().for_each(|&hash| index.prefetch(FlowHash(hash)));
                // Type, version and traffic class; flow label's end and Payload Length; Next Header and what is behind it.
                let [_, kind, payload, next] = transpose(middle);
                let is_ipv6 = eq(and(kind, word(0x00F0_FFFF)), word(0x0060_DD86));
                let payload_len = octets(payload, &[3, 2, 128, 128, 7, 6, 128, 128, 11, 10, 128, 128, 15, 14, 128, 128]);
                let protocol = and(next, word(0xFF));
                let (first, frame) = (load_words(round(&s.first_len, g)), load_words(round(&s.frame_len, g)));
                let whole = both(le(add(payload_len, word(PLAIN_UPPER as u32)), frame), le(word(8), payload_len));
                let udp = both(eq(protocol, word(ipv6::UDP.into())), le(word(PLAIN_UPPER as u32 + 8), first));
                let tcp = both(eq(protocol, word(ipv6::TCP.into())), le(word(SYN_AT as u32 + 1), first));
                let whole = both(is_ipv6, whole);
                s.plain |= (bits(both(whole, udp)) << (W * g) | bits(both(whole, tcp)) << (W * g) & !s.syn) & s.there;
                let len = add(payload_len, word(ipv6::HEADER_LEN as u32));
                store_words(round_mut(&mut s.len, g), len);
                store_words(round_mut(&mut s.next, g), protocol);
                // Payload Length grows by the header's octets, and Next Header becomes 60, in octets 16 to 24.
                let longer = add(payload_len, word(s.form.header_len() as u32));
                let longer = octets(longer, &[128, 128, 1, 0, 128, 128, 5, 4, 128, 128, 9, 8, 128, 128, 13, 12]);
                let payload = select(word(LOW_HALF), payload, longer);
                let next = select(word(0xFF), word(ipv6::DEST_OPTS.into()), next);
                let patch = in_order(word_pairs_low(payload, next), word_pairs_high(payload, next));
                store_longs(round_mut(&mut s.patch, g), patch);
            }
        }

        /// The third block of the fingerprint: ports of the block at 48, Next Header of the one at 8.
        #[inline]
        #[target_feature(enable = $features)]
        fn ports_and_next(at_48: Z, at_8: Z) -> Z {
            const PORTS: [u8; 16] = [0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0];
            const NEXT: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0];
            or(and(at_48, spread(&PORTS)), and(at_8, spread(&NEXT)))
        }

        /// See [`hash`](crate::flow::hash): of four packets.
        #[inline]
        #[target_feature(enable = $features)]
        fn fingerprint(key: &HashKey, source: Z, destination: Z, ports: Z) -> Z {
            let HashKey { source: s, destination: d, ports: p, .. } = key;
            let through = |block: Z, keys: &[[u8; 16]; 4]| {
                let block = aes(xor(block, spread(&keys[0])), spread(&keys[1]));
                aes(aes(block, spread(&keys[2])), spread(&keys[3]))
            };
            let (source, destination, ports) = (through(source, s), through(destination, d), through(ports, p));
            // The sum comes for nothing: the last rounds add each to the next.
            let sum = aes(ports, word(0));
            aes(source, aes(destination, sum))
        }

        /// Stage c: the record that is most likely each packet's, by the tag in its flow's bucket; asks for the record's lines.
        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn find<'a>(view: &View<'a>, records: &mut [&'a Record; BURST], s: &Scratch) {
            let (buckets, hashes) = (view.index.buckets(), s.hash.as_flattened());
            let bucket_of = |p: usize| buckets.get(hashes[p % BURST] as usize & (buckets.len() - 1));
            let mut missed = false;
            for p in 0..s.count {
                let Some(bucket) = bucket_of(p) else { break };
                let ways = ways_of(bucket, FlowIndex::live_half(FlowHash(hashes[p % BURST])));
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
        #[target_feature(enable = $features)]
        pub(super) fn check(view: &View<'_>, records: &[&Record; BURST], s: &mut Scratch) -> u32 {
            let now = seen(view.now_ns);
            let last_index = u32::from(index_limit(s.count.min(BURST))) - 1;
            let mut fast = 0;
            for (g, records) in records.as_chunks::<W>().0.iter().enumerate().take(s.count.div_ceil(W)) {
                let prints = load_blocks(&s.fingerprint, g);
                let [a, b, c, d] = transpose(four!(I => xor(prints[I], of_records::<I, FINGERPRINT_AT>(records))));
                let same = eq(or(or(a, b), or(c, d)), word(0));
                // In the order of `Flow::looked_at`: of a pair the second is loaded first.
                let [name, limit, owner, last] = transpose(four!(I => pairs::<I>(
                    records,
                    |record| record.vouched.load(Ordering::Relaxed),
                    |record| record.held.load(Ordering::Acquire),
                )));
                let was = high_words(longs(|i| records[i].meter.next.load(Ordering::Relaxed)));
                store_words(round_mut(&mut s.limit, g), limit);
                store_words(round_mut(&mut s.was, g), was);
                let low = word(LOW_HALF);
                let named = eq(name, word(view.name));
                let fits = le(load_words(round(&s.len, g)), and(limit, low));
                let but_f = word(!(u32::from(flags::F) << 16));
                let mine = eq(and(owner, but_f), word(held_by(view.me, s.form)));
                let within = le(and(was, low), word(last_index));
                let stay = both(both(both(same, named), both(fits, mine)), within);
                let mut stale = bits(both_but(eq(last, word(now)), stay)) & s.plain >> (W * g);
                fast |= bits(stay) << (W * g) & s.plain;
                while stale != 0 {
                    records[stale.trailing_zeros() as usize % W].seen(view.now_ns);
                    stale &= stale - 1;
                }
            }
            // What only the owner writes is read behind this: the owner before, if there was one, had released it.
            fence(Ordering::Acquire);
            fast
        }

        /// Stage f: PRSEQ, delta times and metrics; the head of the option; where the time of sending is kept.
        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn times(records: &[&Record; BURST], sent_ns: u64, s: &mut Scratch) {
            if s.form != Form::Pdm {
                orders(records, s);
            }
            // Hdr Ext Len and the padding before the option, behind Next Header; the option's first four octets.
            let begin = u32::from(s.form.header_units()) << 8 | 1 << 16;
            let kind = Prefix6::default().to_word(s.form) as u32;
            for (g, records) in records.as_chunks::<W>().0.iter().enumerate().take(s.packed.div_ceil(W)) {
                let number = load_words(round(&s.numbers, g));
                let psntp = shr::<16>(number);
                let received = longs(|i| records[i].meter.last_received.load(Ordering::Relaxed));
                let acknowledged = low_words(longs(|i| records[i].meter.acknowledged.load(Ordering::Relaxed)));
                let own = four!(I => of_records::<I, LAST_SENT_AT>(records));
                let (last_sent, heard) = (low_longs(own), low_words(received));
                let silent = eq(heard, low_words(high_longs(own)));
                // Another packet of the flow goes out before it, at the same moment.
                let is_first = eq(load_words(round(&s.was, g)), number);
                let now = long(sent_ns << (64 - TIME_BITS));
                let since_received = each!(I in 0 1 => elapsed(received[I], now));
                let since_sent = each!(I in 0 1 => {
                    elapsed(last_sent[I], pick_longs::<I>(silent, now, time_of(received[I])))
                });
                let [tlr, scale_tlr] = scaled(high_words(since_received));
                let [tls, scale_tls] = scaled(high_words(since_sent)).map(|word| only(is_first, word));
                // Metrics: scales and Global Pointer, PSNTP, PSNLR, delta times, the numbers in network order.
                let low = word(LOW_HALF);
                let pointer = swap16(load_words(round(&s.pointers, g)));
                let text = [
                    select(low, or(scale_tlr, shl::<8>(scale_tls)), pointer),
                    select(low, pointer, swap16(number)),
                    swap16(select(low, heard, shl::<16>(tlr))),
                    swap16(tls),
                ];
                store_words(round_mut(&mut s.heard, g), heard);
                store_words(round_mut(&mut s.slot, g), log_slot(psntp, acknowledged));
                let next = load_words(round(&s.next, g));
                if s.form == Form::Pdm {
                    store_blocks(&mut s.head, g, transpose(pdm_header(next, text)));
                    continue;
                }
                store_blocks(&mut s.text, g, transpose(text));
                let order = load_words(round(&s.order, g));
                let f = and(shr::<16>(load_words(round(&s.held, g))), word(flags::F.into()));
                let field = or(shl::<1>(order), f);
                let head = [
                    or(next, word(begin)),
                    word(kind),
                    swap16(or(field, shl::<16>(order))),
                    word(0),
                ];
                store_blocks(&mut s.head, g, transpose(head));
            }
        }

        /// The whole header of PDM, from the words of the metrics: without the Global Pointer, and with two octets of padding behind.
        #[inline]
        #[target_feature(enable = $features)]
        fn pdm_header(next: Z, [scales, number, heard, tls]: Four) -> Four {
            const BEGIN: u32 = u32::from_le_bytes([0, Form::Pdm.header_units(), PDM.option_type, Form::Pdm.data_len()]);
            let low = word(LOW_HALF);
            [or(next, word(BEGIN)), select(low, scales, number), heard, or(tls, word(u32::from(PADN) << 16))]
        }

        /// PRSEQ of the whole burst: half words, of packets p in the low and of p + 16 in the high half of a word.
        #[inline]
        #[target_feature(enable = $features)]
        fn orders(records: &[&Record; BURST], s: &mut Scratch) {
            let low = word(LOW_HALF);
            let (first, second) = records.split_at(GROUP);
            let rounds = first.as_chunks::<W>().0.iter().zip(second.as_chunks::<W>().0).enumerate();
            for (g, (first, second)) in rounds.take(s.packed.div_ceil(W)) {
                let h = g + GROUP / W;
                // Eight round keys of 16 bits are four words.
                let keys = transpose(four!(I => of_records::<I, ORDER_AT>(first)));
                let keys2 =
                    if s.packed > h * W { transpose(four!(I => of_records::<I, ORDER_AT>(second))) } else { keys };
                let even = four!(I => select(low, keys[I], shl::<16>(keys2[I])));
                let odd = four!(I => select(low, shr::<16>(keys[I]), keys2[I]));
                let (numbers, numbers2) = (load_words(round(&s.numbers, g)), load_words(round(&s.numbers, h)));
                let mut order = permute(select(low, numbers, shl::<16>(numbers2)), &even, &odd);
                // A walk through one cycle of the permutation, as in `protocol::prseq`; nearly always of no step.
                while let Some(beyond) = equal16(order, half(VALUES)) {
                    order = pick16(beyond, permute(order, &even, &odd), order);
                }
                let order = add16(order, half(1));
                store_words(round_mut(&mut s.order, g), and(order, low));
                store_words(round_mut(&mut s.order, h), shr::<16>(order));
            }
        }

        /// A permutation of 0..32768, as in `protocol::prseq`.
        #[inline]
        #[target_feature(enable = $features)]
        fn permute(value: Z, even: &Four, odd: &Four) -> Z {
            let mix = |value: Z, key: Z| {
                right_8(product16(xor(value, key), half(0x9E37)))
            };
            let (mut low, mut high) = (and(value, half(0xFF)), right_8(value));
            for (&even, &odd) in even.iter().zip(odd) {
                high = xor(high, and(mix(low, even), half(0x7F)));
                low = xor(low, mix(high, odd));
            }
            or(low, left_8(high))
        }

        /// From the high words of floating-point numbers (sign 1, exponent 11, the first 20 bits behind the highest one): 16 bits and
        /// scales, as `protocol::delta_time` makes them; 0 and 0 of what is not positive.
        #[inline]
        #[target_feature(enable = $features)]
        fn scaled(high: Z) -> [Z; 2] {
            /// The exponent of a number whose highest bit is its sixteenth.
            const EXPONENT: u32 = 1023 + 15;
            // Sign, exponent and 15 bits. 0 becomes the largest.
            let number = shr::<5>(high);
            let positive = le(sub(number, word(1)), word((1 << 26) - 2));
            [
                only(positive, or(and(number, word(0x7FFF)), word(0x8000))),
                only(positive, sub(shr::<15>(number), word(EXPONENT))),
            ]
        }

        /// Where the time of sending is kept: as in `portable`.
        #[inline]
        #[target_feature(enable = $features)]
        fn log_slot(psntp: Z, acknowledged: Z) -> Z {
            let one = word(1);
            let behind = and(sub(psntp, acknowledged), word(LOW_HALF));
            let under_way = pick(eq(acknowledged, word(0)), one, larger(behind, one));
            let quarter = shr::<2>(sub(under_way, one));
            let shift = bit_length(quarter);
            let from_anchor = and(sub(psntp, shr::<{ ANCHOR_AT }>(acknowledged)), word(LOW_HALF));
            let every = shr_each(from_anchor, shift);
            let kept = eq(shl_each(every, shift), from_anchor);
            pick(kept, and(every, word(3)), word(NOT_KEPT))
        }

        /// Stage g, the packets: makes room and puts the options in. Gives the packets of the burst that have one.
        #[target_feature(enable = $features)]
        pub(super) fn place<B: PacketBuf>(packets: &mut [B], s: &Scratch) -> u32 {
            settle(s);
            let mut done = 0;
            for j in 0..s.packed {
                let p = s.at[j % BURST];
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
        #[inline]
        #[target_feature(enable = $features)]
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
            } else if H == CLEAR_HEADER {
                header[10..24].copy_from_slice(&s.text.as_flattened()[at][..14]);
            }
        }
    };
}

pub(in crate::lanes) use outbound;

//! The stages of packets that come back.

/// See [`wide`](super). Expects what [`outbound`](super::outbound) does.
macro_rules! inbound {
    ($features:literal) => {
        use crate::lanes::inbound::{
            HEAD, Head, OPTION, Scratch, View, ask_for, begin as begin_of, by_other_buckets, flags_at, upper,
        };
        use crate::flow::record::FlowBack;
        use crate::lanes::wide::{address_of, block_of};
        use protocol::wire::profile::PROFILE;

        /// The stages, one after the other. Gives the packets whose flow is known, as bits by their places.
        #[target_feature(enable = $features)]
        pub(in crate::lanes) fn front<'a>(
            view: &View<'a>,
            heads: &[&Head; BURST],
            backs: &mut [&'a FlowBack; BURST],
            s: &mut Scratch,
        ) -> u32 {
            parse(view.key, heads, s);
            find(view, backs, s);
            check(heads, backs, s)
        }

        /// Register `I` of a block at `AT` in sixteen heads.
        #[inline]
        #[target_feature(enable = $features)]
        fn of_heads<const I: usize, const AT: usize>(heads: &[&Head; W]) -> Z {
            lanes(|lane| block_of::<AT, HEAD>(heads[4 * lane + I]))
        }

        // In the block at 48 the header's Next Header stands at 6, and the option at 10.
        const _: () = assert!(PLAIN_UPPER == 48 + 6 && OPTION == 48 + 10);

        /// Which packets are of the measured shape, F of their options, and the fingerprints of their reversed 5-tuples, which are those
        /// of their flows. What is not of the shape gets some fingerprint, too.
        #[inline]
        #[target_feature(enable = $features)]
        pub(in crate::lanes) fn parse(key: &HashKey, heads: &[&Head; BURST], s: &mut Scratch) {
            (s.measured, s.f) = (0, 0);
            let (upper_at, flags_at) = (upper(s.form) as u32, flags_at(s.form) as u32);
            for (g, heads) in heads.as_chunks::<W>().0.iter().enumerate().take(s.count.div_ceil(W)) {
                let option = four!(I => of_heads::<I, 48>(heads));
                let ends = load_blocks(&s.ends, g);
                let prints = four!(I => {
                    fingerprint(key, of_heads::<I, 38>(heads), of_heads::<I, 22>(heads), ends[I])
                });
                store_blocks(&mut s.fingerprint, g, prints);
                store_longs(round_mut(&mut s.hash, g), low_longs(prints));
                let [_, kind, payload, next] = transpose(four!(I => of_heads::<I, 8>(heads)));
                let [_, begin, padding, field] = transpose(option);
                let is_ipv6 = eq(and(kind, word(0x00F0_FFFF)), word(0x0060_DD86));
                let dest_opts = eq(and(next, word(0xFF)), word(ipv6::DEST_OPTS.into()));
                // Hdr Ext Len is above Next Header, both in the upper half; version in the high four bits.
                let units = eq(shr::<24>(begin), word(s.form.header_units().into()));
                let padded = eq(padding, word(begin_of(s.form)));
                let version = eq(and(field, word(0xF0)), word(u32::from(PROFILE.version) << 4));
                let payload_len = octets(payload, &[3, 2, 128, 128, 7, 6, 128, 128, 11, 10, 128, 128, 15, 14, 128, 128]);
                let protocol = and(shr::<16>(begin), word(0xFF));
                let (first, frame) = (load_words(round(&s.first_len, g)), load_words(round(&s.frame_len, g)));
                let end = add(payload_len, word(PLAIN_UPPER as u32));
                let whole = both(le(end, frame), le(word(upper_at + 8), end));
                let udp = both(eq(protocol, word(ipv6::UDP.into())), le(word(upper_at + 8), first));
                let tcp = both(eq(protocol, word(ipv6::TCP.into())), le(word(flags_at + 1), first));
                let option = both(both(dest_opts, units), both(padded, version));
                let whole = both(both(is_ipv6, whole), option);
                let (udp, tcp) = (bits(both(whole, udp)), bits(both(whole, tcp)));
                s.measured |= (udp << (W * g) | tcp << (W * g) & !s.syn) & s.there;
                s.f |= bits(eq(and(field, word(1 << 24)), word(1 << 24))) << (W * g);
            }
        }

        /// The record that is most likely each packet's flow, by the tag in its flow's bucket; asks for the record's first lines.
        #[inline]
        #[target_feature(enable = $features)]
        pub(in crate::lanes) fn find<'a>(view: &View<'a>, backs: &mut [&'a FlowBack; BURST], s: &mut Scratch) {
            settle(s);
            let buckets = view.index.buckets();
            let hashes = s.hash.as_flattened().iter().take(s.count);
            let bucket_of = |hash: u64| buckets.get(hash as usize & (buckets.len() - 1));
            hashes.clone().filter_map(|&hash| bucket_of(hash)).for_each(prefetch::line);
            let mut found = 0;
            let places = backs.iter_mut().zip(s.number.as_flattened_mut());
            for ((p, &hash), (back, number)) in hashes.enumerate().zip(places) {
                let Some(bucket) = bucket_of(hash) else { continue };
                let ways = ways_of(bucket, FlowIndex::live_half(FlowHash(hash)));
                // The last one, as `FlowIndex::candidate`.
                let way = ((u32::BITS - 1).wrapping_sub(ways.leading_zeros()) / 2) as usize % bucket.0.len();
                let there = bucket.0[way].load(Ordering::Acquire);
                *number = select_unpredictable(ways != 0, there as u32, u32::MAX);
                *back = view.backs.get(*number as usize).unwrap_or(back);
                found |= u32::from((*number as usize) < view.backs.len()) << p;
                ask_for(view, *number);
            }
            s.found = found;
            if s.measured & !found != 0 {
                by_other_buckets(view, backs, s);
            }
        }

        /// The records that are found are the packets' flows: their 5-tuples are.
        #[inline]
        #[target_feature(enable = $features)]
        fn check(heads: &[&Head; BURST], backs: &[&FlowBack; BURST], s: &Scratch) -> u32 {
            // Ports, then Next Header, as the last word of a 5-tuple has them.
            const ENDS: [u8; 16] = [6, 7, 8, 9, 12, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128];
            let mut known = 0;
            let rounds = heads.as_chunks::<W>().0.iter().zip(backs.as_chunks::<W>().0).enumerate();
            for (g, (heads, backs)) in rounds.take(s.count.div_ceil(W)) {
                let ends = load_blocks(&s.ends, g);
                let [a, b, c, d] = transpose(four!(I => {
                    let inside = xor(of_heads::<I, 38>(heads), of_tuples::<I, 0>(backs));
                    let outside = xor(of_heads::<I, 22>(heads), of_tuples::<I, 16>(backs));
                    let ports = xor(octets(ends[I], &ENDS), lanes(|lane| pair(backs[4 * lane + I].ports(), 0)));
                    or(or(inside, outside), ports)
                }));
                known |= bits(eq(or(or(a, b), or(c, d)), word(0))) << (W * g);
            }
            known & s.measured & s.found
        }

        /// Register `I` of an address of records' 5-tuples.
        #[inline]
        #[target_feature(enable = $features)]
        fn of_tuples<const I: usize, const AT: usize>(backs: &[&FlowBack; W]) -> Z {
            lanes(|lane| address_of::<AT>(backs[4 * lane + I]))
        }
    };
}

pub(in crate::lanes) use inbound;

//! The batch kernel's body, written once for both instruction sets: a group of packets at a time, each under its own key.
//!
//! A module that expands [`kernel`] brings the group's size, a vector type `V` of as many 128-bit lanes (one packet each),
//! the operations on it named below, and the CPU features they need. A group is large enough that the latencies of the
//! packets' instructions overlap. Per packet: the key schedule is run along with the rounds, three blocks
//! are encrypted (H, the tag's mask, the key stream), and GHASH takes three multiplications.
//!
//! GHASH is computed as POLYVAL (RFC 8452 appendix A): with octets reversed and H multiplied by x once, a multiplication
//! needs no shifts, and its reduction two carry-less multiplications.

/// AES-128's round constants.
pub(super) const RCON: [u8; 10] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1B, 0x36];

/// The last GHASH block: 48 bits of additional data, 112 of text; octets reversed.
pub(super) const LENGTHS: [u8; 16] = [112, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0];

/// See the module.
macro_rules! kernel {
    ($features:literal, $group:literal) => {
        use super::Slot;
        use super::kernel::{LENGTHS, RCON};

        /// Packets that are worked on together.
        pub(super) const GROUP: usize = $group;

        /// A block of each, as octets.
        type Blocks = [[u8; 16]; GROUP];

        /// `SubWord(RotWord(w3)) ^ rcon` (or without rotation and constant) in every word, and from it the next key.
        #[inline]
        #[target_feature(enable = $features)]
        fn next_key(previous: V, source: V, select: V, rcon: V) -> V {
            // All columns are alike, so ShiftRows changes nothing and AESENCLAST is SubWord.
            let word = aes_last(shuffle(source, select), rcon);
            let key = xor(previous, shift_words::<4>(previous));
            xor(xor(key, shift_words::<8>(key)), word)
        }

        /// Encrypts three blocks per packet, its key schedule running along.
        #[inline]
        #[target_feature(enable = $features)]
        fn encrypt3(keys: [V; 2], aes256: bool, blocks: [V; 3]) -> [V; 3] {
            let rotate = spread_u32(u32::from_le_bytes([13, 14, 15, 12]));
            let keep = spread_u32(u32::from_le_bytes([12, 13, 14, 15]));
            let [mut low, mut high] = keys;
            let mut b = [xor(blocks[0], low), xor(blocks[1], low), xor(blocks[2], low)];
            if aes256 {
                for (i, &rcon) in RCON.iter().enumerate().take(7) {
                    b = [aes(b[0], high), aes(b[1], high), aes(b[2], high)];
                    low = next_key(low, high, rotate, spread_u32(u32::from(rcon)));
                    if i == 6 {
                        break;
                    }
                    b = [aes(b[0], low), aes(b[1], low), aes(b[2], low)];
                    high = next_key(high, low, keep, zero());
                }
            } else {
                for &rcon in RCON.iter().take(9) {
                    low = next_key(low, low, rotate, spread_u32(u32::from(rcon)));
                    b = [aes(b[0], low), aes(b[1], low), aes(b[2], low)];
                }
                low = next_key(low, low, rotate, spread_u32(u32::from(RCON[9])));
            }
            [aes_last(b[0], low), aes_last(b[1], low), aes_last(b[2], low)]
        }

        /// `a * b` of POLYVAL's field.
        #[inline]
        #[target_feature(enable = $features)]
        fn multiply(a: V, b: V) -> V {
            let middle = xor(carryless::<0x01>(a, b), carryless::<0x10>(a, b));
            let low = xor(carryless::<0x00>(a, b), shift_words::<8>(middle));
            let high = xor(carryless::<0x11>(a, b), shift_down(middle));
            let polynomial = polynomial();
            let low = xor(swap_halves(low), carryless::<0x10>(low, polynomial));
            let low = xor(swap_halves(low), carryless::<0x10>(low, polynomial));
            xor(high, low)
        }

        /// The tag, with the mask still to be added; octets reversed throughout.
        #[inline]
        #[target_feature(enable = $features)]
        fn ghash(h: V, aad: V, text: V) -> V {
            let h = times_x(h);
            let x = multiply(aad, h);
            let x = multiply(xor(x, text), h);
            multiply(xor(x, load(&[LENGTHS; GROUP])), h)
        }

        /// What sealing and opening share: H, the tag's mask and the key stream.
        #[inline]
        #[target_feature(enable = $features)]
        fn prepare(slots: &[Slot; GROUP], aes256: bool) -> [V; 3] {
            let mut keys: [Blocks; 2] = [[[0; 16]; GROUP]; 2];
            let mut counters: [Blocks; 2] = [[[0; 16]; GROUP]; 2];
            for (i, slot) in slots.iter().enumerate() {
                let (low, high) = slot.key.split_at(16);
                keys[0][i].copy_from_slice(low);
                keys[1][i].copy_from_slice(high);
                for (n, counter) in counters.iter_mut().enumerate() {
                    counter[i][..12].copy_from_slice(&slot.nonce);
                    counter[i][15] = n as u8 + 1;
                }
            }
            let keys = [load(&keys[0]), load(&keys[1])];
            encrypt3(keys, aes256, [zero(), load(&counters[0]), load(&counters[1])])
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn reversed(v: V) -> V {
            shuffle(v, load(&[[15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]; GROUP]))
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn tags(h: V, mask: V, slots: &[Slot; GROUP], text: V) -> V {
            let mut aad: Blocks = [[0; 16]; GROUP];
            for (block, slot) in aad.iter_mut().zip(slots) {
                block[..6].copy_from_slice(&slot.aad);
            }
            xor(reversed(ghash(reversed(h), reversed(load(&aad)), reversed(text))), mask)
        }

        /// Text in and out: 14 octets, and two zeros.
        #[inline]
        #[target_feature(enable = $features)]
        fn texts(slots: &[Slot; GROUP]) -> V {
            let mut text: Blocks = [[0; 16]; GROUP];
            for (block, slot) in text.iter_mut().zip(slots) {
                block[..14].copy_from_slice(&slot.text);
            }
            load(&text)
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn only_text(v: V) -> V {
            let mut mask = [0xFF; 16];
            (mask[14], mask[15]) = (0, 0);
            and(v, load(&[mask; GROUP]))
        }

        /// Seals a group.
        #[target_feature(enable = $features)]
        pub(super) fn seal(slots: &mut [Slot; GROUP], aes256: bool) {
            let [h, mask, stream] = prepare(slots, aes256);
            let text = only_text(xor(texts(slots), stream));
            let (text, tag) = (store(text), store(tags(h, mask, slots, text)));
            for (i, slot) in slots.iter_mut().enumerate() {
                slot.text.copy_from_slice(&text[i][..14]);
                slot.tag = tag[i];
            }
        }

        /// Opens a group; bit i: slot i has verified. No branch depends on which.
        #[target_feature(enable = $features)]
        pub(super) fn open(slots: &mut [Slot; GROUP], aes256: bool) -> u32 {
            let [h, mask, stream] = prepare(slots, aes256);
            let sealed = texts(slots);
            let tag = store(tags(h, mask, slots, sealed));
            let text = store(xor(sealed, stream));
            let mut verified = 0;
            for (i, slot) in slots.iter_mut().enumerate() {
                let difference = u128::from_ne_bytes(tag[i]) ^ u128::from_ne_bytes(slot.tag);
                let folded = (difference | difference >> 64) as u64;
                // 1 when it is zero, without a comparison.
                let good = (((folded | folded.wrapping_neg()) >> 63) ^ 1) as u8;
                let keep = good.wrapping_neg();
                for (octet, clear) in slot.text.iter_mut().zip(&text[i]) {
                    *octet = clear & keep;
                }
                verified |= u32::from(good) << i;
            }
            verified
        }
    };
}

pub(super) use kernel;

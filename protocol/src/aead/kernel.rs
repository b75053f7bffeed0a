//! The batch kernel's body, written once for all instruction sets: a group of packets at a time, each under its own key.
//!
//! A module that expands [`kernel`] brings the group's size, a vector type `V` of as many 128-bit lanes (one packet each),
//! the operations on it named below, and the CPU features they need. A group is large enough that the latencies of the
//! packets' instructions overlap. Per packet: the key schedule runs along with the rounds, two blocks are encrypted (the
//! tag's mask, the key stream), and GHASH multiplies twice (AES-128) or three times (AES-256).
//!
//! GHASH is computed as POLYVAL (RFC 8452 appendix A): with octets reversed and H multiplied by x once, a multiplication
//! needs no shifts, and its reduction two carry-less multiplications. All packets have the same lengths, so the last
//! block's product is part of the key state; see [`KeyState`](super::KeyState).

/// AES-128's round constants.
pub(super) const RCON: [u8; 10] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1B, 0x36];

/// The last GHASH block: 48 bits of additional data, 112 of text; octets reversed.
pub(super) const LENGTHS: [u8; 16] = [112, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0];

/// What counts of a nonce's, the additional data's and the text's 16 octets, and the first two counters.
pub(super) const NONCE: [u8; 16] = mask(12);
pub(super) const AAD: [u8; 16] = mask(6);
pub(super) const TEXT: [u8; 16] = mask(14);
pub(super) const COUNTERS: [[u8; 16]; 2] =
    [[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]];

/// Octets in reverse.
pub(super) const REVERSE: [u8; 16] = [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];
/// The second word in the third and fourth, zeros elsewhere.
pub(super) const SECOND: [u8; 16] = [128, 128, 128, 128, 128, 128, 128, 128, 4, 5, 6, 7, 4, 5, 6, 7];
/// The last word in every word, rotated as `RotWord` does; and as it is.
pub(super) const ROTATE: [u8; 16] = [13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12];
pub(super) const KEEP: [u8; 16] = [12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15];
/// x^127 + x^126 + x^121 + 1, POLYVAL's polynomial without x^128.
pub(super) const POLYNOMIAL: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xC2];

const fn mask(octets: usize) -> [u8; 16] {
    let mut mask = [0; 16];
    let mut i = 0;
    while i < octets {
        mask[i] = 0xFF;
        i += 1;
    }
    mask
}

/// See the module.
macro_rules! kernel {
    ($features:literal, $group:literal) => {
        use super::kernel::{AAD, COUNTERS, KEEP, LENGTHS, NONCE, POLYNOMIAL, RCON, REVERSE, ROTATE, SECOND, TEXT};
        use super::{Batch, KeyState};

        /// Packets that are worked on together.
        const GROUP: usize = $group;

        /// A block of each, as octets.
        type Blocks = [[u8; 16]; GROUP];

        /// The keys of a group.
        type Keys<'a> = [&'a KeyState; GROUP];

        /// `SubWord(RotWord(w3)) ^ rcon` (or without rotation and constant) in every word, and from it the next key.
        #[inline]
        #[target_feature(enable = $features)]
        fn next_key(previous: V, source: V, select: V, rcon: V) -> V {
            // All columns are alike, so ShiftRows changes nothing and AESENCLAST is SubWord.
            let word = aes_last(shuffle(source, select), rcon);
            // Every word XOR all words before it.
            let key = xor(previous, up_one_word(previous));
            xor3(key, shuffle(key, spread(&SECOND)), word)
        }

        /// Encrypts `N` blocks per packet, its key schedule running along.
        #[inline]
        #[target_feature(enable = $features)]
        fn encrypt<const N: usize, const AES256: bool>(keys: [V; 2], blocks: [V; N]) -> [V; N] {
            let (rotate, keep) = (spread(&ROTATE), spread(&KEEP));
            let [mut low, mut high] = keys;
            let mut b = blocks.map(|b| xor(b, low));
            if AES256 {
                for (i, &rcon) in RCON.iter().enumerate().take(7) {
                    b = b.map(|b| aes(b, high));
                    low = next_key(low, high, rotate, spread_word(rcon));
                    if i == 6 {
                        break;
                    }
                    b = b.map(|b| aes(b, low));
                    high = next_key(high, low, keep, zero());
                }
            } else {
                for &rcon in RCON.iter().take(9) {
                    low = next_key(low, low, rotate, spread_word(rcon));
                    b = b.map(|b| aes(b, low));
                }
                low = next_key(low, low, rotate, spread_word(RCON[9]));
            }
            b.map(|b| aes_last(b, low))
        }

        /// Brings a product of 256 bits (with its middle part still apart) back to 128, in POLYVAL's field.
        #[inline]
        #[target_feature(enable = $features)]
        fn reduce(low: V, middle: V, high: V) -> V {
            let low = xor(low, shift_up(middle));
            let polynomial = spread(&POLYNOMIAL);
            let low = xor(swap_halves(low), carryless::<0x10>(low, polynomial));
            let low = xor(swap_halves(low), carryless::<0x10>(low, polynomial));
            xor3(high, shift_down(middle), low)
        }

        /// `a * b`, not reduced.
        #[inline]
        #[target_feature(enable = $features)]
        fn multiply(a: V, b: V) -> [V; 3] {
            let middle = xor(carryless::<0x01>(a, b), carryless::<0x10>(a, b));
            [carryless::<0x00>(a, b), middle, carryless::<0x11>(a, b)]
        }

        /// The tag, with the mask still to be added.
        #[inline]
        #[target_feature(enable = $features)]
        fn ghash<const AES256: bool>(keys: &Keys<'_>, aad: V, text: V) -> V {
            let reverse = spread(&REVERSE);
            let (aad, text) = (shuffle(aad, reverse), shuffle(text, reverse));
            // The additional data fills the upper half only.
            let by_aad = |power: V| [carryless::<0x01>(aad, power), carryless::<0x11>(aad, power)];
            if AES256 {
                let (h1, h2) = (load_key::<2>(keys), load_key::<3>(keys));
                let [middle, high] = by_aad(h1);
                let text = xor(text, reduce(zero(), middle, high));
                let [low, middle, high] = multiply(text, h2);
                let [low2, middle2, high2] = multiply(spread(&LENGTHS), h1);
                shuffle(reduce(xor(low, low2), xor(middle, middle2), xor(high, high2)), reverse)
            } else {
                let [low, middle, high] = multiply(text, load_key::<2>(keys));
                let [middle2, high2] = by_aad(load_key::<1>(keys));
                let sum = reduce(low, xor(middle, middle2), xor(high, high2));
                shuffle(xor(sum, load_key::<3>(keys)), reverse)
            }
        }

        /// What sealing and opening share: the tag's mask and the key stream.
        #[inline]
        #[target_feature(enable = $features)]
        fn streams<const AES256: bool>(keys: &Keys<'_>, nonce: &Blocks) -> [V; 2] {
            let nonce = and(load(nonce), spread(&NONCE));
            let blocks = [or(nonce, spread(&COUNTERS[0])), or(nonce, spread(&COUNTERS[1]))];
            let low = load_key::<0>(keys);
            encrypt::<2, AES256>([low, if AES256 { load_key::<1>(keys) } else { low }], blocks)
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn seal_group<const AES256: bool>(
            keys: &Keys<'_>,
            nonce: &Blocks,
            aad: &Blocks,
            text: &mut Blocks,
            tag: &mut Blocks,
        ) {
            let [mask, stream] = streams::<AES256>(keys, nonce);
            let sealed = and(xor(load(text), stream), spread(&TEXT));
            let sum = ghash::<AES256>(keys, and(load(aad), spread(&AAD)), sealed);
            store(text, sealed);
            store(tag, xor(sum, mask));
        }

        /// Bit i: slot i has verified. No branch depends on which.
        #[inline]
        #[target_feature(enable = $features)]
        fn open_group<const AES256: bool>(
            keys: &Keys<'_>,
            nonce: &Blocks,
            aad: &Blocks,
            text: &mut Blocks,
            tag: &Blocks,
        ) -> u32 {
            let [mask, stream] = streams::<AES256>(keys, nonce);
            let sealed = and(load(text), spread(&TEXT));
            let sum = ghash::<AES256>(keys, and(load(aad), spread(&AAD)), sealed);
            let (same, verified) = equal(xor(sum, mask), load(tag));
            store(text, and(and(xor(sealed, stream), spread(&TEXT)), same));
            verified
        }

        /// The keys of a group. Lanes behind the last key work with a key of zeros, and in vain.
        #[inline]
        fn group<'a>(keys: &[&'a KeyState]) -> Keys<'a> {
            keys.try_into().unwrap_or_else(|_| core::array::from_fn(|i| keys.get(i).copied().unwrap_or(&NO_KEY)))
        }

        static NO_KEY: KeyState = KeyState::ZERO;

        /// Seals the first `keys.len()` slots.
        #[target_feature(enable = $features)]
        pub(super) fn seal<const AES256: bool>(keys: &[&KeyState], batch: &mut Batch) {
            let Batch { nonce, aad, text, tag } = batch;
            let fixed = nonce.as_chunks().0.iter().zip(aad.as_chunks().0);
            let made = text.as_chunks_mut().0.iter_mut().zip(tag.as_chunks_mut().0);
            for ((keys, (nonce, aad)), (text, tag)) in keys.chunks(GROUP).zip(fixed).zip(made) {
                seal_group::<AES256>(&group(keys), nonce, aad, text, tag);
            }
        }

        /// Opens the first `keys.len()` slots; bit i: slot i has verified.
        #[target_feature(enable = $features)]
        pub(super) fn open<const AES256: bool>(keys: &[&KeyState], batch: &mut Batch) -> u32 {
            let Batch { nonce, aad, text, tag } = batch;
            let fixed = nonce.as_chunks().0.iter().zip(aad.as_chunks().0).zip(tag.as_chunks().0);
            let (mut verified, mut at) = (0, 0);
            for ((keys, ((nonce, aad), tag)), text) in keys.chunks(GROUP).zip(fixed).zip(text.as_chunks_mut().0) {
                verified |= open_group::<AES256>(&group(keys), nonce, aad, text, tag) << at;
                at += GROUP;
            }
            verified
        }
    };
}

/// Setting up key states: expanded by one kernel for all, since they share the layout.
macro_rules! setup {
    ($features:literal) => {
        /// Multiplies by x in POLYVAL's field.
        #[inline]
        #[target_feature(enable = $features)]
        fn times_x(h: V) -> V {
            let top = and(sign_of_top(h), spread(&POLYNOMIAL));
            xor(doubled(h), top)
        }

        /// The state of a key of 16 octets, or of 32.
        #[target_feature(enable = $features)]
        pub(super) fn key_state<const AES256: bool>(key: &[u8; 32]) -> KeyState {
            let [low, high] = [0, 16].map(|at| {
                let mut half = [0; 16];
                half.copy_from_slice(&key[at..at + 16]);
                load(&[half; GROUP])
            });
            let [h] = encrypt::<1, AES256>([low, high], [zero()]);
            let h1 = times_x(shuffle(h, spread(&REVERSE)));
            let times = |a: V, b: V| {
                let [low, middle, high] = multiply(a, b);
                reduce(low, middle, high)
            };
            let h2 = times(h1, h1);
            let blocks =
                if AES256 { [low, high, h1, h2] } else { [low, times(h2, h1), h2, times(spread(&LENGTHS), h1)] };
            let mut state = KeyState::ZERO;
            for (place, block) in state.0.iter_mut().zip(blocks) {
                let mut lanes = [[0; 16]; GROUP];
                store(&mut lanes, block);
                *place = lanes[0];
            }
            state
        }
    };
}

pub(super) use {kernel, setup};

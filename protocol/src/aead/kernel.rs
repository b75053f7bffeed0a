//! The batch kernel's body, written once for all instruction sets: a group of packets at a time, each under its own key.
//!
//! A module that expands [`kernel`] brings a register type `R` of some 128-bit lanes (one packet each), the operations on it
//! named below, and the CPU features they need. Four registers are a group: large enough that the latencies of the packets'
//! instructions overlap, and what the key schedule needs.
//!
//! Per packet, two blocks are encrypted (the tag's mask, the key stream), and the round keys are made as they are used. The
//! schedule runs across packets: register w holds word w of four packets' keys (in each lane), so that a round of it is one
//! byte shuffle, one AESENCLAST and four XORs for four packets; transposing 4 x 4 words gives the packets' round keys. That
//! takes half the instructions of a schedule packet by packet.
//!
//! GHASH is computed as POLYVAL (RFC 8452 appendix A): with octets reversed and H multiplied by x once, a multiplication
//! needs no shifts, and its reduction two carry-less multiplications. It multiplies twice (AES-128) or three times
//! (AES-256). All packets have the same lengths, so the last block's product is part of the key state; see
//! [`KeyState`](super::KeyState).

mod constants;
mod single;

pub(super) use constants::{
    COUNTERS, KEEP, LAST_WORD, LAST_WORD_ROTATED, LENGTHS, NONCE, POLYNOMIAL, RCON, REVERSE, REVERSE_AAD, REVERSE_TEXT,
    ROTATE, TEXT, WORD_ON, WORDS_ON,
};

/// One key's round keys.
pub(super) type Rounds = [[u8; 16]; 15];
pub(super) const NO_ROUNDS: Rounds = [[0; 16]; 15];

/// An array of an expression for each index, which is a constant in it: a loop that is always unrolled, and without
/// closures, which would not always be inlined.
macro_rules! each {
    ($i:ident in $($at:literal)+ => $each:expr) => {
        [$({
            const $i: usize = $at;
            $each
        }),+]
    };
}

/// [`each`], of a group's four registers.
macro_rules! four {
    ($i:ident => $each:expr) => {
        each!($i in 0 1 2 3 => $each)
    };
}

/// See the module.
macro_rules! kernel {
    ($features:literal, $lanes:literal) => {
        use super::kernel::{
            COUNTERS, KEEP, LENGTHS, NO_ROUNDS, NONCE, POLYNOMIAL, RCON, REVERSE, REVERSE_AAD, REVERSE_TEXT, ROTATE, Rounds,
            TEXT, each, four,
        };
        use super::{Batch, KeyState, aesni, prefetch};

        /// Packets in one register, and packets that are worked on together.
        const LANES: usize = $lanes;
        const GROUP: usize = 4 * LANES;

        /// A block of each packet of a register.
        type Blocks = [[u8; 16]; LANES];

        /// Packet by packet: register i holds packets `i * LANES` and following.
        type V = [R; 4];

        /// Fields of a group, as octets.
        type Fields = [Blocks; 4];

        /// The keys of a group.
        type Keys<'a> = [&'a KeyState; GROUP];

        /// From packets to words or back: four packets' words as a matrix, in each lane.
        #[inline]
        #[target_feature(enable = $features)]
        fn transpose(a: V) -> V {
            let (low, low2) = (low_words(a[0], a[1]), low_words(a[2], a[3]));
            let (high, high2) = (high_words(a[0], a[1]), high_words(a[2], a[3]));
            [low_halves(low, low2), high_halves(low, low2), low_halves(high, high2), high_halves(high, high2)]
        }

        /// The next four words of the schedule: the first is XORed with `SubWord` of `source`, rotated or not, and `rcon`.
        #[inline]
        #[target_feature(enable = $features)]
        fn next_words(w: V, source: R, select: R, rcon: R) -> V {
            let sub = aes_last(shuffle(source, select), rcon);
            let first = xor(w[0], sub);
            let second = xor(w[1], first);
            // Not by way of the third: a shorter chain to the next round.
            [first, second, xor(w[2], second), xor3(w[2], w[3], second)]
        }

        /// Encrypts `N` blocks per packet under AES-128 (the first of the keys) or AES-256, the key schedule running along.
        /// `OPEN` makes one function for each caller, which is then inlined there.
        #[inline]
        #[target_feature(enable = $features)]
        fn encrypt<const N: usize, const AES256: bool, const OPEN: bool>(
            keys: [V; 2],
            mut b: [V; N],
            next: &Keys<'_>,
        ) -> [V; N] {
            let (rotate, keep) = (spread(&ROTATE), spread(&KEEP));
            let mut low = transpose(keys[0]);
            for b in &mut b {
                *b = four!(I => xor(b[I], keys[0][I]));
            }
            if AES256 {
                let mut high = transpose(keys[1]);
                for b in &mut b {
                    *b = four!(I => aes(b[I], keys[1][I]));
                }
                each!(I in 0 1 2 3 4 5 => {
                    ahead::<I, 7>(next);
                    low = next_words(low, high[3], rotate, spread_word(RCON[I]));
                    round(&mut b, low);
                    high = next_words(high, low[3], keep, zero());
                    round(&mut b, high);
                });
                ahead::<6, 7>(next);
                low = next_words(low, high[3], rotate, spread_word(RCON[6]));
            } else {
                each!(I in 0 1 2 3 4 5 6 7 8 => {
                    ahead::<I, 10>(next);
                    low = next_words(low, low[3], rotate, spread_word(RCON[I]));
                    round(&mut b, low);
                });
                ahead::<9, 10>(next);
                low = next_words(low, low[3], rotate, spread_word(RCON[9]));
            }
            let key = transpose(low);
            for b in &mut b {
                *b = four!(I => aes_last(b[I], key[I]));
            }
            b
        }

        /// A round of all blocks.
        #[inline]
        #[target_feature(enable = $features)]
        fn round(b: &mut [V], words: V) {
            let key = transpose(words);
            for b in b {
                *b = four!(I => aes(b[I], key[I]));
            }
        }

        /// Encrypts four registers of blocks, all under one key.
        #[inline]
        #[target_feature(enable = $features)]
        fn encrypt_under<const AES256: bool, const OPEN: bool>(rounds: &Rounds, blocks: V) -> V {
            let first = spread(&rounds[0]);
            let mut b = four!(I => xor(blocks[I], first));
            each!(I in 1 2 3 4 5 6 7 8 9 => one_round(&mut b, spread(&rounds[I])));
            if AES256 {
                each!(I in 10 11 12 13 => one_round(&mut b, spread(&rounds[I])));
            }
            let last = spread(&rounds[if AES256 { 14 } else { 10 }]);
            four!(I => aes_last(b[I], last))
        }

        /// A round of blocks under one round key.
        #[inline]
        #[target_feature(enable = $features)]
        fn one_round(b: &mut V, key: R) {
            *b = four!(I => aes(b[I], key));
        }

        /// Prefetches a part of the next group's keys.
        #[inline]
        #[target_feature(enable = $features)]
        fn ahead<const PART: usize, const PARTS: usize>(next: &Keys<'_>) {
            for key in &next[PART * GROUP / PARTS..(PART + 1) * GROUP / PARTS] {
                prefetch(key);
            }
        }

        /// Brings a product of 256 bits (with its middle part still apart) back to 128, in POLYVAL's field.
        #[inline]
        #[target_feature(enable = $features)]
        fn reduce(low: R, middle: R, high: R) -> R {
            let polynomial = spread(&POLYNOMIAL);
            // The middle belongs to the upper half of `low` and the lower of `high`: here are both of them.
            let once = xor3(swap_halves(low), carryless::<0x10>(low, polynomial), middle);
            xor3(swap_halves(once), carryless::<0x10>(once, polynomial), high)
        }

        /// `a * b`, not reduced.
        #[inline]
        #[target_feature(enable = $features)]
        fn multiply(a: R, b: R) -> [R; 3] {
            let middle = xor(carryless::<0x01>(a, b), carryless::<0x10>(a, b));
            [carryless::<0x00>(a, b), middle, carryless::<0x11>(a, b)]
        }

        /// A block of the keys of register `I`'s packets, which with `ONE` are one key.
        #[inline]
        #[target_feature(enable = $features)]
        fn block<const I: usize, const BLOCK: usize, const ONE: bool>(keys: &Keys<'_>) -> R {
            if ONE { spread(&keys[0].0[BLOCK]) } else { load_key::<I, BLOCK>(keys) }
        }

        /// The tag of register `I`'s packets, with the mask still to be added.
        #[inline]
        #[target_feature(enable = $features)]
        fn ghash<const I: usize, const AES256: bool, const ONE: bool>(keys: &Keys<'_>, aad: R, text: R) -> R {
            let aad = shuffle(aad, spread(&REVERSE_AAD));
            let text = shuffle(text, spread(&REVERSE_TEXT));
            // The additional data fills the upper half only.
            let by_aad = |power: R| [carryless::<0x01>(aad, power), carryless::<0x11>(aad, power)];
            let sum = if AES256 {
                let (h1, h2) = (block::<I, 2, ONE>(keys), block::<I, 3, ONE>(keys));
                let [middle, high] = by_aad(h1);
                let text = xor(text, reduce(zero(), middle, high));
                let [low, middle, high] = multiply(text, h2);
                let [low2, middle2, high2] = multiply(spread(&LENGTHS), h1);
                reduce(xor(low, low2), xor(middle, middle2), xor(high, high2))
            } else {
                let [middle, high] = by_aad(block::<I, 1, ONE>(keys));
                let [low2, middle2, high2] = multiply(text, block::<I, 2, ONE>(keys));
                reduce(low2, xor(middle, middle2), xor3(high, high2, block::<I, 3, ONE>(keys)))
            };
            shuffle(sum, spread(&REVERSE))
        }

        /// Seals or opens a group; with `ONE` all under the key of `rounds`. Bit i: slot i has been opened, and verified; no
        /// branch depends on which.
        #[inline]
        #[target_feature(enable = $features)]
        fn group<const AES256: bool, const OPEN: bool, const ONE: bool>(
            keys: &Keys<'_>,
            rounds: &Rounds,
            next: &Keys<'_>,
            [nonce, aad]: [&Fields; 2],
            [text, tag]: [&mut Fields; 2],
        ) -> u32 {
            let nonce = four!(I => and(load(&nonce[I]), spread(&NONCE)));
            if ONE {
                // Two registers after two: the second's AES and the first's GHASH, which wait for different units, are then
                // near enough to each other in the program to overlap.
                let [mask, counter] = COUNTERS.each_ref().map(|counter| spread(counter));
                let b = [xor(nonce[0], mask), xor(nonce[1], mask), xor(nonce[0], counter), xor(nonce[1], counter)];
                let b = encrypt_under::<AES256, OPEN>(rounds, b);
                let first = finish::<0, AES256, OPEN, ONE>(keys, b[0], b[2], aad, text, tag)
                    | finish::<1, AES256, OPEN, ONE>(keys, b[1], b[3], aad, text, tag);
                let b = [xor(nonce[2], mask), xor(nonce[3], mask), xor(nonce[2], counter), xor(nonce[3], counter)];
                let b = encrypt_under::<AES256, OPEN>(rounds, b);
                next.iter().for_each(|key| prefetch(key));
                return first
                    | finish::<2, AES256, OPEN, ONE>(keys, b[0], b[2], aad, text, tag)
                    | finish::<3, AES256, OPEN, ONE>(keys, b[1], b[3], aad, text, tag);
            }
            let blocks = COUNTERS.each_ref().map(|counter| four!(I => xor(nonce[I], spread(counter))));
            let low = four!(I => load_key::<I, 0>(keys));
            let high = if AES256 { four!(I => load_key::<I, 1>(keys)) } else { low };
            let [mask, stream] = encrypt::<2, AES256, OPEN>([low, high], blocks, next);
            let verified = four!(I => finish::<I, AES256, OPEN, ONE>(keys, mask[I], stream[I], aad, text, tag));
            verified[0] | verified[1] | verified[2] | verified[3]
        }

        /// What is left to do of register `I`'s packets when its blocks are encrypted. Gives the bits of those that verified.
        #[inline]
        #[target_feature(enable = $features)]
        fn finish<const I: usize, const AES256: bool, const OPEN: bool, const ONE: bool>(
            keys: &Keys<'_>,
            mask: R,
            stream: R,
            aad: &Fields,
            text: &mut Fields,
            tag: &mut Fields,
        ) -> u32 {
            let before = load(&text[I]);
            let after = xor(before, stream);
            let sum = ghash::<I, AES256, ONE>(keys, load(&aad[I]), if OPEN { before } else { after });
            let made = xor(sum, mask);
            if OPEN {
                let (same, verified) = equal(made, load(&tag[I]));
                store(&mut text[I], and(after, and(spread(&TEXT), same)));
                verified << (I * LANES)
            } else {
                store(&mut text[I], and(after, spread(&TEXT)));
                store(&mut tag[I], made);
                0
            }
        }

        static NO_KEY: KeyState = KeyState::ZERO;

        /// Seals or opens the first `keys.len()` slots, and prefetches the keys of the next batch. Bit i: slot i has been
        /// opened, and verified.
        #[inline]
        #[target_feature(enable = $features)]
        fn all<const AES256: bool, const OPEN: bool>(keys: &[&KeyState], next: &[&KeyState], batch: &mut Batch) -> u32 {
            let Batch { nonce, aad, text, tag } = batch;
            let given = fields(nonce).iter().zip(fields(aad));
            let made = fields_mut(text).iter_mut().zip(fields_mut(tag));
            let mut next = next.chunks(GROUP);
            let (mut verified, mut at) = (0, 0);
            // A flow with many packets fills whole groups: its schedule is then made once. By the keys' addresses, so that
            // nothing depends on what they are.
            let (mut rounds, mut expanded): (Rounds, Option<&KeyState>) = (NO_ROUNDS, None);
            for ((keys, (nonce, aad)), (text, tag)) in keys.chunks(GROUP).zip(given).zip(made) {
                let filled;
                let keys = match keys.try_into() {
                    Ok(keys) => keys,
                    Err(_) => {
                        // Lanes behind the last key work with a key of zeros, and in vain.
                        filled = core::array::from_fn(|i| keys.get(i).copied().unwrap_or(&NO_KEY));
                        &filled
                    }
                };
                let next = next.next().map_or(keys, |next| {
                    next.try_into().unwrap_or_else(|_| {
                        next.iter().for_each(|key| prefetch(key));
                        keys
                    })
                });
                let is_first = |key: &&KeyState| core::ptr::eq(*key, keys[0]);
                verified |= if keys.iter().all(is_first) {
                    if !expanded.as_ref().is_some_and(is_first) {
                        aesni::expand::<AES256>(keys[0], &mut rounds);
                        expanded = Some(keys[0]);
                    }
                    group::<AES256, OPEN, true>(keys, &rounds, next, [nonce, aad], [text, tag])
                } else {
                    group::<AES256, OPEN, false>(keys, &rounds, next, [nonce, aad], [text, tag])
                } << at;
                at += GROUP;
            }
            next.flatten().for_each(|key| prefetch(key));
            if expanded.is_some() {
                rounds = NO_ROUNDS;
                core::hint::black_box(&rounds); // so that the zeros are written
            }
            verified
        }

        /// Seals the first `keys.len()` slots, and prefetches the keys of the next batch.
        #[target_feature(enable = $features)]
        pub(super) fn seal<const AES256: bool>(keys: &[&KeyState], next: &[&KeyState], batch: &mut Batch) {
            all::<AES256, false>(keys, next, batch);
        }

        /// Opens the first `keys.len()` slots, and prefetches the keys of the next batch; bit i: slot i has verified.
        #[target_feature(enable = $features)]
        pub(super) fn open<const AES256: bool>(keys: &[&KeyState], next: &[&KeyState], batch: &mut Batch) -> u32 {
            all::<AES256, true>(keys, next, batch)
        }

        fn fields(blocks: &[[u8; 16]; super::BATCH]) -> &[Fields] {
            blocks.as_chunks().0.as_chunks().0
        }

        fn fields_mut(blocks: &mut [[u8; 16]; super::BATCH]) -> &mut [Fields] {
            blocks.as_chunks_mut().0.as_chunks_mut().0
        }
    };
}

pub(super) use single::setup;
pub(super) use {each, four, kernel};

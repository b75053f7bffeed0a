//! The kernel's body over a model of its instructions in plain Rust, with as many lanes as each instruction set has: what the
//! body does is proven on any machine, and of a path that this CPU does not have, only the names of its instructions are not.

use super::super::{BATCH, Batch, KeyState, Path, kernel, prefetch};
use super::{AES, Rng, all, check, filled};
use crate::suite::Aead;

/// One block, as the instructions see it.
type Block = [u8; 16];

fn by_octet(a: Block, b: Block, each: impl Fn(u8, u8) -> u8) -> Block {
    core::array::from_fn(|i| each(a[i], b[i]))
}

fn word(a: Block, i: usize) -> [u8; 4] {
    core::array::from_fn(|n| a[4 * i + n])
}

fn of_words(words: [[u8; 4]; 4]) -> Block {
    core::array::from_fn(|i| words[i / 4][i % 4])
}

fn half(a: Block, i: usize) -> u64 {
    (u128::from_le_bytes(a) >> (64 * i)) as u64
}

fn of_halves(low: u64, high: u64) -> Block {
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}

/// Multiplication in AES's field.
fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        product ^= if b & 1 == 1 { a } else { 0 };
        a = a << 1 ^ if a & 0x80 == 0 { 0 } else { 0x1B };
        b >>= 1;
    }
    product
}

/// FIPS 197, 5.1.1, by its definition: the inverse, then an affine map.
fn sub_byte(a: u8) -> u8 {
    static TABLE: std::sync::LazyLock<[u8; 256]> = std::sync::LazyLock::new(|| {
        core::array::from_fn(|a| {
            let inverse = (0..=255).find(|&b| times(a as u8, b) == 1).unwrap_or(0);
            (0..5).fold(0x63, |sum, turn| sum ^ inverse.rotate_left(turn))
        })
    });
    TABLE[usize::from(a)]
}

fn sub_and_shift(a: Block) -> Block {
    core::array::from_fn(|i| sub_byte(a[(i + 4 * (i % 4)) % 16]))
}

fn last_round(a: Block, key: Block) -> Block {
    by_octet(sub_and_shift(a), key, |a, k| a ^ k)
}

fn full_round(a: Block, key: Block) -> Block {
    let s = sub_and_shift(a);
    let mixed = core::array::from_fn(|i| {
        let at = |row: usize| s[i / 4 * 4 + (i + row) % 4];
        times(at(0), 2) ^ times(at(1), 3) ^ at(2) ^ at(3)
    });
    by_octet(mixed, key, |a, k| a ^ k)
}

fn product(a: u64, b: u64) -> Block {
    (0..64).filter(|i| b >> i & 1 == 1).fold(0, |sum, i| sum ^ u128::from(a) << i).to_le_bytes()
}

/// A module with the operations of [`super::super::kernel`] on so many lanes.
macro_rules! model {
    ($name:ident, $features:literal, $lanes:literal$(, $setup:item)?) => {
        mod $name {
            use super::*;

            kernel::kernel!($features, $lanes);
            $($setup)?

            type R = [Block; LANES];

            fn lanes(a: R, b: R, each: impl Fn(Block, Block) -> Block) -> R {
                core::array::from_fn(|i| each(a[i], b[i]))
            }
            fn xor(a: R, b: R) -> R {
                lanes(a, b, |a, b| by_octet(a, b, |a, b| a ^ b))
            }
            fn xor3(a: R, b: R, c: R) -> R {
                xor(xor(a, b), c)
            }
            fn and(a: R, b: R) -> R {
                lanes(a, b, |a, b| by_octet(a, b, |a, b| a & b))
            }
            fn aes(a: R, key: R) -> R {
                lanes(a, key, full_round)
            }
            fn aes_last(a: R, key: R) -> R {
                lanes(a, key, last_round)
            }
            fn shuffle(a: R, select: R) -> R {
                lanes(a, select, |a, s| s.map(|s| if s & 0x80 == 0 { a[usize::from(s & 15)] } else { 0 }))
            }
            fn swap_halves(a: R) -> R {
                a.map(|a| of_halves(half(a, 1), half(a, 0)))
            }
            fn low_words(a: R, b: R) -> R {
                lanes(a, b, |a, b| of_words([word(a, 0), word(b, 0), word(a, 1), word(b, 1)]))
            }
            fn high_words(a: R, b: R) -> R {
                lanes(a, b, |a, b| of_words([word(a, 2), word(b, 2), word(a, 3), word(b, 3)]))
            }
            fn low_halves(a: R, b: R) -> R {
                lanes(a, b, |a, b| of_halves(half(a, 0), half(b, 0)))
            }
            fn high_halves(a: R, b: R) -> R {
                lanes(a, b, |a, b| of_halves(half(a, 1), half(b, 1)))
            }
            fn carryless<const HALVES: i32>(a: R, b: R) -> R {
                lanes(a, b, |a, b| product(half(a, (HALVES & 1) as usize), half(b, (HALVES >> 4) as usize)))
            }
            #[allow(dead_code, reason = "what is done to single keys is there on one lane")]
            fn doubled(h: R) -> R {
                h.map(|h| (u128::from_le_bytes(h) << 1).to_le_bytes())
            }
            #[allow(dead_code, reason = "what is done to single keys is there on one lane")]
            fn sign_of_top(h: R) -> R {
                h.map(|h| [if h[15] & 0x80 == 0 { 0 } else { 0xFF }; 16])
            }
            fn zero() -> R {
                [[0; 16]; LANES]
            }
            fn spread_word(octet: u8) -> R {
                [of_words([u32::from(octet).to_le_bytes(); 4]); LANES]
            }
            fn spread(block: &Block) -> R {
                [*block; LANES]
            }
            fn load_key<const I: usize, const BLOCK: usize>(keys: &Keys<'_>) -> R {
                core::array::from_fn(|lane| keys[LANES * I + lane].0[BLOCK])
            }
            fn load(blocks: &Blocks) -> R {
                *blocks
            }
            fn store(blocks: &mut Blocks, r: R) {
                *blocks = r;
            }
            fn equal(a: R, b: R) -> (R, u32) {
                let same: [bool; LANES] = core::array::from_fn(|i| a[i] == b[i]);
                let bits = (0..LANES).filter(|&i| same[i]).fold(0, |bits, i| bits | 1 << i);
                (same.map(|same| [if same { 0xFF } else { 0 }; 16]), bits)
            }
        }
    };
}

/// `model!` with the features that every CPU of this architecture has: the body wants to name some.
macro_rules! models {
    ($features:literal) => {
        model!(one, $features, 1, kernel::setup!($features););
        model!(two, $features, 2);
        model!(four, $features, 4);
    };
}
// One lane for all that is done to single keys, as among the kernels.
use one as aesni;
#[cfg(target_arch = "x86_64")]
models!("sse2");
#[cfg(target_arch = "aarch64")]
models!("neon");

#[allow(unsafe_code, reason = "calls the kernels, whose CPU features the tests look for")]
#[test]
fn the_body_agrees_with_the_oracle_on_any_number_of_lanes() {
    let mut rng = Rng(0x0DD1_1A5E);
    macro_rules! check_model {
        ($name:ident, $aead:expr, $wide:literal, $len:expr) => {{
            // SAFETY: every CPU of this architecture has the features; so below.
            let state = |key: &[u8; 32]| unsafe { one::key_state::<$wide>(key) };
            check(
                &mut rng,
                $aead,
                $len,
                state,
                // SAFETY: as above.
                |keys, batch| unsafe { $name::seal::<$wide>(keys, &[], batch) },
                // SAFETY: as above.
                |keys, batch| unsafe { $name::open::<$wide>(keys, &[], batch) } & all(keys.len()),
            );
        }};
    }
    for len in 0..=BATCH {
        check_model!(one, Aead::Aes128Gcm, false, len);
        check_model!(one, Aead::Aes256Gcm, true, len);
        check_model!(two, Aead::Aes128Gcm, false, len);
        check_model!(two, Aead::Aes256Gcm, true, len);
        check_model!(four, Aead::Aes128Gcm, false, len);
        check_model!(four, Aead::Aes256Gcm, true, len);
    }
}

#[allow(unsafe_code, reason = "calls the kernels, whose CPU features the tests look for")]
#[test]
fn the_states_of_keys_are_those_of_the_model() {
    if !Path::AesNi.is_available() {
        // Then a state holds its key and nothing else.
        assert_eq!(KeyState::new(Aead::Aes256Gcm, &[7; 32]).0, [[7; 16], [7; 16], [0; 16], [0; 16]]);
        return;
    }
    let mut rng = Rng(0x57A7E);
    for _ in 0..200 {
        let key = filled(&mut rng);
        for aead in AES {
            // SAFETY: every CPU of this architecture has the features.
            let model = unsafe {
                if aead == Aead::Aes256Gcm { one::key_state::<true>(&key) } else { one::key_state::<false>(&key) }
            };
            assert_eq!(KeyState::new(aead, &key).0, model.0, "{aead}");
        }
    }
}

#[test]
fn the_model_of_a_round_is_that_of_the_standard() {
    // FIPS 197, appendix B: round 1, and C.1's last.
    let hex = |s: &str| -> Block { hex::decode(s).expect("hexadecimal").try_into().expect("16 octets") };
    let start = hex("193de3bea0f4e22b9ac68d2ae9f84808");
    assert_eq!(full_round(start, hex("a0fafe1788542cb123a339392a6c7605")), hex("a49c7ff2689f352b6b5bea43026a5049"));
    let last = hex("bd6e7c3df2b5779e0b61216e8b10b689");
    assert_eq!(last_round(last, hex("13111d7fe3944a17f307a78b4d2b30c5")), hex("69c4e0d86a7b0430d8cdb78070b4c55a"));
    assert_eq!(product(3, u64::MAX), of_halves(1, 1), "(x + 1) * (x^64 - 1) / (x - 1)");
}

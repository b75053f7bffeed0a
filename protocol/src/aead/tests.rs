//! Every path against the portable one and against the `aes-gcm` crate, bit for bit.

mod batch;
#[cfg(target_arch = "x86_64")]
mod constant_time;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod model;
#[cfg(target_arch = "x86_64")]
mod valgrind;
mod wycheproof;

use super::{BATCH, Batch, KeyState, Path, Slot, open_by, seal_by};
use crate::suite::Aead;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use proptest::prelude::*;

/// xorshift64: the same octets on every machine.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn filled<const N: usize>(rng: &mut Rng) -> [u8; N] {
    let mut octets = [0; N];
    for part in octets.chunks_mut(8) {
        part.copy_from_slice(&rng.next().wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()[..part.len()]);
    }
    octets
}

/// The first bits.
fn all(len: usize) -> u32 {
    ((1u64 << len) - 1) as u32
}

/// Text and tag as the `aes-gcm` crate makes them.
fn oracle(aead: Aead, key: &[u8; 32], nonce: &[u8; 16], aad: &[u8; 16], text: &[u8; 16]) -> ([u8; 14], [u8; 16]) {
    let mut made: [u8; 14] = text[..14].try_into().expect("14 octets");
    let nonce: &[u8; 12] = nonce[..12].try_into().expect("12 octets");
    let inout = made.as_mut_slice().into();
    let tag = match aead {
        Aead::Aes256Gcm => Aes256Gcm::new(key.into()).encrypt_inout_detached(nonce.into(), &aad[..6], inout),
        _ => {
            let key: &[u8; 16] = key[..16].try_into().expect("16 octets");
            Aes128Gcm::new(key.into()).encrypt_inout_detached(nonce.into(), &aad[..6], inout)
        }
    };
    (made, tag.expect("lengths").into())
}

/// Seals `len` slots of random fields, padding included, and opens them with the tags of some slots damaged; checks all that
/// [`Batch`] promises, of packets under keys of their own and of runs under one key. Returns how many packets that were.
fn check(
    rng: &mut Rng,
    aead: Aead,
    len: usize,
    state: impl Fn(&[u8; 32]) -> KeyState,
    seal: impl Fn(&[&KeyState], &mut Batch),
    open: impl Fn(&[&KeyState], &mut Batch) -> u32,
) -> usize {
    let each: [[u8; 32]; BATCH] = core::array::from_fn(|_| filled(rng));
    let states = each.each_ref().map(state);
    // Every packet under a key of its own, or runs of packets under one.
    let run = if rng.next().is_multiple_of(2) { 1 } else { 1 + rng.next() as usize % BATCH };
    let keys: [[u8; 32]; BATCH] = core::array::from_fn(|i| each[i - i % run]);
    let refs: [&KeyState; BATCH] = core::array::from_fn(|i| &states[i - i % run]);
    let refs = &refs[..len];
    let mut batch = Batch::new();
    for field in [&mut batch.nonce, &mut batch.aad, &mut batch.text, &mut batch.tag] {
        *field = core::array::from_fn(|_| filled(rng));
    }
    let (nonce, aad, plain) = (batch.nonce, batch.aad, batch.text);
    seal(refs, &mut batch);
    assert_eq!((batch.nonce, batch.aad), (nonce, aad), "sealing leaves nonces and additional data as they are");
    for i in 0..len {
        let (text, tag) = oracle(aead, &keys[i], &nonce[i], &aad[i], &plain[i]);
        assert_eq!((batch.text_of(i), &batch.tag[i]), (&text, &tag), "{aead}, slot {i} of {len}");
        assert_eq!(batch.text[i][14..], [0, 0], "{aead}, slot {i} of {len}: padding");
    }
    // All good, one bad, or any subset bad; in one bit, or in all.
    let bad = match rng.next() % 4 {
        0 => 0,
        1 => 1 << (rng.next() % 32),
        2 => rng.next() as u32 & rng.next() as u32,
        _ => rng.next() as u32,
    };
    for i in 0..BATCH {
        if bad >> i & 1 == 1 {
            let octet = rng.next() as usize % 16;
            batch.tag[i][octet] ^= if rng.next() & 3 == 0 { 0xFF } else { 1 << (rng.next() % 8) };
        }
        let padding: [u8; 2] = filled(rng);
        batch.text[i][14..].copy_from_slice(&padding);
        batch.nonce[i][12..].copy_from_slice(&filled::<4>(rng));
        batch.aad[i][6..].copy_from_slice(&filled::<10>(rng));
    }
    let (nonce, aad, tag) = (batch.nonce, batch.aad, batch.tag);
    assert_eq!(open(refs, &mut batch), all(len) & !bad, "{aead}, {len} slots, bad {bad:#b}");
    assert_eq!((batch.nonce, batch.aad), (nonce, aad), "opening leaves what it reads as it is");
    assert_eq!(batch.tag[..len], tag[..len], "opening leaves what it reads as it is");
    for (i, plain) in plain.iter().enumerate().take(len) {
        let mut expected = [0; 16];
        if bad >> i & 1 == 0 {
            expected[..14].copy_from_slice(&plain[..14]);
        }
        assert_eq!(batch.text[i], expected, "{aead}, slot {i} of {len}, bad {bad:#b}");
    }
    len
}

fn slots(len: usize, seed: u64) -> Vec<Slot> {
    let mut x = seed | 1;
    let mut octet = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 32) as u8
    };
    (0..len)
        .map(|_| {
            let mut slot = Slot::ZERO;
            slot.key
                .iter_mut()
                .chain(&mut slot.nonce)
                .chain(&mut slot.aad)
                .chain(&mut slot.text)
                .for_each(|o| *o = octet());
            slot
        })
        .collect()
}

fn same(a: &[Slot], b: &[Slot]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.text == b.text && a.tag == b.tag)
}

const AES: [Aead; 2] = [Aead::Aes128Gcm, Aead::Aes256Gcm];

fn available() -> Vec<Path> {
    let paths: Vec<_> = Path::ALL.into_iter().filter(|p| p.is_available()).collect();
    assert!(paths.contains(&Path::best()));
    paths
}

#[test]
fn every_batch_size_and_lane_agrees_with_the_oracle() {
    for path in available() {
        for aead in AES {
            for len in 0..=BATCH {
                for round in 0..50 {
                    let plain = slots(len, ((len * 1000 + round) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
                    let (mut ours, mut oracle) = (plain.clone(), plain.clone());
                    seal_by(path, aead, &mut ours);
                    seal_by(Path::Portable, aead, &mut oracle);
                    assert!(same(&ours, &oracle), "{path:?} {aead} {len}");
                    let all = ((1u64 << len) - 1) as u32;
                    assert_eq!(open_by(path, aead, &mut ours), all, "{path:?} {aead} {len}");
                    assert!(ours.iter().zip(&plain).all(|(o, p)| o.text == p.text));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn wrong_tags_in_any_lanes_are_found_there_and_nowhere_else(
        seed: u64, len in 1usize..=BATCH, wrong: u32, octet in 0usize..16, bit in 0u32..8,
    ) {
        for path in available() {
            for aead in AES {
                let plain = slots(len, seed);
                let mut sealed = plain.clone();
                seal_by(path, aead, &mut sealed);
                for (i, slot) in sealed.iter_mut().enumerate() {
                    slot.tag[octet] ^= ((wrong >> i & 1) as u8) << bit;
                }
                let all = ((1u64 << len) - 1) as u32;
                prop_assert_eq!(open_by(path, aead, &mut sealed), all & !wrong);
                for (i, (slot, plain)) in sealed.iter().zip(&plain).enumerate() {
                    let expected = if wrong >> i & 1 == 1 { [0; 14] } else { plain.text };
                    prop_assert_eq!(slot.text, expected);
                }
            }
        }
    }

    #[test]
    fn any_input_agrees_with_the_oracle(seed: u64, rounds in 1u64..40) {
        for path in available() {
            for aead in AES {
                for round in 0..rounds {
                    let plain = slots(BATCH, seed.wrapping_add(round));
                    let (mut ours, mut oracle) = (plain.clone(), plain);
                    seal_by(path, aead, &mut ours);
                    seal_by(Path::Portable, aead, &mut oracle);
                    prop_assert!(same(&ours, &oracle));
                }
            }
        }
    }
}

/// Keys and inputs with few bits, and with all of them: carries and reductions at their edges.
#[test]
fn edges_agree_with_the_oracle() {
    for path in available() {
        for aead in AES {
            for bit in 0..8 * 64 {
                let mut edge = vec![Slot::ZERO; 3];
                for (i, slot) in edge.iter_mut().enumerate() {
                    let fill = [0, 0xFF, 0x80][i];
                    let octets = slot.key.iter_mut().chain(&mut slot.nonce).chain(&mut slot.aad).chain(&mut slot.text);
                    for (n, octet) in octets.enumerate() {
                        *octet = fill ^ if n == bit / 8 { 1 << (bit % 8) } else { 0 };
                    }
                }
                let mut oracle = edge.clone();
                seal_by(path, aead, &mut edge);
                seal_by(Path::Portable, aead, &mut oracle);
                assert!(same(&edge, &oracle), "{path:?} {aead} bit {bit}");
            }
        }
    }
}

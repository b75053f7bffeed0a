//! Every path against the portable one, bit for bit.

use super::{BATCH, Path, Slot, open_by, seal_by};
use crate::suite::Aead;
use proptest::prelude::*;

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

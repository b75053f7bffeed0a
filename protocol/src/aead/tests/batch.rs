//! Every path through the interface of the packet path, against the `aes-gcm` crate itself.

use super::super::{BATCH, Batch, KeyState, Path, prefetch};
use super::{AES, Rng, all, available, check, filled, oracle};
use crate::suite::Aead;

#[test]
fn every_batch_size_and_lane_agrees_whatever_the_padding_holds() {
    let mut rng = Rng(0xBA7C);
    for path in available() {
        for aead in AES {
            for len in 0..=BATCH {
                for _ in 0..20 {
                    check(
                        &mut rng,
                        aead,
                        len,
                        |key| KeyState::new(aead, key),
                        |keys, batch| batch.seal_by(path, aead, keys),
                        |keys, batch| batch.open_by(path, aead, keys),
                    );
                }
            }
        }
    }
}

/// `PDMV2_AEAD_PACKETS` says how many packets per path and key length, in place of a million (50,000 in debug builds).
#[test]
fn millions_of_packets_agree() {
    let default = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
    let wanted =
        std::env::var("PDMV2_AEAD_PACKETS").map_or(default, |n| n.parse().expect("PDMV2_AEAD_PACKETS: a number"));
    let seed = std::env::var("PDMV2_AEAD_SEED").map_or(0x5EED, |n| n.parse().expect("PDMV2_AEAD_SEED: a number"));
    let mut rng = Rng(seed | 1);
    for path in available() {
        for aead in AES {
            let mut packets = 0;
            while packets < wanted {
                packets += check(
                    &mut rng,
                    aead,
                    BATCH,
                    |key| KeyState::new(aead, key),
                    |keys, batch| batch.seal_by(path, aead, keys),
                    |keys, batch| batch.open_by(path, aead, keys),
                );
            }
            println!("{} {aead}: {packets} packets sealed and opened as aes-gcm does", path.name());
        }
    }
}

#[test]
fn prefetching_changes_nothing() {
    let mut rng = Rng(0xF00D);
    for path in available() {
        for aead in AES {
            for len in 0..=BATCH {
                let next: Vec<KeyState> =
                    (0..rng.next() % 70).map(|_| KeyState::new(aead, &filled(&mut rng))).collect();
                let next: Vec<&KeyState> = next.iter().collect();
                check(
                    &mut rng,
                    aead,
                    len,
                    |key| KeyState::new(aead, key),
                    |keys, batch| batch.seal_ahead_by(path, aead, keys, &next),
                    |keys, batch| batch.open_ahead_by(path, aead, keys, &next),
                );
                next.iter().for_each(|key| prefetch(key));
            }
        }
    }
    let key = KeyState::new(Aead::Aes128Gcm, &[0; 32]);
    let (keys, mut batch) = ([&key; 3], Batch::new());
    batch.seal_ahead(Aead::Aes128Gcm, &keys, &keys);
    assert_eq!(batch.open_ahead(Aead::Aes128Gcm, &keys, &[]), 0b111);
}

#[test]
fn the_portable_path_keeps_the_same_promises() {
    let mut rng = Rng(0x0A11);
    for aead in AES {
        for len in 0..=BATCH {
            check(
                &mut rng,
                aead,
                len,
                |key| KeyState::new(aead, key),
                |keys, batch| batch.seal_by(Path::Portable, aead, keys),
                |keys, batch| batch.open_by(Path::Portable, aead, keys),
            );
        }
    }
}

/// One batch after another in the same place, and one key in several slots.
#[test]
fn a_batch_is_used_again() {
    for path in available() {
        for aead in AES {
            let mut rng = Rng(0xA6A1);
            let keys: Vec<KeyState> = (0..3).map(|_| KeyState::new(aead, &filled(&mut rng))).collect();
            let mut batch = Batch::new();
            for _ in 0..50 {
                let chosen: [&KeyState; BATCH] = core::array::from_fn(|_| &keys[rng.next() as usize % 3]);
                let plain: [[u8; 14]; BATCH] = core::array::from_fn(|_| filled(&mut rng));
                for (i, text) in plain.iter().enumerate() {
                    batch.set(i, &filled(&mut rng), &filled(&mut rng), text);
                }
                batch.seal_by(path, aead, &chosen);
                assert!((0..BATCH).all(|i| *batch.text_of(i) != plain[i]));
                assert_eq!(batch.open_by(path, aead, &chosen), u32::MAX, "{path:?} {aead}");
                assert!((0..BATCH).all(|i| *batch.text_of(i) == plain[i]));
            }
        }
    }
}

#[test]
fn setting_a_slot_writes_its_octets_and_zeros_behind_those_that_are_read_with_them() {
    let mut batch = Batch::new();
    for slot in 0..BATCH {
        for field in [&mut batch.nonce, &mut batch.aad, &mut batch.text] {
            field[slot] = [0xEE; 16];
        }
        let octets: [u8; 14] = core::array::from_fn(|i| (i + slot) as u8 + 1);
        let (nonce, aad): ([u8; 12], [u8; 6]) =
            (core::array::from_fn(|i| octets[i]), core::array::from_fn(|i| octets[i]));
        batch.set(slot, &nonce, &aad, &octets);
        let padded = |n| -> [u8; 16] { core::array::from_fn(|i| if i < n { octets[i] } else { 0 }) };
        assert_eq!([batch.nonce[slot], batch.text[slot]], [padded(12), padded(14)]);
        assert_eq!(batch.aad[slot][..8], padded(6)[..8], "the other half does not count, and takes a store");
    }
}

/// What the kernels' loads of whole lines, and their aligned loads of quarters, rely on.
#[test]
fn key_states_stand_on_lines_of_their_own() {
    assert_eq!((size_of::<KeyState>(), align_of::<KeyState>()), (64, 64));
    assert_eq!((size_of::<Batch>(), align_of::<Batch>()), (4 * 16 * BATCH, 64));
    let boxed = Box::new(KeyState::ZERO);
    let many = vec![KeyState::ZERO; 3];
    for key in many.iter().chain([&*boxed, &KeyState::from_words([0; 8])]) {
        assert_eq!((&raw const *key).addr() % 64, 0);
    }
}

#[test]
fn no_keys_open_nothing() {
    for path in available() {
        let mut batch = Batch::new();
        batch.text = [[0x5A; 16]; BATCH];
        batch.seal_by(path, Aead::Aes128Gcm, &[]);
        assert_eq!(batch.open_by(path, Aead::Aes128Gcm, &[]), all(0));
        assert_eq!(batch.text, [[0x5A; 16]; BATCH], "{path:?}");
    }
}

/// For `protocol/tests/avx512`: key, nonce, additional data, text, all with padding, and what sealing makes of them, into the
/// file that `PDMV2_AEAD_CASES` names.
#[test]
#[ignore = "makes the input of another test"]
fn writes_cases() {
    let path = std::env::var_os("PDMV2_AEAD_CASES").expect("PDMV2_AEAD_CASES: the file to write");
    let (mut rng, mut octets) = (Rng(0xB0C5), Vec::new());
    for aead in AES {
        let mut key = [0; 32];
        for i in 0..1024 {
            // Keys of their own, then runs under one.
            if i < 512 || i % 40 == 0 {
                key = filled(&mut rng);
            }
            let [nonce, aad, text]: [[u8; 16]; 3] = core::array::from_fn(|_| filled(&mut rng));
            let (sealed, tag) = oracle(aead, &key, &nonce, &aad, &text);
            octets.extend_from_slice(&key);
            octets.extend_from_slice([nonce, aad, text].as_flattened());
            octets.extend_from_slice(&sealed);
            octets.extend_from_slice(&[0; 2]);
            octets.extend_from_slice(&tag);
        }
    }
    std::fs::write(path, octets).expect("PDMV2_AEAD_CASES: a file that can be written");
}

//! Wycheproof's cases for AES-GCM, as far as they fit our one shape (a nonce of 96 bits, 6 octets of additional data, 14 of
//! text, a tag of 128 bits).
//!
//! None has that shape exactly (the test below says so when this changes, and then checks them whole). The key stream does
//! not depend on the shape, so it is checked against the published ciphertext for every valid case with such a nonce: as
//! many octets as there are, at most 14. Keys, nonces, texts and tags of all cases, invalid ones too, were chosen to hit
//! edges (counters, GHASH keys, carries): cut or filled up to our shape they are sealed and opened, and compared with the
//! `aes-gcm` crate.

use super::super::{Batch, KeyState};
use super::{available, oracle};
use crate::suite::Aead;
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

/// The first octets, zeros behind them.
fn cut<const N: usize>(octets: &[u8]) -> [u8; N] {
    core::array::from_fn(|i| octets.get(i).copied().unwrap_or(0))
}

#[test]
fn wycheproofs_cases_hold_as_far_as_they_fit() {
    let set = TestSet::load(TestName::AesGcm).expect("Wycheproof's AES-GCM cases");
    let (mut whole, mut streams, mut edges) = (0, 0, 0);
    for group in set.test_groups {
        let aead = match group.key_size {
            128 => Aead::Aes128Gcm,
            256 => Aead::Aes256Gcm,
            _ => continue,
        };
        if group.nonce_size != 96 || group.tag_size != 128 {
            continue;
        }
        for test in &group.tests {
            let key = cut(&test.key);
            let state = KeyState::new(aead, &key);
            let (nonce, aad, text): ([u8; 16], [u8; 16], [u8; 16]) = (cut(&test.nonce), cut(&test.aad), cut(&test.pt));
            let of_our_shape = test.aad.len() == 6 && test.pt.len() == 14;
            let (expected, tag) = oracle(aead, &key, &nonce, &aad, &text);
            let known = if test.result == TestResult::Valid { test.ct.len().min(14) } else { 0 };
            for path in available() {
                let mut batch = Batch::new();
                (batch.nonce[0], batch.aad[0], batch.text[0]) = (nonce, aad, text);
                batch.seal_by(path, aead, &[&state]);
                assert_eq!(batch.text_of(0)[..known], test.ct[..known], "{path:?}, case {}", test.tc_id);
                assert_eq!((batch.text_of(0), &batch.tag[0]), (&expected, &tag), "{path:?}, case {}", test.tc_id);
                let whose = cut::<16>(&test.tag);
                let should_open = if of_our_shape { test.result == TestResult::Valid } else { whose == tag };
                batch.tag[0] = whose;
                assert_eq!(batch.open_by(path, aead, &[&state]) == 1, should_open, "{path:?}, case {}", test.tc_id);
            }
            whole += usize::from(of_our_shape);
            streams += usize::from(known > 0);
            edges += 1;
        }
    }
    println!(
        "of {} cases {edges} have our nonce and tag, {streams} a key stream to compare, {whole} our shape",
        set.number_of_tests
    );
    assert!(edges > 100 && streams > 50, "{edges} cases, {streams} key streams");
    assert_eq!(whole, 0, "there are cases of our shape now: correct this module's comment");
}

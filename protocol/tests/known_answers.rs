//! Answers that neither the specification's vectors nor this program made: RFC 9180's own derivations, OpenSSL's
//! ciphertexts. And every bit under a tag, flipped.

use protocol::aead::{Slot, open, seal};
use protocol::key_schedule::{labeled_expand, labeled_extract};
use protocol::suite::{Aead, Kdf, Kem, Suite};

/// RFC 9180, base mode: `key_schedule_context`, secret, key, base nonce and exporter secret of the appendix, from its
/// shared secret and its info "Ode on a Grecian Urn".
#[test]
fn rfc_9180_key_schedules() {
    struct Appendix {
        suite: Suite,
        shared: &'static str,
        context: &'static str,
        secret: &'static str,
        key: &'static str,
        base_nonce: &'static str,
        exporter: &'static str,
    }
    let appendices = [
        // A.1.1
        Appendix {
            suite: Suite::default(),
            shared: "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc",
            context: "00725611c9d98c07c03f60095cd32d400d8347d45ed67097bbad50fc56da742d07\
                      cb6cffde367bb0565ba28bb02c90744a20f5ef37f30523526106f637abb05449",
            secret: "12fff91991e93b48de37e7daddb52981084bd8aa64289c3788471d9a9712f397",
            key: "4531685d41d65f03dc48f6b8302c05b0",
            base_nonce: "56d890e5accaaf011cff4b7d",
            exporter: "45ff1c2e220db587171952c0592d5f5ebe103f1561a2614e38f2ffd47e99e3f8",
        },
        // A.2.1
        Appendix {
            suite: Suite { aead: Aead::ChaCha20Poly1305, ..Suite::default() },
            shared: "0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7",
            context: "00431df6cd95e11ff49d7013563baf7f11588c75a6611ee2a4404a49306ae4cfc5\
                      b69c5718a60cc5876c358d3f7fc31ddb598503f67be58ea1e798c0bb19eb9796",
            secret: "5b9cd775e64b437a2335cf499361b2e0d5e444d5cb41a8a53336d8fe402282c6",
            key: "ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91",
            base_nonce: "5c4d98150661b848853b547f",
            exporter: "a3b010d4994890e2c6968a36f64470d3c824c8f5029942feb11e7a74b2921922",
        },
    ];
    for Appendix { suite, shared, context, secret, key, base_nonce, exporter } in appendices {
        let made = [
            &[0][..],
            &labeled_extract(&suite, b"", b"psk_id_hash", b""),
            &labeled_extract(&suite, b"", b"info_hash", b"Ode on a Grecian Urn"),
        ]
        .concat();
        assert_eq!(hex::encode(&made), context);
        let shared = hex::decode(shared).expect("hex");
        let made_secret = labeled_extract(&suite, &shared, b"secret", b"");
        assert_eq!(hex::encode(&*made_secret), secret);
        for (label, expected) in [("key", key), ("base_nonce", base_nonce), ("exp", exporter)] {
            let mut out = vec![0; expected.len() / 2];
            labeled_expand(&suite, &made_secret, label.as_bytes(), &made, &mut out).expect("Nh octets");
            assert_eq!(hex::encode(out), expected, "{suite} {label}");
        }
    }
}

/// Octets first, first + 1, …
fn rising<const N: usize>(first: u8) -> [u8; N] {
    core::array::from_fn(|i| first.wrapping_add(i as u8))
}

/// RFC 9180 has no SHA-384; these come from Python's hmac module, by a program that gives RFC 9180's A.2.1 too. The
/// outputs are longer than Nh, so that an expansion takes several blocks.
#[test]
fn labeled_derivations_with_the_longer_hashes() {
    for (kdf, secret, key) in [
        (
            Kdf::Sha384,
            "de2540ba09855e74a4e2924a2c41a5155487543523ff4d08b35dbc370526a7734031b3710ad867187281ea58b888081a",
            "d9a47e60667c612102a6c80db20e1985dbabbc47fa14bbac654dd0bb503990592a18b620d84c781fcc10f6d24849b12891c77048\
             ded075b921e572feedf95342c414612695e1f849fb284c060bcd973b1f044601ff0d2947862beb85f7c00fb40c5993ea",
        ),
        (
            Kdf::Sha512,
            "dc319ebdf533be58107b94bc22224a8e868d7553785a97ef11bd523fb4b851d2dd6045ed9136dcb374ea381d44c089b2155d172a\
             e44c3a927ce5a47e5f72a419",
            "dfa5727f267bff969f493e2ac9952abfb716c30cf43b874b91ebea1b7f658878d3207b4ede10bbea24fa94cbdd11dd2ebc8c43e1\
             22e75d15f1f36930c7745a8c832a0ba250379d2aa50185bb52cc1c258befa3f6b95b4e5b8712d069ca0ea69dae22d46a",
        ),
    ] {
        let suite = Suite { kem: Kem::P256, kdf, aead: Aead::Aes256Gcm };
        let made = labeled_extract(&suite, &rising::<32>(0x20), b"secret", &rising::<64>(0)[..kdf.nh()]);
        assert_eq!(hex::encode(&*made), secret);
        let mut out = [0; 100];
        labeled_expand(&suite, &made, b"key", b"context", &mut out).expect("Nh octets");
        assert_eq!(hex::encode(out), key);
    }
}

/// A slot, and what OpenSSL 3 makes of it: ciphertext, then tag.
fn known(aead: Aead) -> (Slot, &'static str) {
    let aad = [0x0F, 0x22, 0x23, 0x36, 0x00, 0xFF];
    let mut slot = Slot { key: [0; 32], nonce: rising(0xA0), aad, text: rising(0x40), tag: [0; 16] };
    slot.key[..aead.nk()].copy_from_slice(&rising::<32>(0)[..aead.nk()]);
    let sealed = match aead {
        Aead::Aes128Gcm => "eac77af83acc754dc231ff4b0a5f07ec26df20277e2af2bf90958534ba80",
        Aead::Aes256Gcm => "a6593e6e018e44f82a2ccd984b37638aa4da621e0e6f8cbd59e0f6faf9eb",
        Aead::ChaCha20Poly1305 => "4cea3a1c09a384eae846b95fb0b7e473094301c020051176f8ac357decd4",
    };
    (slot, sealed)
}

#[test]
fn seals_as_openssl_does() {
    for &aead in Aead::ALL {
        let (slot, sealed) = known(aead);
        let mut slots = [slot];
        seal(aead, &mut slots);
        assert_eq!(hex::encode([&slots[0].text[..], &slots[0].tag].concat()), sealed, "{aead}");
    }
}

/// One of a slot's fields.
type Part = fn(&mut Slot) -> &mut [u8];

/// Every single bit, for every AEAD.
#[test]
fn any_bit_flipped_is_refused_and_leaves_no_text() {
    for &aead in Aead::ALL {
        let mut sealed = [known(aead).0];
        seal(aead, &mut sealed);
        let parts: [(Part, usize); 5] = [
            (|s| &mut s.key, aead.nk()),
            (|s| &mut s.nonce, 12),
            (|s| &mut s.aad, 6),
            (|s| &mut s.text, 14),
            (|s| &mut s.tag, 16),
        ];
        for (part, len) in parts {
            for bit in 0..len * 8 {
                let mut slots = sealed.clone();
                part(&mut slots[0])[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open(aead, &mut slots), 0, "{aead} {len} {bit}");
                assert_eq!(slots[0].text, [0; 14]);
            }
        }
        assert_eq!(open(aead, &mut sealed), 1);
        assert_eq!(sealed[0].text, rising::<14>(0x40));
    }
}

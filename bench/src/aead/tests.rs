use super::*;
use crate::aead::feed::{AAD, Burst, Packet, TEXT, aad, nonce};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use protocol::suite::Aead;

/// The packet sealed by the `aes-gcm` crate, called as its documentation has it.
fn expected(aead: Aead, key: &[u8; 32], number: u64, text: &[u8; 16]) -> Packet {
    fn seal<A: KeyInit + AeadInOut>(key: &[u8], nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> Vec<u8> {
        let cipher = A::new_from_slice(key).expect("the key's length");
        let nonce = nonce.as_slice().try_into().expect("the nonce's length");
        cipher.encrypt_inout_detached(nonce, aad, text.into()).expect("sealed").to_vec()
    }
    let mut packet = Packet { text: *text, tag: [0; 16] };
    let (nonce, aad): (_, [u8; AAD]) = (nonce(number), aad(number));
    let tag = match aead {
        Aead::Aes128Gcm => seal::<Aes128Gcm>(&key[..16], nonce, &aad, &mut packet.text[..TEXT]),
        _ => seal::<Aes256Gcm>(key, nonce, &aad, &mut packet.text[..TEXT]),
    };
    packet.tag.copy_from_slice(&tag);
    packet
}

#[test]
fn everyone_seals_bit_for_bit_as_the_aes_gcm_crate_and_refuses_a_flipped_bit() {
    let feed = Feed::new(100);
    let mut all = candidates(&feed, &mut Vec::new()).expect("all there");
    assert!(all.len() >= 4, "two of ours and the crate, twice");
    for turn in &mut all {
        let (name, candidate) = (turn.candidate.name(), &mut turn.candidate);
        for (at, first) in [(0, 5), (17, u64::from(u32::MAX) - 7)] {
            candidate.move_on();
            let burst = feed.to_seal(at, first);
            candidate.seal(&burst);
            let sealed = candidate.result();
            for (i, packet) in sealed.iter().enumerate() {
                let key = &feed.keys()[burst.keys[i] as usize];
                let expected = expected(candidate.aead(), key, first + i as u64, &burst.packets[i].text);
                assert_eq!(packet.text[..TEXT], expected.text[..TEXT], "{name}, packet {i}");
                assert_eq!(packet.tag, expected.tag, "{name}, packet {i}");
            }

            let opened = candidate.open(&Burst { packets: &sealed, ..burst });
            assert_eq!(opened, u32::MAX, "{name}");
            for (packet, plain) in candidate.result().iter().zip(burst.packets) {
                assert_eq!(packet.text[..TEXT], plain.text[..TEXT], "{name}");
            }

            // In each packet another bit: of the text, of the tag, of the number in nonce and additional data.
            for i in 0..BURST {
                let mut flipped = sealed;
                if i % 2 == 0 {
                    flipped[i].text[i % TEXT] ^= 1 << (i % 8);
                } else {
                    flipped[i].tag[i % 16] ^= 1 << (i % 8);
                }
                assert_eq!(candidate.open(&Burst { packets: &flipped, ..burst }), !(1 << i), "{name}, packet {i}");
            }
            let late = Burst { packets: &sealed, number: first + 1, ..burst };
            assert_eq!(candidate.open(&late), 0, "{name}: other nonces");
        }
    }
}

#[test]
fn a_report_has_a_line_of_everyone_and_what_is_missing() {
    let args = AeadArgs { json: false, rounds: 1, milliseconds: 1, keys: vec![1, 300] };
    let report = measure(&args).expect("measured");
    let everyone = candidates(&Feed::new(1), &mut Vec::new()).expect("all there");
    assert_eq!(report.rows.len(), everyone.len() * 4);
    for turn in &everyone {
        let (by, aead) = (turn.candidate.name(), turn.candidate.aead().name());
        for (keys, operation) in [("1", "seal"), ("1", "open"), ("300", "seal"), ("300", "open")] {
            let labels = [("aead", aead), ("keys", keys), ("operation", operation), ("by", &by)];
            let row = report.find(&labels).unwrap_or_else(|| panic!("{labels:?} is not there"));
            assert!(row.figure.median > 0.0);
            assert!(row.ratio.is_some_and(|r| if by == PORTABLE { r == 1.0 } else { r > 0.0 }), "{labels:?}");
        }
    }
    let noted = |part: &str| report.notes.iter().any(|n| n.contains(part));
    assert_eq!(noted("ring and aws-lc-rs"), cfg!(not(feature = "peers")));
    assert_eq!(noted("libipsec-mb-dev"), cfg!(not(have_ipsec_mb)));
    assert_eq!(noted("libssl-dev"), cfg!(not(have_openssl)));
    let others = everyone.iter().map(|t| t.candidate.name()).any(|n| n != PORTABLE && !is_ours(&n));
    assert_eq!(noted("best other library"), others);
    assert_eq!(noted("Limit by operation count"), Path::best() != Path::Portable);
}

#[test]
fn the_best_other_library_is_not_ours_and_not_the_portable_crate() {
    let mut report = Report::new("aead", "", "ns per packet", "");
    for (by, ns) in [("aes-ni", 10.0), ("vaes-512", 5.0), ("ring", 60.0), ("ipsec-mb, direct", 30.0), (PORTABLE, 20.0)]
    {
        let labels = ["aead", "keys", "operation", "by"].into_iter().zip(["AES-128-GCM", "7", "seal", by]);
        let labels: Vec<_> = labels.map(|(k, v)| (k, v.replace("AES-128-GCM", Aead::Aes128Gcm.name()))).collect();
        report.push(&labels, Figure::of(&[ns]), None);
    }
    assert_eq!(against_best_other(&report, 7, "seal"), Some((6.0, "ipsec-mb, direct".to_owned())));
    assert_eq!(against_best_other(&report, 7, "open"), None);
}

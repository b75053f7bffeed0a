//! The vectors of the specification that need keys, against the API that the boxes use: key file, key schedule, both
//! PDMv2 options, seal and open in batches. What needs none is in `wire_vectors.rs`.

mod spec;

use protocol::aead::{BATCH, Slot, open, seal};
use protocol::five_tuple::FiveTuple;
use protocol::key_schedule::{Prk, ScopeId, Secret, SessionKey, SharedSecret, file_generation_secret};
use protocol::suite::{Aead, Kdf, Kem, Suite};
use protocol::wire::dest_opts::insert_into_vec;
use protocol::wire::ext_chain::walk;
use protocol::wire::option::{Form, Metrics, Prefix6, emit_clear, emit_encrypted};
use serde_json::Value;
use spec::{number, objects, octets};
use std::slice::from_mut;

fn array<const N: usize>(object: &Value, name: &str) -> [u8; N] {
    octets(object, name).try_into().expect(name)
}

fn suite(object: &Value) -> Suite {
    Suite {
        kem: Kem::from_id(number(object, "kem")).expect("a KEM"),
        kdf: Kdf::from_id(number(object, "kdf")).expect("a KDF"),
        aead: Aead::from_id(number(object, "aead")).expect("an AEAD"),
    }
}

fn metrics(object: &Value) -> Metrics {
    let m = &object["metrics"];
    Metrics {
        scale_dtlr: number(m, "scale_dtlr"),
        scale_dtls: number(m, "scale_dtls"),
        global_pointer: number(m, "global_pointer"),
        psntp: number(m, "psntp"),
        psnlr: number(m, "psnlr"),
        delta_tlr: number(m, "delta_tlr"),
        delta_tls: number(m, "delta_tls"),
    }
}

fn slot(session: &SessionKey, prefix: &Prefix6, text: [u8; 14], tag: [u8; 16]) -> Slot {
    let nonce = session.nonce(prefix.prseq);
    Slot { key: session.key, nonce, aad: prefix.emit(Form::Encrypted), text, tag }
}

/// The option sealed, after it has been seen to open to the same metrics and, with any bit of it changed, to nothing.
fn sealed(aead: Aead, session: &SessionKey, prefix: &Prefix6, metrics: &Metrics) -> Vec<u8> {
    let mut sealed = slot(session, prefix, metrics.emit(), [0; 16]);
    seal(aead, from_mut(&mut sealed));
    let mut opened = sealed.clone();
    assert_eq!(open(aead, from_mut(&mut opened)), 1);
    assert_eq!(Metrics::parse(&opened.text), *metrics);
    for bit in 0..8 * (6 + 14 + 16) {
        let (mut bad, at, flip) = (sealed.clone(), bit / 8, 1 << (bit % 8));
        match at {
            0..6 => bad.aad[at] ^= flip,
            6..20 => bad.text[at - 6] ^= flip,
            _ => bad.tag[at - 20] ^= flip,
        }
        assert_eq!(open(aead, from_mut(&mut bad)), 0, "bit {bit}");
        assert_eq!(bad.text, [0; 14]);
    }
    emit_encrypted(&sealed.aad, &sealed.text, &sealed.tag).to_vec()
}

#[test]
fn key_files() {
    for o in objects("key_file") {
        let file_secret = SharedSecret::new(&octets(&o, "file_secret"));
        let shared = file_generation_secret(suite(&o), &array(&o, "salt"), &file_secret, number(&o, "generation"));
        assert_eq!(hex::encode(shared.expect("the right length").as_bytes()), o["shared_secret"], "{o}");
    }
}

#[test]
fn key_schedules_and_options() {
    for o in objects("key_schedule_and_seal") {
        let suite = suite(&o);
        let prk =
            Prk::new(suite, &array(&o, "salt"), &SharedSecret::new(&octets(&o, "shared_secret"))).expect("length");
        let secret = prk.secret(&match o["scope"].as_str() {
            Some("node") => ScopeId::Node(array(&o, "scope_id")),
            Some("client") => ScopeId::Client(array(&o, "scope_id")),
            Some("shared") => ScopeId::Shared,
            _ => panic!("{o}"),
        });
        assert_eq!(hex::encode(secret.as_bytes()), o["secret"], "{o}");

        let (flow, address) = (&o["flow"], |name: &str| -> std::net::Ipv6Addr {
            o["flow"][name].as_str().and_then(|a| a.parse().ok()).expect("an address")
        });
        let tuple = FiveTuple {
            src: address("src").octets(),
            sport: number(flow, "sport"),
            dst: address("dst").octets(),
            dport: number(flow, "dport"),
            protocol: number(flow, "proto"),
        };
        assert_eq!(hex::encode(tuple.octets()), o["five_tuple"], "{o}");

        let kri = number(&o, "kri");
        let session = secret.session(&tuple, kri);
        let (key, unused) = session.key.split_at(suite.aead.nk());
        assert_eq!(hex::encode(key), o["key"], "{o}");
        assert!(unused.iter().all(|&o| o == 0));
        assert_eq!(hex::encode(session.base_nonce), o["base_nonce"], "{o}");

        let prefix = Prefix6 { reserved: number(&o, "reserved"), prseq: number(&o, "prseq"), f: number(&o, "f") };
        assert_eq!(u32::from(prefix.f), kri % 2);
        assert_eq!(hex::encode(session.nonce(prefix.prseq)), o["nonce"], "{o}");
        assert_eq!(hex::encode(emit_clear(&prefix, &metrics(&o))), o["option_clear"], "{o}");
        assert_eq!(hex::encode(sealed(suite.aead, &session, &prefix, &metrics(&o))), o["option_sealed"], "{o}");
    }
}

#[test]
fn sealed_packets() {
    for o in objects("packets") {
        let suite = suite(&o);
        let packet = octets(&o, "packet");
        let tuple = walk(&packet, packet.len()).expect("a valid packet").five_tuple;
        let kri: u32 = number(&o, "kri");
        let session = Secret::from_octets(suite, &octets(&o, "secret")).expect("the right length").session(&tuple, kri);
        let prefix = Prefix6 { reserved: 0, prseq: number(&o, "prseq"), f: (kri & 1) as u8 };
        let mut made = packet.clone();
        let option = sealed(suite.aead, &session, &prefix, &metrics(&o));
        assert_eq!(insert_into_vec(&mut made, &option, Form::Encrypted), Ok(()));
        assert_eq!(hex::encode(made), o["packet_sealed"], "{o}");
    }
}

/// All options of one AEAD in one call, as a worker has them: each slot opens for itself.
#[test]
fn a_batch_opens_slot_by_slot() {
    for &aead in Aead::ALL {
        let of_aead = |o: &Value| number::<u16>(o, "aead") == aead.id();
        let mut slots: Vec<Slot> = objects("key_schedule_and_seal")
            .into_iter()
            .filter(of_aead)
            .take(BATCH)
            .map(|o| {
                let suite = suite(&o);
                let tuple = FiveTuple::from_octets(&array(&o, "five_tuple"));
                let session = Secret::from_octets(suite, &octets(&o, "secret"))
                    .expect("length")
                    .session(&tuple, number(&o, "kri"));
                let option: [u8; 36] = array(&o, "option_sealed");
                let head = Prefix6::parse(option.first_chunk().expect("six")).expect("a prefix");
                slot(&session, &head, option[6..20].try_into().expect("14"), option[20..].try_into().expect("16"))
            })
            .collect();
        assert!(slots.len() > 8);
        slots[3].tag[15] ^= 1;
        slots[7].aad[2] ^= 8;
        let all = (1u64 << slots.len()) as u32 - 1;
        assert_eq!(open(aead, &mut slots), all & !(1 << 3 | 1 << 7), "{aead}");
    }
}

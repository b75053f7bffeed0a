//! The vectors of RFC 9180.

use super::unhex;
use crate::kem::{Export, Proof, receive};
use crate::{PrivateKey, Psk};
use protocol::key_schedule::labeled_expand;
use protocol::suite::{Kem, Suite};

/// RFC 9180 appendix A.1.3 (mode_auth, X25519) and A.1.4 (mode_auth_psk), received: every exported value. A.3.3
/// (mode_auth, P-256): its exporter secret, from which the key schedule's own expansion makes the export.
#[test]
fn rfc_9180_auth_modes() {
    struct Appendix<'a> {
        kem: Kem,
        recipient: &'a str,
        sender: &'a str,
        psk: bool,
        enc: &'a str,
        exports: [&'a str; 3],
    }
    const CONTEXTS: [&[u8]; 3] = [b"", b"\0", b"TestContext"];
    let info = b"Ode on a Grecian Urn";
    let psk_key = unhex("0247fd33b913760fa1fa51e1892d9f307fbe65eb171e8132c2af18555a738b82");
    let psk = Psk::new(b"Ennyn Durin aran Moria", &psk_key).expect("lengths");
    let p256 = Suite { kem: Kem::P256, ..Suite::default() };
    let exporter = unhex("f152759972660eb0e1db880835abd5de1c39c8e9cd269f6f082ed80e28acb164");
    let a33: Vec<String> = CONTEXTS
        .iter()
        .map(|context| {
            let mut out = [0; 32];
            labeled_expand(&p256, &exporter, b"sec", context, &mut out).expect("Nh octets");
            hex::encode(out)
        })
        .collect();
    let appendices = [
        Appendix {
            kem: Kem::X25519,
            recipient: "fdea67cf831f1ca98d8e27b1f6abeb5b7745e9d35348b80fa407ff6958f9137e",
            sender: "dc4a146313cce60a278a5323d321f051c5707e9c45ba21a3479fecdf76fc69dd",
            psk: false,
            enc: "23fb952571a14a25e3d678140cd0e5eb47a0961bb18afcf85896e5453c312e76",
            exports: [
                "28c70088017d70c896a8420f04702c5a321d9cbf0279fba899b59e51bac72c85",
                "25dfc004b0892be1888c3914977aa9c9bbaf2c7471708a49e1195af48a6f29ce",
                "5a0131813abc9a522cad678eb6bafaabc43389934adb8097d23c5ff68059eb64",
            ],
        },
        Appendix {
            kem: Kem::X25519,
            recipient: "cb29a95649dc5656c2d054c1aa0d3df0493155e9d5da6d7e344ed8b6a64a9423",
            sender: "fc1c87d2f3832adb178b431fce2ac77c7ca2fd680f3406c77b5ecdf818b119f4",
            psk: true,
            enc: "820818d3c23993492cc5623ab437a48a0a7ca3e9639c140fe1e33811eb844b7c",
            exports: [
                "08f7e20644bb9b8af54ad66d2067457c5f9fcb2a23d9f6cb4445c0797b330067",
                "52e51ff7d436557ced5265ff8b94ce69cf7583f49cdb374e6aad801fc063b010",
                "a30c20370c026bbea4dca51cb63761695132d342bae33a6a11527d3e7679436d",
            ],
        },
        Appendix {
            kem: Kem::P256,
            recipient: "d929ab4be2e59f6954d6bedd93e638f02d4046cef21115b00cdda2acb2a4440e",
            sender: "1120ac99fb1fccc1e8230502d245719d1b217fe20505c7648795139d177f0de9",
            psk: false,
            enc: "042224f3ea800f7ec55c03f29fc9865f6ee27004f818fcbdc6dc68932c1e52e15b\
                  79e264a98f2c535ef06745f3d308624414153b22c7332bc1e691cb4af4d53454",
            exports: [&a33[0], &a33[1], &a33[2]],
        },
    ];
    for Appendix { kem, recipient, sender, psk: with_psk, enc, exports } in appendices {
        let suite = Suite { kem, ..Suite::default() };
        let key = |text| PrivateKey::from_octets(kem, &unhex(text)).expect("a private key");
        let sender = key(sender).public();
        let proof = Proof { key: Some(&sender), psk: with_psk.then_some(&psk) };
        for (label, expected) in CONTEXTS.into_iter().zip(exports) {
            let mut out = [0; 32];
            let export = Export { info, label };
            receive(suite, proof, &key(recipient), &unhex(enc), export, &mut out).expect("a context");
            assert_eq!(hex::encode(out), expected, "{kem}, psk {with_psk}, {label:?}");
        }
    }
}

/// RFC 9180 appendix A.1.3: the key pairs of its ikmS and ikmR.
#[test]
fn rfc_9180_derived_key_pairs() {
    for (ikm, public) in [
        (
            "94b020ce91d73fca4649006c7e7329a67b40c55e9e93cc907d282bbbff386f58",
            "8b0c70873dc5aecb7f9ee4e62406a397b350e57012be45cf53b7105ae731790b",
        ),
        (
            "f1d4a30a4cef8d6d4e3b016e6fd3799ea057db4f345472ed302a67ce1c20cdec",
            "1632d5c2f71c2b38d0a8fcc359355200caa8b1ffdf28618080466c909cb69b2e",
        ),
    ] {
        let seed = unhex(ikm).try_into().expect("32 octets");
        assert_eq!(hex::encode(PrivateKey::derive(Kem::X25519, &seed).public().octets()), public);
    }
}

//! Certificates and revocation lists that change while registrars and boxes run.

use crate::lab::{Lab, SimBox, up, wait_for};
use crate::strangers::block_on;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use registration::net;
use registration::tls::{AuthorityFiles, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The certificate that the west's registrar shows.
fn shown(lab: &Lab) -> Option<CertificateDer<'static>> {
    let tls = Tls::load(lab.settings(0, 1).tls).expect("certificates");
    let connection = block_on(async { net::connect(&tls, None, &lab.address(0)).await.map(|c| c.chain[0].clone()) });
    connection.ok()
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

fn linked(lab: &Lab) -> bool {
    (0..2).all(|side| lab.status(side)["peers"][0]["connected"] == true)
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

/// The error says `chmod 600`, and when that is done nothing more is needed.
#[test]
fn a_key_that_was_open_to_others_is_taken_after_chmod() {
    let (lab, _a, _b) = up();
    let [key, certificate_file] = ["west.key", "west.crt"].map(|name| lab.path(name));
    let before = certificate(&certificate_file);
    lab.ok(&["pki", "renew", "--dir", "pki-west", "west"]);
    let new = std::fs::read(&key).expect("a key");
    std::fs::remove_file(&key).expect("removed");
    std::fs::write(&key, new).expect("written");
    mode(&key, 0o644);
    wait_for("it is said", || lab.log(0).contains("chmod 600"));
    let renewed = certificate(&certificate_file);
    assert_ne!(renewed, before);
    mode(&key, 0o600);
    wait_for("the new one is shown", || shown(&lab).as_ref() == Some(&renewed));
}

/// A list that is damaged in any way is not taken: the one before stays in use, nobody is cut off, whoever was revoked stays
/// out, and the error names the list.
#[test]
fn a_revocation_list_that_is_not_the_authoritys_is_not_taken() {
    let (mut lab, a, b) = up();
    lab.node(0, 3);
    lab.ok(&["pki", "revoke", "--dir", "pki-west", "box-3"]);
    wait_for("it is read", || lab.log(0).contains("certificates read again"));
    let path = lab.path("pki-west/ca.crl");
    let good = std::fs::read(&path).expect("a list");
    let der = CertificateRevocationListDer::from_pem_slice(&good).expect("a list").to_vec();
    let changed = |at: usize, by: u8| {
        let mut der = der.clone();
        der[at] ^= by;
        format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", STANDARD.encode(der))
    };
    for (text, words) in [
        (changed(der.len() - 3, 1), "not signed by"),
        ("garbage\n".to_owned(), "no revocation list in it"),
        (changed(6, 0xFF), "not a revocation list that can be read"),
    ] {
        let before = lab.log(0).len();
        std::fs::write(&path, text).expect("written");
        let said = |log: &str| log[before..].lines().any(|l| l.contains("not taken") && l.contains(words));
        wait_for(&format!("it says '{words}'"), || said(&lab.log(0)));
        let log = lab.log(0);
        let line = log[before..].lines().find(|l| l.contains("not taken")).expect("a line");
        assert!(line.contains("pki-west/ca.crl"), "the list is named: {line}");
        assert!(linked(&lab) && a.registration.registered() && b.registration.registered(), "all goes on");
        assert!(shown(&lab).is_some(), "a box is taken as before");
        let revoked = SimBox::start(lab.settings(0, 3));
        wait_for("who was revoked stays out", || revoked.error().contains("evoked"));
    }
    std::fs::write(&path, good).expect("written");
    lab.rotate(0).expect("an answer");
    wait_for("all is as it was", || a.opens(&b) && b.opens(&a) && linked(&lab));
}

/// A revoked registrar is left by those that it does not leave.
#[test]
fn a_registrar_that_was_revoked_is_left_by_primary_and_boxes() {
    let mut lab = Lab::new();
    let (mut a, b) = (lab.node(0, 1), lab.node(1, 2));
    let crl = |side: &str| Some(lab.path(&format!("pki-{side}/ca.crl")));
    a.tls.own = AuthorityFiles { crl: crl("west"), ..a.tls.own };
    let (a, b) = {
        lab.start_both();
        (SimBox::start(a), SimBox::start(b))
    };
    wait_for("both boxes seal", || a.opens(&b) && b.opens(&a));
    let held = a.sealing();
    lab.ok(&["pki", "revoke", "--dir", "pki-east", "east"]);
    wait_for("the client primary leaves", || {
        lab.log(0).lines().any(|l| l.contains("no link to the other primary") && l.contains("no longer good"))
    });
    wait_for("and does not come back", || lab.log(0).contains("Revoked"));
    lab.ok(&["pki", "revoke", "--dir", "pki-west", "west"]);
    wait_for("the box leaves", || !a.registration.registered() && a.error().contains("evoked"));
    assert_eq!(a.sealing(), held, "with the keys that it has");
}

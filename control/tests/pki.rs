//! `pdmv2 pki`, as it is called.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

fn pdmv2(at: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pdmv2")).args(args).current_dir(at).output().expect("pdmv2");
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").mode() & 0o7777
}

#[test]
fn from_nothing_to_certificates_for_two_and_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    let ok = |args: &[&str]| {
        let (code, out, err) = pdmv2(at, args);
        assert_eq!(code, Some(0), "{args:?}: {err}");
        out
    };
    let fails = |args: &[&str]| {
        let (code, out, err) = pdmv2(at, args);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}");
        err
    };
    assert!(fails(&["pki", "issue", "--node", "box-a"]).contains("pdmv2 pki init"));
    assert!(ok(&["pki", "init"]).contains("ca.crt"));
    assert!(fails(&["pki", "init"]).contains("not empty"));
    let west = ["pki", "issue", "--registrar", "west", "--host", "localhost", "--host", "::1"];
    assert!(ok(&west).contains("west.static.pub"));
    ok(&["pki", "issue", "--node", "box-a", "--days", "2"]);
    for secret in ["west.key", "box-a.key", "west.static", "pki/ca.key", "pki/index.json"] {
        assert_eq!(mode(&at.join(secret)), 0o600, "{secret}");
    }
    assert_eq!(mode(&at.join("pki")), 0o700);
    let keys = negotiation::static_keys::read_public_keys(&at.join("west.static.pub")).expect("public keys");
    assert_eq!(keys.len(), 2);
    assert!(!at.join("box-a.static").exists(), "a box has no static keys");

    // What is there is never overwritten, and one name is one certificate.
    assert!(fails(&["pki", "issue", "--node", "box-a"]).contains("pdmv2 pki renew box-a"));
    assert!(fails(&["pki", "issue", "--node", "box-a", "--out", "/tmp"]).contains("has a certificate already"));
    assert!(fails(&["pki", "issue", "--node", "box b"]).contains("1 to 63 letters"));
    assert!(fails(&["pki", "issue", "--registrar", "east"]).contains("--host"));
    assert!(fails(&["pki", "issue", "--registrar", "east", "--host", "a b"]).contains("neither a host name"));
    assert!(fails(&["pki", "issue", "--node", "box-b", "--host", "::1"]).contains("for registrars"));

    let before = std::fs::read(at.join("box-a.crt")).expect("there");
    ok(&["pki", "renew", "box-a"]);
    assert_ne!(std::fs::read(at.join("box-a.crt")).expect("there"), before);
    assert_eq!(mode(&at.join("box-a.key")), 0o600);
    assert!(fails(&["pki", "renew", "box-c"]).contains("no certificate of 'box-c'"));

    // Both the renewed and the first.
    let list = std::fs::read(at.join("pki/ca.crl")).expect("there");
    assert!(ok(&["pki", "revoke", "box-a"]).contains("Revoked 2 certificate(s)"));
    assert_ne!(std::fs::read(at.join("pki/ca.crl")).expect("there"), list);
    assert!(fails(&["pki", "revoke", "box-a"]).contains("not revoked"));
    assert!(fails(&["pki", "renew", "box-a"]).contains("was revoked"));

    ok(&["pki", "secret", "--out", "psk"]);
    assert_eq!(mode(&at.join("psk")), 0o600);
    assert!(fails(&["pki", "secret", "--out", "psk"]).contains("already there"));
}

#[test]
fn a_damaged_authority_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    assert_eq!(pdmv2(at, &["pki", "init"]).0, Some(0));
    let says = |expected: &str| {
        let (code, _, err) = pdmv2(at, &["pki", "issue", "--node", "box-a"]);
        assert_eq!(code, Some(1));
        assert!(err.contains(expected), "{err}");
        assert!(!at.join("box-a.crt").exists());
    };
    std::fs::rename(at.join("pki/index.json"), at.join("index")).expect("moved");
    says("index.json");
    std::fs::write(at.join("pki/index.json"), "{").expect("written");
    says("damaged");
    std::fs::rename(at.join("index"), at.join("pki/index.json")).expect("moved");
    std::fs::set_permissions(at.join("pki/ca.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("chmod");
    says("chmod 600");
}

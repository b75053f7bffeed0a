use super::*;
use protocol::generation_keys::{ClientSecrets, GenerationKeys};
use protocol::suite::{Aead, Kdf, Kem, Scope};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

fn secret(octet: u8) -> Secret {
    Secret::from_octets(Suite::default(), &[octet; 32]).expect("Nh octets")
}

fn read(text: &[u8]) -> KeyLog {
    KeyLog::read(&mut &text[..]).expect("read")
}

#[test]
fn a_line_is_as_the_profile_has_it() {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&[0x20, 1, 0x0D, 0xB8, 0, 0x0A]);
    id[15] = 1;
    let name = Name { generation: 7, scope: ScopeId::Node(id) };
    let text = line(name, &secret(0x76));
    let digits = "76".repeat(32);
    assert_eq!(*text, format!("PDMV2 7 node 20010db8000a00000000000000000001 0020-0001-0001 {digits}\n"));
    let suite = Suite { kem: Kem::XWing, kdf: Kdf::Sha512, aead: Aead::ChaCha20Poly1305 };
    let long = Secret::from_octets(suite, &[9; 64]).expect("Nh octets");
    for (scope, secret) in [(name.scope, &secret(1)), (ScopeId::Shared, &secret(2)), (ScopeId::Client(id), &long)] {
        let name = Name { generation: u32::MAX, scope };
        let text = line(name, secret);
        assert!(text.len() < MAX_LINE / 2 && text.ends_with('\n'));
        let (read, again) = parse(text.trim_end()).expect("a line").expect("ours");
        assert_eq!((read, again.suite(), again.as_bytes()), (name, secret.suite(), secret.as_bytes()));
    }
}

#[test]
fn other_lines_are_stepped_over_and_broken_ones_counted() {
    let good = line(Name { generation: 1, scope: ScopeId::Shared }, &secret(1));
    let good = good.trim_end();
    let id = "0".repeat(32);
    let digits = "01".repeat(32);
    let bad = [
        "PDMV2".to_owned(),
        "PDMV2 1 shared".to_owned(),
        format!("{good} more"),
        good.replace("PDMV2 1", "PDMV2  1"),
        good.replace("PDMV2 1", "PDMV2 +1"),
        good.replace("PDMV2 1", "PDMV2 4294967296"),
        good.replace("shared -", &format!("shared {id}")),
        good.replace("shared", "node"),
        good.replace("shared", "box"),
        good.replace("0001-0001 ", "0001 "),
        good.replace("0020-", "20-"),
        good.replace("0020-0001", "0020-0009"),
        good.replace("0020-0001", "0020-0003"),
        format!("{good}0"),
        good.replace(&digits, &digits[2..]),
        good.replace(&digits, &"zz".repeat(32)),
        format!("PDMV2 1 shared - 0020-0001-0001 {}", "0".repeat(5000)),
    ];
    let others = ["", "# PDMV2 1 shared", "CLIENT_RANDOM 1 2", "PDMV2_2 5", "pdmv2 1", &"x".repeat(100_000)];
    let text =
        [&others.map(str::to_owned)[..], &bad, &[good.to_owned(), format!("{good}\r")]].concat().join("\n") + "\n";
    let log = read(text.as_bytes());
    assert_eq!((log.known.len(), log.known[0].names.len()), (1, 1), "equal lines are one observation");
    assert_eq!(log.bad_lines, bad.len() as u64);
    assert_eq!(log.first_bad.expect("a bad line").0, 7);
    for bad in &bad {
        let why = parse(bad).expect_err("refused");
        assert!(!why.contains("01010101"), "{why}");
    }
    // The end of a file that is still being written: nothing is wrong with half a line, and a whole one counts.
    for len in 0..good.len() {
        let log = read(&good.as_bytes()[..len]);
        assert_eq!((log.known.len(), log.bad_lines), (0, 0), "{len}");
    }
    assert_eq!(read(good.as_bytes()).known.len(), 1);
    assert_eq!(read(&[0xFF; 10_000]).known.len(), 0);
}

#[test]
fn one_secret_of_two_names_has_both() {
    let lines = [1, 2, 1].map(|generation| line(Name { generation, scope: ScopeId::Shared }, &secret(5)).to_string());
    let log = read(lines.concat().as_bytes());
    let generations: Vec<_> = log.known[0].names.iter().map(|n| n.generation).collect();
    assert_eq!((log.known.len(), generations), (1, vec![1, 2]));
}

#[test]
fn what_is_written_is_read_each_secret_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys.log");
    let mut log = Writer::open(&path).expect("made");
    assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
    let clients = ClientSecrets::new(Suite::default(), [([3; 16], secret(3)), ([4; 16], secret(4))]);
    let clients = GenerationKeys::Clients { secrets: Arc::new(clients), sealer_is_client: true };
    for _ in 0..3 {
        log.take(1, Scope::Node, [1; 16], &GenerationKeys::Ready(secret(1))).expect("taken");
        log.take(2, Scope::Shared, [1; 16], &GenerationKeys::Ready(secret(2))).expect("taken");
        log.take(3, Scope::Client, [1; 16], &clients).expect("taken");
        log.flush().expect("written");
    }
    drop(log);
    let read = KeyLog::load(&path).expect("read");
    let names: Vec<_> = read.known.iter().map(|k| k.names[0].scope).collect();
    assert_eq!(names.len(), 4);
    assert_eq!(names[..2], [ScopeId::Node([1; 16]), ScopeId::Shared]);
    assert!(names.contains(&ScopeId::Client([3; 16])) && names.contains(&ScopeId::Client([4; 16])));
    let before = std::fs::read(&path).expect("read");
    // Another process goes on behind it.
    let mut log = Writer::open(&path).expect("appended to");
    log.take(9, Scope::Shared, [1; 16], &GenerationKeys::Ready(secret(9))).expect("taken");
    log.flush().expect("written");
    assert!(std::fs::read(&path).expect("read").starts_with(&before));
    assert_eq!(KeyLog::load(&path).expect("read").known.len(), 5);
}

#[test]
fn files_that_others_may_use_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys.log");
    drop(Writer::open(&path).expect("made"));
    let empty = KeyLog::load(&path).expect_err("nothing in it").to_string();
    assert!(empty.contains("no secret in it") && empty.contains("[keys] log"), "{empty}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("chmod");
    for error in [Writer::open(&path).err(), KeyLog::load(&path).err()] {
        let error = error.expect("refused").to_string();
        assert!(error.contains("0640") && error.contains("chmod 600"), "{error}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    assert!(Writer::open(&link).is_err(), "through a link");
    assert!(Writer::open(&dir.path().join("none/keys.log")).is_err());
    assert!(Writer::open(dir.path()).is_err() && KeyLog::load(dir.path()).is_err(), "a directory");
}

#[test]
fn a_thousand_secrets_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys.log");
    let mut log = Writer::open(&path).expect("made");
    for generation in 0..1000u32 {
        let mut octets = [1; 32];
        octets[..4].copy_from_slice(&generation.to_be_bytes());
        let secret = Secret::from_octets(Suite::default(), &octets).expect("Nh octets");
        log.take(generation, Scope::Node, [1; 16], &GenerationKeys::Ready(secret)).expect("taken");
    }
    log.flush().expect("written");
    let read = KeyLog::load(&path).expect("read");
    assert_eq!((read.known.len(), read.bad_lines), (1000, 0));
    assert!(!format!("{log:?}").contains("01010101"));
}

/// A full disk: what was not written is taken again, and half a line spoils none behind it.
#[test]
fn a_disk_that_is_full_for_a_while() {
    let mut log = Writer::open(Path::new("/dev/full")).err();
    assert!(matches!(log.take(), Some(KeyLogError::File(..))), "no regular file");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys.log");
    let mut log = Writer::open(&path).expect("made");
    log.file_for_tests(std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there"));
    let keys = GenerationKeys::Ready(secret(1));
    log.take(1, Scope::Node, [1; 16], &keys).expect("taken");
    assert!(log.flush().is_err());
    std::fs::write(&path, "PDMV2 1 no").expect("half a line");
    log.file_for_tests(std::fs::OpenOptions::new().append(true).open(&path).expect("there"));
    log.take(1, Scope::Node, [1; 16], &keys).expect("taken again");
    log.flush().expect("written");
    let read = KeyLog::load(&path).expect("read");
    assert_eq!((read.known.len(), read.bad_lines), (1, 1));
}

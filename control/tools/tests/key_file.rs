//! Key files and keygen.

use clap::Parser;
use common::key_file::{KeyFile, Scope, Side};
use protocol::five_tuple::FiveTuple;
use protocol::generation_keys::GenerationKeys;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tools::keygen::{self, KeygenArgs};

const SECRET: &str = "02a2020202020202020202020202020202020202020202020202020202020202";

fn text() -> String {
    format!(
        r#"version = 1
kem = "x25519"
kdf = "hkdf-sha256"
aead = "aes-128-gcm"
scope = "node"
salt = "0101010101010101010101010101010101010101010101010101010101010101"
secret = "{SECRET}"
[[node]]
name = "box-a"
id = "2001:db8::a"
side = "client"
prefixes = ["2001:db8:a::/48", "2001:db8::1"]
[[node]]
name = "box-b"
id = "000102030405060708090a0b0c0d0e0f"
side = "server"
prefixes = ["2001:db8:b::/48"]
"#
    )
}

fn errors(text: &str) -> Vec<String> {
    let errors = KeyFile::parse(text, "k").expect_err("must be refused").to_string();
    errors.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn read_and_written_again() {
    let keys = KeyFile::parse(&text(), "k").expect("accepted");
    assert_eq!((keys.scope, keys.nodes.len()), (Scope::Node, 2));
    let a = keys.node("box-a").expect("there");
    assert_eq!((a.id[15], a.side, a.prefixes.len()), (0x0A, Side::Client, 2));
    assert_eq!(keys.node("box-b").expect("there").id, core::array::from_fn(|i| i as u8));
    assert_eq!(keys.peers(a).map(|n| n.name.as_str()).collect::<Vec<_>>(), ["box-b"]);
    let again = KeyFile::parse(&keys.to_toml(), "again").expect("accepted");
    assert_eq!((again.nodes, again.suite, again.scope), (keys.nodes.clone(), keys.suite, keys.scope));
    let printed = format!("{keys:?}");
    assert!(printed.contains("redacted") && !printed.contains("162") && !printed.contains(SECRET), "{printed}");
}

#[test]
fn fingerprint_follows_the_secret_and_nothing_beside() {
    let print = |text: &str| KeyFile::parse(text, "k").expect("accepted").fingerprint();
    let first = print(&text());
    assert_eq!(first, print(&text().replace("box-a", "renamed").replace("db8:b::", "db8:c::")));
    for (from, to) in [(SECRET, &SECRET.replace("a2", "a3") as &str), ("0101", "0202"), ("aes-128", "aes-256")] {
        assert_ne!(first, print(&text().replacen(from, to, 1)), "{from}");
    }
}

#[test]
fn scopes_give_the_keys_they_promise() {
    let flow = FiveTuple { src: [1; 16], dst: [2; 16], sport: 1, dport: 2, protocol: 6 };
    let key = |scope: &str, node: &str, g: u32, flow: &FiveTuple| {
        let keys = KeyFile::parse(&text().replace("\"node\"", &format!("\"{scope}\"")), "k").expect("accepted");
        let generation = keys.generation_keys(keys.node(node).expect("there"), g).expect("keys");
        let per_client = matches!(generation, GenerationKeys::PerClient { .. });
        assert_eq!(per_client, scope == "client");
        generation.session(flow, 0).expect("a key").key
    };
    assert_ne!(key("node", "box-a", 1, &flow), key("node", "box-b", 1, &flow));
    assert_eq!(key("shared", "box-a", 1, &flow), key("shared", "box-b", 1, &flow));
    assert_ne!(key("shared", "box-a", 1, &flow), key("shared", "box-a", 2, &flow));
    assert_ne!(key("shared", "box-a", 1, &flow), key("node", "box-a", 1, &flow));
    assert_ne!(key("client", "box-a", 1, &flow), key("client", "box-b", 1, &flow), "other ends are the client");
}

#[test]
fn errors_have_places_and_never_the_secret() {
    let cases: &[(&str, &str, &str)] = &[
        ("version = 1", "version = 2", "k:1:11: 'version' cannot be 2"),
        ("version = 1\n", "", "k:1:1: 'version' is missing"),
        ("x25519", "x25518", "k:2:7: 'x25518' is not a value of 'kem'; did you mean 'x25519'?"),
        ("hkdf-sha256", "hkdf-sha512", "k:7:10: 'secret' has 32 octets, but needs 64"),
        ("\"node\"", "\"nodes\"", "k:5:9: 'nodes' is not a value of 'scope'; did you mean 'node'?"),
        ("0101", "01", "k:6:8: 'salt' has 31 octets, but needs 32"),
        (SECRET, "02a2zz", "k:7:10: 'secret' is not a string of hex digits"),
        (&format!("\"{SECRET}\""), &format!("[\"{SECRET}\"]"), "k:7:10: 'secret' has a value of type array"),
        (&format!("\"{SECRET}\""), SECRET, "k:7:"),
        (&format!("\"{SECRET}\""), &format!("\"{SECRET}"), "k:7:"),
        ("secret =", "Secret =", "k:1:1: 'secret' is missing"),
        ("2001:db8::a\"", "2001:db8\"", "k:10:6: '2001:db8' is not a node id"),
        ("box-b", "box-a", "k:13:1: two nodes are named 'box-a'"),
        ("box-b", "box b", "k:14:8: the name 'box b' has a ' '"),
        ("000102030405060708090a0b0c0d0e0f", "2001:db8::a", "k:13:1: nodes 'box-a' and 'box-b' have one id"),
        ("server", "client", "k:1:1: no node is on side 'server'"),
        ("\"2001:db8:b::/48\"", "", "k:17:12: 'node.prefixes' is an empty list"),
        ("2001:db8:b::/48", "2001:db8:b::/4", "k:17:13: '2001:db8:b::/4' has bits set"),
        ("side = \"server\"", "side = \"server\"\nmode = 1", "k:17:1: unknown key 'node.mode'"),
    ];
    for (from, to, expected) in cases {
        let found = errors(&text().replacen(from, to, 1));
        assert!(found.iter().any(|e| e.starts_with(expected)), "{to}\n{found:#?}");
        assert!(!found.iter().any(|e| e.contains("02a2")), "the secret shows: {found:#?}");
    }
}

#[test]
fn shared_scopes_want_one_node_a_side_and_disjoint_prefixes() {
    let third = "[[node]]\nname = \"box-c\"\nid = \"::c\"\nside = \"server\"\nprefixes = [\"2001:db8:b::/48\"]\n";
    assert!(KeyFile::parse(&(text() + third), "k").is_ok(), "ECMP");
    for scope in ["client", "shared"] {
        let of_scope = |text: &str| text.replace("\"node\"", &format!("\"{scope}\""));
        assert!(KeyFile::parse(&of_scope(&text()), "k").is_ok());
        let found = errors(&of_scope(&(text() + third)));
        assert!(found.len() == 1 && found[0].contains("2 nodes on side 'server'"), "{found:?}");
        let found = errors(&of_scope(&text()).replace("2001:db8:b::/48", "2001:db8::/32"));
        assert!(found.iter().all(|e| e.starts_with("k:13:1: ") && e.contains("overlaps")), "{found:?}");
    }
}

#[test]
fn only_a_private_regular_file_of_bounded_size_is_read() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("k.keys");
    let refused = |path: &Path, what: &str| {
        let errors = KeyFile::load(path).expect_err("refused").to_string();
        assert!(errors.contains(what), "{what}: {errors}");
    };
    refused(&path, "pdmv2 keygen");
    std::fs::write(&path, text()).expect("written");
    for mode in [0o644, 0o660, 0o604, 0o610, 0o601, 0o666] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
        refused(&path, &format!("mode {mode:04o}: others than its owner may use it; chmod 600 "));
    }
    for mode in [0o600, 0o400] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
        KeyFile::load(&path).expect("accepted");
    }
    refused(dir.path(), "not a regular file");
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).expect("fifo");
    refused(&fifo, "not a regular file");
    let large = dir.path().join("large");
    std::fs::write(&large, vec![b'#'; (1 << 20) + 1]).expect("written");
    std::fs::set_permissions(&large, std::fs::Permissions::from_mode(0o600)).expect("mode");
    refused(&large, "at most 1048576 octets");
}

#[derive(Parser)]
struct Keygen {
    #[command(flatten)]
    args: KeygenArgs,
}

fn keygen(out: &Path, more: &[&str]) -> Result<(String, KeyFile), String> {
    let out_text = out.to_str().expect("text");
    let args = ["keygen", "--out", out_text].into_iter().chain(more.iter().copied());
    let parsed = Keygen::try_parse_from(args).map_err(|e| e.to_string())?;
    let mut said = Vec::new();
    keygen::run(&parsed.args, &mut said).map_err(|e| format!("{e:#}"))?;
    Ok((String::from_utf8(said).expect("text"), KeyFile::load(out).map_err(|e| e.to_string())?))
}

const A: &str = "--node=name=box-a,side=client,prefix=2001:db8:a::/48,prefix=2001:db8::1";
const B: &str = "--node=name=box-b,side=server,prefix=2001:db8:b::/48,id=2001:db8::b";

#[test]
fn keygen_writes_a_private_file_once() {
    let dir = tempfile::tempdir().expect("directory");
    let path: PathBuf = dir.path().join("new.keys");
    let (said, keys) = keygen(&path, &[A, B, "--kdf", "hkdf-sha512", "--aead", "chacha20poly1305"]).expect("made");
    assert!(said.contains("box-a (side client") && said.contains("--check"), "{said}");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o600);
    assert_eq!(keys.node("box-a").expect("there").prefixes.len(), 2);
    assert_ne!(keys.node("box-a").expect("there").id, [0; 16]);
    let before = std::fs::read(&path).expect("readable");
    let error = keygen(&path, &[A, B]).map(|(said, _)| said).expect_err("refused");
    assert!(error.contains("already there"), "{error}");
    assert_eq!(std::fs::read(&path).expect("readable"), before);
    let (_, other) = keygen(&dir.path().join("other.keys"), &[A, B, "--scope=shared"]).expect("made");
    assert_ne!(other.fingerprint(), keys.fingerprint());
    assert_eq!(other.scope, Scope::Shared);
}

#[test]
fn keygen_refuses_what_a_box_would() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("new.keys");
    let cases: &[(&[&str], &str)] = &[
        (&[], "--node"),
        (&[A], "no node is on side 'server'"),
        (&[A, A], "two nodes are named"),
        (&[A, B, "--kem=rsa"], "use x25519, p-256 or x-wing"),
        (&[A, B, "--node=name=c,side=server,prefix=::/0", "--scope=client"], "scope 'client' with 2 nodes"),
        (&[A, "--node=name=b,side=server"], "prefix=… is missing"),
        (&[A, "--node=name=b,side=west,prefix=::/0"], "'west' is not a side"),
        (&[A, "--node=name=b,side=server,prefix=10.0.0.0/8"], "not an IPv6 address"),
        (&[A, "--node=name=b,name=c,side=server,prefix=::/0"], "'name' twice"),
        (&[A, "--node=name=b c,side=server,prefix=::/0"], "has a ' '"),
        (&[A, "--node=name=b,side=server,id=7,prefix=::/0"], "'7' is no id"),
        (&[A, "--node=b"], "'b' is not key=value"),
    ];
    for (args, expected) in cases {
        let error = keygen(&path, args).map(|(said, _)| said).expect_err("refused");
        assert!(error.contains(expected), "{args:?}: {error}");
        assert!(!path.exists());
    }
}

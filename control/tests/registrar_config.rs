//! The registrar's configuration: what is accepted, and that every error is found, placed and remedied.

use common::config::Checks;
use negotiation::Prefer;
use protocol::suite::{Kem, Scope, Suite};
use registrar::config::RegistrarConfig;
use registrar::engine::Role;
use std::path::{Path, PathBuf};
use std::time::Duration;

const REGISTRAR: &str = r#"[registrar]
name = "west"
listen = "[::1]:7447"
state = "west.state"
state_key = "west.state.key"
static_key = "west.static"
admin = "/run/west.socket"
[tls]
ca = "ca.crt"
certificate = "west.crt"
key = "west.key"
"#;
const PEER: &str = r#"[[peer]]
name = "east"
role = "client"
address = "localhost:7448"
static_keys = "east.static.pub"
prefixes = ["2001:db8:b::/48"]
"#;
const NODE: &str = r#"[[node]]
name = "box-a"
id = "2001:db8:a::1"
prefixes = ["2001:db8:a::/48"]
"#;

fn parse(text: &str) -> Result<RegistrarConfig, String> {
    RegistrarConfig::parse(text, Path::new("etc/west.toml"), Checks::TextOnly).map_err(|e| e.to_string())
}

fn errors(text: &str) -> String {
    parse(text).expect_err("must be refused")
}

/// The errors of a text that is accepted but for this change.
fn errors_of_changed(whole: &str, from: &str, to: &str) -> String {
    assert!(whole.contains(from), "{from}");
    errors(&whole.replacen(from, to, 1))
}

#[test]
fn the_least_and_its_defaults() {
    let config = parse(&format!("{REGISTRAR}{PEER}{NODE}")).expect("accepted");
    assert_eq!((config.name.as_str(), config.listen.to_string().as_str()), ("west", "[::1]:7447"));
    assert_eq!(config.state, Some(PathBuf::from("etc/west.state")));
    assert_eq!(config.admin, PathBuf::from("/run/west.socket"));
    let [peer] = config.peers.as_slice() else { unreachable!("one peer") };
    assert_eq!((peer.role, peer.scope, peer.prefer), (Role::Client, Scope::Node, Prefer::Server));
    assert_eq!(peer.addresses, [("localhost".into(), 7448)]);
    assert_eq!(peer.suites, [Suite::default()]);
    assert_eq!((config.nodes[0].peer.as_str(), config.nodes[0].id[15]), ("east", 1));
    assert_eq!(config.tls.peers, [("east".to_owned(), config.tls.own.clone())]);
    assert_eq!(config.generations.coalesce, Duration::from_millis(500));
}

#[test]
fn everything_set() {
    let peer = r#"[[peer]]
name = "east"
role = "server"
static_keys = "east.static.pub"
ca = "east-ca.crt"
crl = "east.crl"
psk_id = "lab"
psk = "lab.psk"
prefixes = ["2001:db8:b::/48"]
scope = "shared"
prefer = "client"
suites = ["x-wing, hkdf-sha512, chacha20poly1305", "p-256,hkdf-sha384,aes-256-gcm"]
[generations]
max_age = "1h"
lifetime = "3h"
grace = "10s"
ack_timeout = "1s"
coalesce = "10ms"
[telemetry]
listen = "127.0.0.1:9470"
"#;
    let config = parse(&format!("{REGISTRAR}{peer}{NODE}")).expect("accepted");
    let peer = &config.peers[0];
    assert_eq!((peer.role, peer.scope, peer.prefer), (Role::Server, Scope::Shared, Prefer::Client));
    assert_eq!(peer.psk, Some(("lab".into(), PathBuf::from("etc/lab.psk"))));
    assert_eq!((peer.suites[0].kem, peer.suites[1].kem), (Kem::XWing, Kem::P256));
    assert_eq!(config.tls.peers[0].1.ca, PathBuf::from("etc/east-ca.crt"));
    assert_eq!(config.generations.lifetime, Duration::from_secs(3 * 3600));
}

#[test]
fn the_examples_are_accepted() {
    for name in ["registrar-west.toml", "registrar-east.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(name);
        let text = std::fs::read_to_string(&path).expect("there");
        let config = RegistrarConfig::parse(&text, &path, Checks::TextOnly);
        assert!(config.as_ref().is_ok_and(|c| c.warnings.is_empty()), "{config:?}");
    }
}

#[test]
fn every_error_has_its_place_and_remedy() {
    let whole = format!("{REGISTRAR}{PEER}{NODE}");
    let changed = |from, to| errors_of_changed(&whole, from, to);
    let cases = [
        (
            changed("listen = \"[::1]:7447\"", "listen = \"here\""),
            "west.toml:3:10: 'here' is not an address to listen on",
        ),
        (changed("listen", "lissten"), "unknown key 'registrar.lissten'; did you mean 'listen'?"),
        (changed("name = \"west\"", "name = \"w t\""), "use 1 to 63 letters"),
        (changed("name = \"east\"", "name = \"west\""), "peer 'west' is this registrar"),
        (changed("role = \"client\"", "role = \"server\""), "role server only listens; delete it"),
        (changed("address = \"localhost:7448\"\n", ""), "a peer without address; add address"),
        (changed("localhost:7448", "localhost"), "is not a host and a port; write it like"),
        (changed("localhost:7448", "2001:db8::1:7448"), "is not a host and a port"),
        (changed("[[node]]", "suites = [\"x25519, sha1, aes-128-gcm\"]\n[[node]]"), "is not a suite; write it like"),
        (
            changed("[[node]]", "suites = [\"x-wing, hkdf-sha256, aes-128-gcm\"]\n[[node]]"),
            "needs psk and psk_id: x-wing has no Auth mode",
        ),
        (changed("[[node]]", "psk_id = \"a\"\n[[node]]"), "psk_id without psk; add psk"),
        (changed("[[node]]", "psk = \"a\"\n[[node]]"), "psk without psk_id"),
        (changed("[[node]]", "crl = \"a\"\n[[node]]"), "crl without ca"),
        (changed("[[node]]", "prefer = \"client\"\n[[node]]"), "'prefer' is the server primary's"),
        (
            changed("[[node]]", "scope = \"client\"\n[[node]]"),
            "'box-a' has no clients, but scope 'client' seals for named",
        ),
        (
            errors(&format!("{whole}clients = [\"2001:db8:a::10\"]")),
            "which scope 'client' and role 'client' have alone",
        ),
        (changed("2001:db8:a::1\"", "a\""), "'a' is not a node id"),
        (changed("[[node]]", "[[node]]\npeer = \"eats\""), "'eats' is not a peer; did you mean 'east'?"),
        (changed("ca = \"ca.crt\"\n", ""), "'tls.ca' is missing; add ca"),
        (errors(PEER), "'registrar' is missing"),
        (errors(REGISTRAR), "'peer' is missing; add [[peer]]"),
        (errors(&format!("{whole}[generations]\nmax_age = \"8d\"")), "boxes would stop sealing between"),
        (errors(&format!("{whole}{NODE}")), "two nodes are named 'box-a'; rename one"),
        (errors(&format!("{whole}{}", NODE.replace("box-a", "box-c"))), "node 'box-c' has another's id"),
        (errors(&format!("{whole}{PEER}")), "two peers are named 'east'"),
        (errors(&format!("{whole}{}", PEER.replace("east", "north"))), "a node without peer, and there are several"),
        (
            errors(&format!(
                "{REGISTRAR}{PEER}scope = \"shared\"\n{NODE}{}",
                NODE.replace("-a\"", "-c\"").replace("::1\"", "::2\"")
            )),
            "they could meet in a nonce; use scope = \"node\"",
        ),
        (
            errors(&format!("{REGISTRAR}{PEER}scope = \"shared\"\n{}", NODE.replace("a::/48", ":/32"))),
            "overlaps the prefixes of 'east'",
        ),
    ];
    for (errors, expected) in cases {
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
}

const ETCD: &str = r#"[etcd]
endpoints = ["https://etcd-1.example.net:2379", "https://[::1]:2379"]
member = "west-1"
address = "west-1.example.net:7447"
ca = "etcd-ca.crt"
"#;

#[test]
fn etcd_in_place_of_a_file() {
    let registrar = REGISTRAR.replace("state = \"west.state\"\n", "");
    let whole = format!("{registrar}{PEER}{NODE}{ETCD}");
    let config = parse(&whole).expect("accepted");
    let etcd = config.etcd.expect("etcd");
    assert_eq!((config.state, etcd.prefix.as_str(), etcd.member.as_str()), (None, "/pdmv2/west/", "west-1"));
    assert_eq!((etcd.ttl, etcd.endpoints.len()), (Duration::from_secs(3), 2));
    assert_eq!(etcd.ca, Some(PathBuf::from("etc/etcd-ca.crt")));
    let changed = |from, to| errors_of_changed(&whole, from, to);
    let cases = [
        (errors(&format!("{REGISTRAR}{PEER}{NODE}{ETCD}")), "both 'registrar.state' and [etcd]; delete one of them"),
        (errors(&format!("{registrar}{PEER}{NODE}")), "'registrar.state' is missing; add state"),
        (changed("https://[::1]:2379", "[::1]:2379"), "'[::1]:2379' is not an endpoint of etcd; write it like"),
        (changed("https://[::1]:2379", "http://[::1]:2379"), "[etcd] ca and https:// belong together"),
        (changed("ca = \"etcd-ca.crt\"\n", ""), "[etcd] ca and https:// belong together"),
        (changed("member = \"west-1\"\n", ""), "add member"),
        (changed("member = \"west-1\"", "member = \"w 1\""), "use 1 to 63 letters"),
        (changed("address = \"west-1.example.net:7447\"", "address = \"west-1\""), "is not a host and a port"),
        (changed("member", "ttl = \"2500ms\"\nmember"), "'etcd.ttl' is not of whole seconds"),
        (changed("member", "certificate = \"a\"\nmember"), "[etcd] certificate and key belong together"),
        (changed("member", "user = \"a\"\nmember"), "[etcd] user and password belong together"),
        (changed("member", "membre = \"a\"\nmember"), "unknown key 'etcd.membre'; did you mean 'member'?"),
    ];
    for (errors, expected) in cases {
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
}

#[test]
fn scope_client() {
    let of =
        |clients: &str, more: &str| format!("{REGISTRAR}{PEER}scope = \"client\"\n{NODE}clients = [{clients}]\n{more}");
    let second = NODE.replace("-a\"", "-c\"").replace("::1\"", "::2\"");
    let good = of("\"2001:db8:a::10\", \"2001:db8:a::11\"", &second.replace("a::/48", "c::/48"));
    let good = format!("{good}clients = [\"2001:db8:c::10\"]\n");
    let config = parse(&good).expect("accepted");
    assert_eq!((config.nodes[0].clients.len(), config.nodes[1].clients[0][15]), (2, 0x10));
    let cases = [
        (of("\"2001:db8:b::10\"", ""), "client 2001:db8:b::10 is not within the prefixes of 'box-a'; grant its prefix"),
        (of("\"2001:db8:a::10\", \"2001:db8:a:0::10\"", ""), "client 2001:db8:a::10 of 'box-a' stands there twice"),
        (of("\"2001:db8:a::/64\"", ""), "'2001:db8:a::/64' is not an IPv6 address; write each client like"),
        (good.replace("c::/48", "a:7::/64"), "2001:db8:a:7::/64 of 'box-c' overlaps 2001:db8:a::/48 of another node"),
        (good.replace("b::/48", "c:3::/64"), "scope 'client', but 2001:db8:c::/48 overlaps the prefixes of 'east'"),
        (
            good.replace("role = \"client\"\naddress = \"localhost:7448\"", "role = \"server\""),
            "node 'box-a' has clients, which scope 'client' and role 'client' have alone; delete them",
        ),
    ];
    for (text, expected) in cases {
        let errors = errors(&text);
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
    let many: Vec<_> = (0..4097).map(|i| format!("\"2001:db8:a::{i:x}\"")).collect();
    assert!(errors(&of(&many.join(","), "")).contains("4097 clients towards 'east', of which there may be 4096"));
}

#[test]
fn what_is_not_on_this_machine_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("west.toml");
    std::fs::write(&path, format!("{REGISTRAR}{PEER}{NODE}")).expect("written");
    let errors = RegistrarConfig::load(&path).expect_err("no files").to_string();
    for file in ["west.state.key", "west.static", "east.static.pub", "west.crt"] {
        assert!(errors.contains(file), "{file}\n{errors}");
    }
    assert_eq!(RegistrarConfig::admin_of(&path).expect("there"), PathBuf::from("/run/west.socket"));
}

#[test]
fn a_file_that_is_wrong_has_the_place_of_the_key_that_names_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let pdmv2 = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pdmv2"));
        let output = command.args(args).current_dir(dir.path()).output().expect("pdmv2");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    pdmv2(&["pki", "init"]);
    pdmv2(&["pki", "issue", "--registrar", "west", "--host", "::1"]);
    pdmv2(&["pki", "secret", "--out", "west.state.key"]);
    pdmv2(&["pki", "secret", "--out", "lab.psk"]);
    for (from, to) in [
        ("pki/ca.crt", "ca.crt"),
        ("pki/ca.crl", "ca.crl"),
        ("pki/ca.crt", "east-ca.crt"),
        ("west.static.pub", "east.static.pub"),
    ] {
        std::fs::copy(at(from), at(to)).expect("copied");
    }
    let psk = "psk_id = \"lab\"\npsk = \"lab.psk\"\nca = \"east-ca.crt\"\n";
    let text = format!("{REGISTRAR}crl = \"ca.crl\"\n{PEER}{psk}{NODE}");
    let config = at("west.toml");
    let errors = || match RegistrarConfig::parse(&text, &config, Checks::Everything) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0,
    };
    assert_eq!(errors(), [], "all are there");
    for file in [
        "west.state.key",
        "west.static",
        "east.static.pub",
        "lab.psk",
        "ca.crt",
        "ca.crl",
        "west.crt",
        "west.key",
        "east-ca.crt",
    ] {
        std::fs::rename(at(file), at("away")).expect("renamed");
        let wrong = errors();
        let named = format!("\"{file}\"");
        let (line, column) = text
            .lines()
            .zip(1..)
            .find_map(|(line, number)| line.find(&named).map(|at| (number, at + 1)))
            .expect("a line");
        let places: Vec<_> = wrong.iter().map(|e| (e.line, e.column)).collect();
        assert_eq!(places, [(line, column)], "{file}: {wrong:#?}");
        assert!(wrong[0].message.contains(&at(file).display().to_string()), "{}", wrong[0]);
        std::fs::rename(at("away"), at(file)).expect("renamed");
    }
}

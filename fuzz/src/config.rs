//! Configuration and key file: any text is accepted or refused with a message.
//!
//! Input: which (1), text.

use crate::mark;
use control::config::{Checks, Config};
use control::key_file::KeyFile;
use std::path::Path;

/// Pieces that mean something in such files.
pub const WORDS: &[&str] = &[
    "[",
    "]",
    "[[policy]]",
    "[[node]]",
    "[ports.inside]",
    "[keys]",
    "[workers]",
    "[eal]",
    "\n",
    " = ",
    "\"",
    "''",
    "'''",
    "true",
    "-1",
    "0",
    "99999999999999999999",
    "1e9",
    "nan",
    "::/0",
    "2001:db8::/129",
    "fe80::1%eth0",
    "1970-01-01",
    "prefixes",
    "ports",
    "protocol",
    "mode",
    "\"encrypted\"",
    "\"7d\"",
    "\"18446744073709551615s\"",
    "id",
    "side",
    "scope",
    "\u{0}",
    "\u{FEFF}",
    "\\u0000",
    "é",
    ".",
    "{",
    "}",
    ",",
    "#",
    "net_tap0,iface=",
    "0000:3b:00.0",
];

/// See [`crate::Target::run`].
pub fn run(data: &[u8]) -> u64 {
    let [which, text @ ..] = data else { return 0 };
    let text = String::from_utf8_lossy(text);
    let errors = if which % 2 == 0 {
        match Config::parse(&text, Path::new("box.toml"), Checks::TextOnly) {
            Ok(config) => return mark(&format!("{} policies", config.policies.len())),
            Err(errors) => errors,
        }
    } else {
        match KeyFile::parse(&text, "keys") {
            Ok(keys) => {
                let again = KeyFile::parse(&keys.to_toml(), "again").expect("what is written can be read");
                assert_eq!((&again.nodes, again.suite, again.scope), (&keys.nodes, keys.suite, keys.scope));
                assert_eq!(again.fingerprint(), keys.fingerprint());
                return mark(&format!("{} nodes", keys.nodes.len()));
            }
            Err(errors) => errors,
        }
    };
    let errors = errors.to_string();
    assert!(!errors.is_empty(), "refused without a word");
    // The kinds of errors, without what differs from text to text.
    let kinds: String = errors.chars().filter(|c| c.is_ascii_lowercase() || *c == '\n').take(400).collect();
    mark(&kinds) % 4096
}

/// See [`crate::Target::seeds`].
pub fn seeds() -> Vec<Vec<u8>> {
    let keys = r#"version = 1
kem = "x25519"
kdf = "hkdf-sha256"
aead = "aes-128-gcm"
scope = "node"
salt = "0101010101010101010101010101010101010101010101010101010101010101"
secret = "0202020202020202020202020202020202020202020202020202020202020202"
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
"#;
    let files = [
        (0, include_str!("../../configs/box-a.toml")),
        (0, include_str!("../../configs/box-b.toml")),
        (0, include_str!("../../configs/ci-tap.toml")),
        (1, keys),
    ];
    files.iter().map(|(which, text)| [&[*which], text.as_bytes()].concat()).collect()
}

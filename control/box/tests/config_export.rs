//! `[export]`: what is refused, and what is said then.

use common::config::Checks;
use middlebox::config::Config;
use middlebox::export::Target;
use std::path::Path;

const SMALL: &str =
    "[node]\nname = \"a\"\n[ports.inside]\ndevice = \"net_null0\"\n[ports.outside]\ndevice = \"net_null1\"\n";

fn parse(lines: &str) -> Result<Config, String> {
    let text = format!("{SMALL}[export]\n{lines}\n");
    Config::parse(&text, Path::new("etc/box.toml"), Checks::TextOnly).map_err(|errors| errors.to_string())
}

#[test]
fn places_that_are_accepted() {
    let target = |text: &str| parse(&format!("ipfix = \"{text}\"")).map(|config| config.export.ipfix);
    let address = |text: &str| text.parse().expect("address");
    assert_eq!(target("udp://[::1]:4739"), Ok(Some(Target::Udp(address("[::1]:4739")))));
    assert_eq!(target("tcp://192.0.2.1:1"), Ok(Some(Target::Tcp(address("192.0.2.1:1")))));
    assert_eq!(target("file:flows"), Ok(Some(Target::File("etc/flows".into()))));
    assert_eq!(target("file:/flows"), Ok(Some(Target::File("/flows".into()))));
    let json = parse("json = \"unix:socket\"").map(|config| config.export.json);
    assert_eq!(json, Ok(Some(Target::Unix("etc/socket".into()))));
}

#[test]
fn errors_have_place_and_remedy() {
    let place = "is not a place for 'export.";
    let ipfix = "write it like \"udp://";
    let json = "write it like \"file:/var/log";
    for (lines, at, message, remedy) in [
        ("ipfix = \"udp://collector:4739\"", "8:9", place, ipfix),
        ("ipfix = \"udp://[::1]\"", "8:9", place, ipfix),
        ("ipfix = \"udp:[::1]:4739\"", "8:9", place, ipfix),
        ("ipfix = \"udp://[::1]:0\"", "8:9", place, ipfix),
        ("ipfix = \"sctp://[::1]:4739\"", "8:9", place, ipfix),
        ("ipfix = \"file:\"", "8:9", place, ipfix),
        ("ipfix = \"file:///flows\"", "8:9", place, ipfix),
        ("ipfix = \"unix:flows\"", "8:9", place, ipfix),
        ("ipfix = \"\"", "8:9", place, ipfix),
        ("json = \"udp://[::1]:4739\"", "8:8", place, json),
        ("json = \"flows\"", "8:8", place, json),
        ("json = \"file:x\"\nenterprise = 0", "9:14", "'export.enterprise' cannot be 0", "choose from 1 to"),
        ("json = \"file:x\"\nenterprise = 29305", "9:14", "the reverse direction", "IANA"),
        ("json = \"file:x\"\nactive = \"10ms\"", "9:10", "'export.active' cannot be", "choose from \"1s\" to \"1h\""),
        ("json = \"file:x\"\nfile_mebibytes = 0", "9:18", "'export.file_mebibytes' cannot be 0", "choose from 1"),
        ("json = \"file:x\"\nipfix = \"file:x\"", "7:1", "are the same file", "give each its own"),
        ("active = \"5s\"", "7:1", "does not say where to", "add ipfix = "),
        ("json = \"file:x\"\njsn = 1", "9:1", "unknown key 'export.jsn'", "json"),
    ] {
        let said = parse(lines).expect_err(lines);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with(&format!("etc/box.toml:{at}: ")), "{lines}: {said}");
        assert!(said.contains(message) && said.contains(remedy), "{lines}: {said}");
    }
}

//! The configuration: what is accepted, and that every error is found, placed and remedied.

use common::config::Checks;
use common::config::report::Errors;
use common::logging::{LogFormat, LogLevel};
use middlebox::config::{Config, Device, Diagnostics, Idle, Oversize, Rss};
use middlebox::export::{Settings, Target};
use pipeline::state::policies::{InboundAction, Mode, OnFailure, OutboundAction, ProtocolMatch};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SMALL: &str = r#"[node]
name = "box-a"
[ports.inside]
device = "net_tap0,iface=tA"
[ports.outside]
device = "3B:00.1"
"#;

fn parse(text: &str) -> Result<Config, Errors> {
    Config::parse(text, Path::new("etc/box.toml"), Checks::TextOnly)
}

/// The errors of SMALL with this behind it, as printed, without the file's name.
fn errors(more: &str) -> Vec<String> {
    errors_of(&format!("{SMALL}{more}"))
}

fn errors_of(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("must be refused").to_string();
    errors.lines().map(|l| l.strip_prefix("etc/box.toml:").expect(l).to_owned()).collect()
}

fn warnings(more: &str) -> Vec<String> {
    parse(&format!("{SMALL}{more}")).expect("accepted").warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults() {
    let config = parse(SMALL).expect("accepted");
    assert_eq!(config.node, "box-a");
    assert_eq!(config.inside.device, Device::Virtual("net_tap0,iface=tA".to_owned()));
    assert_eq!(config.outside.device, Device::Pci("0000:3b:00.1".to_owned()));
    assert_eq!((config.outside.mtu, config.outside.rx_descriptors, config.outside.promiscuous), (None, 1024, true));
    assert!(!config.inside.timestamps && !config.outside.timestamps);
    assert_eq!((config.workers.cores.as_slice(), config.workers.idle), (&[0][..], Idle::Poll));
    assert_eq!((config.workers.burst, config.workers.mbufs, config.workers.rss), (32, 16384, Rss::Addresses));
    assert_eq!(config.flow_table.capacity, 131_072);
    assert_eq!(config.flow_table.idle_timeout, Duration::from_secs(60));
    assert_eq!((config.forwarding.oversize, config.diagnostics), (Oversize::Pass, Diagnostics::Flows));
    assert!(config.keys.is_none() && config.telemetry.listen.is_none() && config.audit.is_none());
    assert_eq!(config.export, Settings::default());
    assert_eq!(config.warnings.len(), 1, "no policy: {:?}", config.warnings);
}

/// Every key there is, none at its default.
const EVERYTHING: &str = r#"
[node]
name = "box-a"
[eal]
args = ["--in-memory", "-l", "0-1"]
[ports]
timestamps = "auto"
[ports.inside]
device = "0000:3b:00.0,some=arg"
mtu = 9000
rx_descriptors = 256
tx_descriptors = 0x200
promiscuous = false
[ports.outside]
device = "0000:3b:00.1"
[workers]
cores = [1, 0]
idle = "sleep"
burst = 8
mbufs = 32768
rss = "ports"
[forwarding]
oversize = "ptb"
mss_clamp = false
link_follow = false
[diagnostics]
flows = false
[flow_table]
capacity = 64
idle_timeout = "500ms"
tombstones = 128
[keys]
file = "sub/pdmv2.keys"
max_age = "24h"
log = "keys.log"
[telemetry]
listen = "[::1]:9469"
log_level = "debug"
log_format = "json"
[export]
ipfix = "tcp://192.0.2.1:4739"
json = "unix:/run/flows"
active = "5s"
enterprise = 32473
domain = 7
file_mebibytes = 3
[audit]
file = "audit.bin"
[[policy]]
name = "web"
inside = ["2001:db8:a::/48", "2001:db8::1"]
outside = ["2001:db8:b::/48"]
protocol = "tcp"
ports = [443, "8000-8999", "22"]
mode = "encrypted"
on_failure = "drop"
outbound = "pass"
inbound = "verify"
lifetime = "7d"
[[policy]]
name = "rest"
protocol = 47
mode = "pdm"
"#;

#[test]
fn everything_set() {
    let config = parse(EVERYTHING).expect("accepted");
    let expected = ["--in-memory", "-l", "0-1", "-a", "0000:3b:00.0,some=arg", "-a", "0000:3b:00.1"];
    assert_eq!(config.eal_command_line(), expected);
    assert_eq!((config.inside.mtu, config.inside.rx_descriptors, config.inside.tx_descriptors), (Some(9000), 256, 512));
    assert!(!config.inside.promiscuous);
    assert_eq!((config.inside.timestamps, config.outside.timestamps), (false, true), "of what comes from the network");
    assert_eq!((config.workers.cores.as_slice(), config.workers.idle), (&[1, 0][..], Idle::Sleep));
    assert_eq!((config.workers.burst, config.workers.mbufs, config.workers.rss), (8, 32768, Rss::Ports));
    assert_eq!(config.forwarding.oversize, Oversize::PacketTooBig);
    assert!(!config.forwarding.mss_clamp && !config.forwarding.link_follow);
    assert_eq!(config.diagnostics, Diagnostics::Off);
    assert_eq!((config.flow_table.capacity, config.flow_table.tombstones), (64, 128));
    assert_eq!(config.flow_table.idle_timeout, Duration::from_millis(500));
    let keys = config.keys.expect("keys");
    assert_eq!((keys.file, keys.state_dir), (PathBuf::from("etc/sub/pdmv2.keys"), PathBuf::from("etc/sub")));
    assert_eq!(keys.max_age, Some(Duration::from_secs(86_400)));
    assert_eq!(config.telemetry.listen, Some("[::1]:9469".parse::<SocketAddr>().expect("address")));
    assert_eq!((config.telemetry.log_level, config.telemetry.log_format), (LogLevel::Debug, LogFormat::Json));
    let export = Settings {
        ipfix: Some(Target::Tcp("192.0.2.1:4739".parse().expect("address"))),
        json: Some(Target::Unix("/run/flows".into())),
        active: Duration::from_secs(5),
        enterprise: Some(32473),
        domain: 7,
        file_limit: 3 << 20,
    };
    assert_eq!(config.export, export);
    assert_eq!(config.audit, Some(PathBuf::from("etc/audit.bin")));
    let web = &config.policies[0];
    assert_eq!((web.name.as_str(), web.inside.len(), web.outside.len()), ("web", 2, 1));
    assert_eq!(web.protocol, ProtocolMatch::Number(6));
    assert_eq!(web.ports, [(443, 443), (8000, 8999), (22, 22)]);
    assert_eq!((web.mode, web.on_failure), (Mode::Encrypted, OnFailure::Drop));
    assert_eq!((web.outbound, web.inbound), (OutboundAction::Pass, InboundAction::Verify));
    assert_eq!(web.lifetime_ns, Some(7 * 86_400 * 1_000_000_000));
    let rest = &config.policies[1];
    assert_eq!((rest.protocol, rest.mode, rest.lifetime_ns), (ProtocolMatch::Number(47), Mode::Pdm, None));
    assert_eq!(rest.on_failure, OnFailure::Strip, "by default no packet is lost to a measurement that failed");
    assert_eq!(config.key_log, Some(PathBuf::from("etc/keys.log")));
    assert_eq!(config.warnings.len(), 2, "the audit, the key log: {:?}", config.warnings);
}

#[test]
fn all_errors_at_once_in_order_with_place_and_remedy() {
    let text = r#"[nodes]
name = "x"
[ports.inside]
device = "eth0"
mtu = 1000
[ports.outside]
devise = "net_tap1"
[workers]
cores = [0, 0]
burst = 0
idle = "pol"
[flow_table]
capacity = 63
idle_timeout = "0s"
"#;
    assert_eq!(
        errors_of(text),
        [
            "1:1: 'node' is missing; add [node] with name = \"…\": which [[node]] of the key file this box is",
            "1:2: unknown key 'nodes'; did you mean 'node'?",
            "4:10: 'eth0' is neither a PCI address nor a virtual device; write it like \"0000:3b:00.0\" \
             ('dpdk-devbind.py --status' lists them) or \"net_tap0,iface=tA\"",
            "5:7: 'ports.inside.mtu' cannot be 1000; choose from 1280 to 9710",
            "6:1: 'ports.outside.device' is missing; add device = \"0000:3b:00.0\" or a virtual device such as \
             \"net_tap0,iface=tA\"",
            "7:1: unknown key 'ports.outside.devise'; did you mean 'device'?",
            "9:13: core 0 has two workers; name each core once",
            "10:9: 'workers.burst' cannot be 0; choose from 1 to 32",
            "11:8: 'pol' is not a value of 'workers.idle'; did you mean 'poll'?",
            "13:12: 'flow_table.capacity' cannot be 63; choose from 64 to 67108864",
            "14:16: 'flow_table.idle_timeout' cannot be \"0s\"; choose from \"100ms\" to \"18h\"",
        ]
    );
}

#[test]
fn one_error_each() {
    let policy = |lines: &str| format!("[[policy]]\nname = \"p\"\n{lines}\nmode = \"clear\"\n");
    let cases: &[(String, &str)] = &[
        ("[ports]\ntimestamps = \"on\"".into(), "8:14: 'on' is not a value of 'ports.timestamps'; "),
        ("[workers]\ncores = []".into(), "8:9: 'workers.cores' is an empty list"),
        ("[workers]\ncores = 1".into(), "8:9: 'workers.cores' has a value of type integer; write a list"),
        ("[workers]\ncores = [-1]".into(), "8:10: 'workers.cores' cannot be -1"),
        ("[workers]\nmbufs = 1024".into(), "8:9: 1024 packet buffers are too few"),
        ("[workers]\nburst = 33".into(), "8:9: 'workers.burst' cannot be 33"),
        ("[flow_table]\ncapacity = 67108865".into(), "8:12: 'flow_table.capacity' cannot be 67108865"),
        ("[flow_table]\nidle_timeout = 60".into(), "8:16: 'flow_table.idle_timeout' is not a duration"),
        ("[flow_table]\nidle_timeout = \"60\"".into(), "8:16: '60' is not a duration"),
        ("[telemetry]\nlisten = \"localhost\"".into(), "8:10: 'localhost' is not an address to listen on"),
        ("[telemetry]\nlog_level = \"trace\"".into(), "8:13: 'trace' is not a value of 'telemetry.log_level'"),
        ("[forwarding]\nmss_clamp = \"yes\"".into(), "8:13: 'forwarding.mss_clamp' has a value of type string"),
        ("[keys]\nmax_age = \"1h\"".into(), "7:1: 'keys.file' is missing"),
        ("[keys]\nlog = \"keys.log\"".into(), "7:1: 'keys.file' is missing"),
        ("[keys]\nfile = \"\"".into(), "8:8: 'keys.file' is empty"),
        ("[audit]".into(), "7:1: 'audit.file' is missing"),
        ("[eal]\nargs = [\"--no-pci\"]".into(), "8:9: '--no-pci', but a port is a PCI device"),
        ("[eal]\nargs = [\"--vdev=net_tap5\"]".into(), "8:9: '--vdev=net_tap5' names a device"),
        ("[eal]\nargs = [\"-a\", \"0000:01:00.0\"]".into(), "8:9: '-a' names a device"),
        ("[eal]\nargs = [\"-a0000:01:00.0\"]".into(), "8:9: '-a0000:01:00.0' names a device"),
        ("[eal]\nargs = [1]".into(), "8:9: 'eal.args' has a value of type integer"),
        ("telemetry = 1".into(), "7:1: unknown key 'ports.outside.telemetry'"),
        ("policy = 1\n".into(), "7:1: unknown key 'ports.outside.policy'"),
        ("[policy]\nname = \"x\"".into(), "7:1: 'policy' has a value of type table; write an array of tables"),
        ("[[policy]]\nname = \"p\"".into(), "7:1: 'policy.mode' is missing"),
        ("[[policy]]\nmode = \"off\"".into(), "7:1: 'policy.name' is missing"),
        ("[[policy]]\nname = \"\"\nmode = \"off\"".into(), "8:8: an empty name"),
        ("[[policy]]\nname = \"a\\\"b\"\nmode = \"off\"".into(), "8:8: the name 'a\\\"b' has a '\"'"),
        (format!("[[policy]]\nname = \"{}\"\nmode = \"off\"", "x".repeat(64)), "8:8: a name of more than 63"),
        (policy("inside = []"), "9:10: 'policy.inside' is an empty list"),
        (policy("inside = [\"10.0.0.0/8\"]"), "9:11: '10.0.0.0' is not an IPv6 address"),
        (policy("outside = [\"2001:db8::1/48\"]"), "9:12: '2001:db8::1/48' has bits set behind its prefix"),
        (policy("outside = [\"2001:db8::/129\"]"), "9:12: '129' is not a prefix length"),
        (policy("protocol = \"tpc\""), "9:12: 'tpc' is not a value of 'policy.protocol'; did you mean 'tcp'?"),
        (policy("protocol = 256"), "9:12: 'policy.protocol' cannot be 256"),
        (policy("protocol = 44"), "9:12: protocol 44 is an extension header"),
        (policy("protocol = \"esp\""), "10:8: no option in clear goes outside ESP"),
        (policy("protocol = \"icmpv6\"\nports = [1]"), "10:9: 'ports', but protocol 58 has none"),
        (policy("protocol = \"tcp\"\nports = []"), "10:9: 'policy.ports' is an empty list"),
        (policy("protocol = \"tcp\"\nports = [\"9-8\"]"), "10:10: the range '9-8' ends before it starts"),
        (policy("protocol = \"tcp\"\nports = [65536]"), "10:10: 65536 is not a port"),
        (policy("protocol = \"tcp\"\nports = [\"http\"]"), "10:10: 'http' is neither a port nor a range"),
        (policy("lifetime = \"0s\""), "9:12: 'policy.lifetime' cannot be \"0s\""),
        (policy("on_failure = \"reject\""), "9:14: 'reject' is not a value of 'policy.on_failure'"),
        (policy("ouside = [\"::/0\"]"), "9:1: unknown key 'policy.ouside'; did you mean 'outside'?"),
        (
            "[[policy]]\nname = \"a\"\nmode = \"off\"\n[[policy]]\nname = \"a\"\nmode = \"pdm\"".into(),
            "10:1: two policies",
        ),
        ("mtu = 1500\nmtu = 1500".into(), "8:1: not valid TOML: duplicate key"),
        ("x = ".into(), "7:5: not valid TOML"),
    ];
    for (more, expected) in cases {
        let found = errors(more);
        assert_eq!(found.len(), 1, "{more}\n{found:#?}");
        assert!(found[0].starts_with(expected), "{more}\n{found:#?}\n{expected}");
        assert!(found[0].contains("; "), "a remedy: {found:?}");
    }
}

#[test]
fn ports_must_differ() {
    let both = |a: &str, b: &str| {
        format!("[node]\nname = \"x\"\n[ports]\ninside.device = \"{a}\"\noutside.device = \"{b}\"\n")
    };
    for (a, b) in [
        ("3b:00.0", "0000:3B:00.0"),
        ("net_tap0,iface=a", "net_tap0,iface=b"),
        ("net_tap0,iface=a", "net_tap1,iface=a"),
    ] {
        let found = errors_of(&both(a, b));
        assert!(found.len() == 1 && found[0].starts_with("5:18: both ports"), "{found:?}");
    }
    for device in ["", "net_", "net tap", "lo", "3b:00.8", "3b:0.0", "x3b:00:00.0", "net_tap0\\n", "--vdev"] {
        let found = errors_of(&both("net_tap0", device));
        assert!(found.len() == 1 && found[0].starts_with("5:18: "), "{device}: {found:?}");
    }
    let config = parse(&both("net_tap0", "net_pcap0,rx_pcap=a.pcap,tx_pcap=b.pcap")).expect("accepted");
    assert_eq!(config.outside.device.name(), "net_pcap0");
    let line = config.eal_command_line();
    assert!(
        line.contains(&"--no-pci".to_owned())
            && line.ends_with(&["--vdev".to_owned(), "net_pcap0,rx_pcap=a.pcap,tx_pcap=b.pcap".to_owned()]),
        "{line:?}"
    );
}

#[test]
fn warnings_are_no_errors() {
    let encrypted = warnings("[[policy]]\nname = \"p\"\nmode = \"encrypted\"\n");
    assert!(encrypted.len() == 1 && encrypted[0].contains("there are no keys"), "{encrypted:?}");
    let never = warnings("[[policy]]\nname = \"all\"\nmode = \"clear\"\n[[policy]]\nname = \"late\"\nmode = \"off\"\n");
    assert!(never.len() == 1 && never[0].contains("'late' is never used"), "{never:?}");
    let ports = warnings("[[policy]]\nname = \"p\"\nports = [1]\nmode = \"clear\"\n");
    assert!(ports.len() == 1 && ports[0].starts_with("etc/box.toml:9:9:"), "{ports:?}");
    let off = warnings("[[policy]]\nname = \"p\"\nlifetime = \"1h\"\nmode = \"off\"\n");
    assert!(off.len() == 1 && off[0].contains("'lifetime' means nothing"), "{off:?}");
}

#[test]
fn nothing_crashes_the_reader() {
    for text in
        ["", "\u{0}", "[", "[[policy]]", "\u{feff}", "a.b.c = {", "[ports]\ninside = 5", "ports = []", "é = \"é\""]
    {
        assert!(parse(text).is_err(), "{text:?}");
    }
    let whole =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/box-a.toml")).expect("file");
    for (at, _) in whole.char_indices() {
        // Cut anywhere it is a configuration or a list of errors, each with a place.
        if let Err(errors) = parse(&whole[..at]) {
            assert!(errors.0.iter().all(|e| e.line > 0 && !e.remedy.is_empty()), "{errors}");
        }
    }
}

#[test]
fn the_examples_are_valid() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&dir).expect("configs").flatten() {
        // Those of registrars have a test of their own.
        let registrar = entry.file_name().to_string_lossy().starts_with("registrar-");
        if entry.path().extension().is_some_and(|e| e == "toml") && !registrar {
            let text = std::fs::read_to_string(entry.path()).expect("readable");
            let config = Config::parse(&text, &entry.path(), Checks::TextOnly).unwrap_or_else(|e| panic!("{e}"));
            assert!(config.warnings.is_empty(), "{:?}", config.warnings);
            names.push(entry.file_name().into_string().expect("a name"));
        }
    }
    for name in ["box-a.toml", "box-b.toml", "ci-tap.toml"] {
        assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
    }
}

const KEYS: &str = r#"version = 1
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
prefixes = ["2001:db8:a::/48"]
[[node]]
name = "box-b"
id = "2001:db8::b"
side = "server"
prefixes = ["2001:db8:b::/48"]
"#;

fn write(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
    path
}

#[test]
fn load_checks_keys_and_machine_too() {
    let dir = tempfile::tempdir().expect("directory");
    let with_keys = format!(
        "{SMALL}[workers]\ncores = [0]\n[keys]\nfile = \"k.keys\"\n[[policy]]\nname = \"p\"\nmode = \"encrypted\"\n"
    );
    let path = write(dir.path(), "box.toml", &with_keys, 0o644);
    let refused = |what: &str| {
        let errors = Config::load(&path).expect_err("refused").to_string();
        assert!(errors.contains(what), "{what}: {errors}");
    };
    refused("cannot open the key file");
    let keys = write(dir.path(), "k.keys", KEYS, 0o640);
    refused("mode 0640");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).expect("mode");
    let config = Config::load(&path).expect("accepted");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let keys = config.keys.expect("keys");
    assert_eq!(keys.state_dir, dir.path());
    assert_eq!(keys.key_file.expect("read").nodes.len(), 2);

    write(dir.path(), "box.toml", &with_keys.replace("box-a", "box-c"), 0o644);
    refused("'box-c' is not a node of");
    write(dir.path(), "box.toml", &with_keys.replace("[0]", "[1000]"), 0o644);
    refused("core 1000 is not one that this program may use here");
    write(dir.path(), "box.toml", &with_keys.replace("k.keys\"", "k.keys\"\nstate_dir = \"none\""), 0o644);
    refused("is not a directory; mkdir");
    let log = write(dir.path(), "keys.log", "", 0o640);
    let logs = with_keys.replace("k.keys\"", "k.keys\"\nlog = \"keys.log\"");
    write(dir.path(), "box.toml", &logs, 0o644);
    refused("keys.log: has mode 0640");
    std::fs::remove_file(log).expect("removed");
    Config::load(&path).expect("it is made when the box starts");
    assert!(!dir.path().join("keys.log").exists());
    write(dir.path(), "k.keys", &KEYS.replace("\"node\"", "\"client\""), 0o600);
    refused("no key log can list");
    write(dir.path(), "k.keys", KEYS, 0o600);
    write(dir.path(), "box.toml", &with_keys.replace("mode =", "inside = [\"2001:db8:c::/48\"]\nmode ="), 0o644);
    let config = Config::load(&path).expect("accepted");
    assert!(config.warnings[0].message.contains("nothing is sealed"), "{:?}", config.warnings);
    std::fs::remove_file(&path).expect("removed");
    refused("cannot read the configuration");
}

const TLS: &str = "[tls]\nca = \"ca.crt\"\ncertificate = \"box-a.crt\"\nkey = \"box-a.key\"\n";
const REGISTRATION: &str =
    "[registration]\nregistrars = [\"registrar.example.net:7447\", \"[2001:db8::1]:7447\"]\nid = \"2001:db8:a::1\"\n";

#[test]
fn a_registration_in_place_of_a_key_file() {
    let registration = |more: &str| parse(&format!("{SMALL}{REGISTRATION}{more}{TLS}")).map(|c| c.registration);
    let plain = registration("").expect("accepted").expect("a registration");
    assert_eq!((plain.name.as_str(), plain.id[15], plain.prefixes.len()), ("box-a", 1, 0));
    assert_eq!(plain.registrars, [("registrar.example.net".to_owned(), 7447), ("2001:db8::1".to_owned(), 7447)]);
    assert_eq!(plain.tls.key, PathBuf::from("etc/box-a.key"));
    let some = registration("prefixes = [\"2001:db8:a::/48\"]\n").expect("accepted").expect("a registration");
    assert_eq!(some.prefixes.len(), 1);
    let logs = parse(&format!("{SMALL}{REGISTRATION}{TLS}[keys]\nlog = \"/var/keys.log\"\n")).expect("accepted");
    assert_eq!((logs.key_log, logs.keys.is_none()), (Some(PathBuf::from("/var/keys.log")), true));
    assert!(logs.warnings.iter().any(|w| w.message.contains("key log '/var/keys.log'")), "{:?}", logs.warnings);

    let errors = |more: &str| errors(more).join("\n");
    let cases = [
        (format!("{REGISTRATION}{TLS}[keys]\nfile = \"a\"\n"), "both [keys] and [registration]; keep one of the two"),
        (format!("{REGISTRATION}{TLS}[keys]\nlog = \"a\"\nmax_age = \"1h\"\n"), "unknown key 'keys.max_age'"),
        (REGISTRATION.to_owned(), "'tls' is missing; add [tls]"),
        (TLS.to_owned(), "[tls] without [registration]; add [registration], or delete it"),
        (
            format!("{}{TLS}", REGISTRATION.replace("id = ", "idd = ")),
            "unknown key 'registration.idd'; did you mean 'id'?",
        ),
        (format!("{}{TLS}", REGISTRATION.replace(":7447\"", "\"")), "is not a host and a port"),
        (format!("{}{TLS}", REGISTRATION.replace("2001:db8:a::1", "x")), "'x' is not a node id"),
    ];
    for (text, expected) in cases {
        let found = errors(&text);
        assert!(found.contains(expected), "{expected}\n{found}");
    }
}

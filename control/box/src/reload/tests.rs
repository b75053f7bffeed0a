use super::*;
use crate::observe::telemetry::Listener;
use crate::take_over::sockets::Inherited;
use common::config::Checks;
use pipeline::flow::table::{FlowTable, TableSize};
use pipeline::state::snapshot::SnapshotCell;
use protocol::prseq::MasterKey;

const BOX: &str = "[node]\nname = \"a\"\n[ports.inside]\ndevice = \"net_null0\"\n[ports.outside]\ndevice = \"net_null1\"\n\
                   [workers]\ncores = [0]\n";
const WEB: &str = "[[policy]]\nname = \"web\"\nports = [443]\nprotocol = \"tcp\"\nmode = \"clear\"\n";

/// A file, and a box that began with it.
struct Lab {
    dir: tempfile::TempDir,
    reloading: Reloading,
}

impl Lab {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("box.toml");
        std::fs::write(&path, text).expect("a file");
        let config = Config::parse(text, &path, Checks::Everything).expect("a configuration");
        let origin = Origin::new(&path, &config);
        let table = FlowTable::new(TableSize { capacity: 64, tombstones: 64 }, [1; 16]);
        let path = setup::path(&config, 1500, 5);
        let shared = Shared::new(path, table, SnapshotCell::default(), MasterKey::new([2; 32]), 1);
        // Telemetry that nobody has started: nothing can be ordered of it.
        let moves =
            Listener::bind(&config.telemetry, None, &mut Inherited::default()).expect("nothing is listened on").moves();
        Self { dir, reloading: Reloading::new(origin, Arc::new(shared), || 7, moves) }
    }

    fn with(&self, text: &str) -> Result<Reloaded, Failure> {
        std::fs::write(self.dir.path().join("box.toml"), text).expect("a file");
        self.reloading.reload()
    }

    fn version(&self) -> u64 {
        self.reloading.shared.snapshots.load().version
    }
}

#[test]
fn what_can_change_is_taken_and_named() {
    let lab = Lab::new(&format!("{BOX}{WEB}"));
    let before = lab.version();
    assert_eq!(lab.with(&format!("{BOX}# as it was\n{WEB}")).map(|r| r.changed), Ok(vec![]));
    assert_eq!(lab.version(), before, "nothing is replaced by itself");
    let more = "[flow_table]\nidle_timeout = \"2m\"\n[forwarding]\noversize = \"ptb\"\nmss_clamp = false\n[diagnostics]\n\
                flows = false\n[telemetry]\nlog_level = \"info\"\n";
    let pair = "[[pair]]\nname = \"p\"\ninside = [\"2001:db8::/32\"]\n";
    let dns = "[[policy]]\nname = \"dns\"\nports = [53]\nprotocol = \"udp\"\nmode = \"pdm\"\n";
    let changed = lab.with(&format!("{BOX}{more}{dns}{WEB}{pair}")).expect("taken").changed;
    let expected = [
        "policy",
        "pair",
        "flow_table.idle_timeout",
        "forwarding.oversize",
        "forwarding.mss_clamp",
        "diagnostics.flows",
    ];
    assert_eq!(changed, expected);
    let rules = lab.reloading.shared.snapshots.rules();
    let names: Vec<_> = rules.policies().map(|(policy, standing)| (policy.name.as_str(), standing.since_ns)).collect();
    assert_eq!(names, [("dns", 7), ("web", 5)], "what stays is as old as it was");
    assert_eq!((rules.config.outside_mtu, rules.config.timeouts.idle_ns), (1500, 120_000_000_000));
}

#[test]
fn a_file_with_errors_changes_nothing_and_all_of_them_are_said() {
    let lab = Lab::new(&format!("{BOX}{WEB}"));
    let before = lab.version();
    let refused =
        lab.with(&format!("{BOX}[flow_table]\nidle_timeout = \"soon\"\n{WEB}moode = 1\n")).expect_err("refused");
    assert!(refused.error.contains("idle_timeout") && refused.error.contains("moode"), "{refused:?}");
    std::fs::remove_file(lab.dir.path().join("box.toml")).expect("gone");
    assert!(lab.reloading.reload().expect_err("refused").error.contains("box.toml"));
    assert_eq!(lab.version(), before);
}

#[test]
fn telemetry_that_cannot_move_leaves_all_as_it_was() {
    let lab = Lab::new(&format!("{BOX}{WEB}"));
    let before = lab.version();
    let refused = lab.with(&format!("{BOX}[telemetry]\nlisten = \"127.0.0.1:1\"\n")).expect_err("refused");
    assert!(refused.error.contains("telemetry has ended"), "{refused:?}");
    assert_eq!(lab.version(), before, "the policy is still there");
}

#[test]
fn what_needs_a_restart_is_named_and_nothing_else_is_taken() {
    let lab = Lab::new(&format!("{BOX}{WEB}"));
    let before = lab.version();
    let said = |text: &str| lab.with(text).expect_err(text).known;
    let other = BOX.replace("net_null1", "net_null2");
    assert_eq!(said(&format!("{other}[[policy]]\nname = \"new\"\nmode = \"clear\"\n")), ["ports.outside"]);
    for (more, name) in [
        ("[ports]\ntimestamps = \"auto\"\n", "ports.timestamps"),
        ("[flow_table]\ncapacity = 128\n", "flow_table.capacity"),
        ("[flow_table]\ntombstones = 128\n", "flow_table.tombstones"),
        ("[telemetry]\nlog_format = \"json\"\n", "telemetry.log_format"),
        ("[admin]\n", "admin"),
        ("[export]\njson = \"file:flows\"\n", "export"),
        ("[audit]\nfile = \"audit\"\n", "audit"),
        ("[forwarding]\nlink_follow = false\n", "forwarding.link_follow"),
        ("[eal]\nargs = [\"--no-huge\"]\n", "eal.args"),
    ] {
        assert_eq!(said(&format!("{BOX}{more}{WEB}")), [name]);
    }
    assert_eq!(said(&format!("{}{WEB}", BOX.replace("[0]", "[0]\nburst = 8"))), ["workers"]);
    assert_eq!(said(&format!("{}{WEB}", BOX.replace("\"a\"", "\"b\""))), ["node.name"]);
    assert_eq!(lab.version(), before);
}

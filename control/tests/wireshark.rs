//! `configs/wireshark/pdmv2.lua` in tshark, where there is one: it shows of every packet what `pdmv2 decode --json` says.

mod programs;

use programs::{Site, TOOL};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::captures::{ETHERNET, Record, pcap, write_ethernet};
use testkit::frames::{A, B, udp};

/// The fields that are compared, in the order in which [`expected`] gives them.
const FIELDS: [&str; 13] = [
    "frame.number",
    "pdmv2.form",
    "pdmv2.prseq",
    "pdmv2.f",
    "pdmv2.opened",
    "pdmv2.node",
    "pdmv2.generation",
    "pdmv2.kri",
    "pdmv2.global_pointer",
    "pdmv2.psntp",
    "pdmv2.psnlr",
    "pdmv2.delta_tlr_ns",
    "pdmv2.delta_tls_ns",
];

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/wireshark/pdmv2.lua")
}

/// What tshark prints, a line a packet; `None`: there is no tshark.
fn tshark(dir: &Path, capture: &Path, more: &[&str]) -> Option<Vec<String>> {
    let script = format!("lua_script:{}", script().display());
    let output = Command::new("tshark").current_dir(dir).args(["-X", &script, "-r"]).arg(capture).args(more).output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.expect("tshark"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("Lua:"), "{said}");
    Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn fields(dir: &Path, capture: &Path, more: &[&str]) -> Option<Vec<Vec<String>>> {
    let mut arguments = vec!["-T", "fields"];
    FIELDS.iter().for_each(|field| arguments.extend(["-e", *field]));
    let lines = tshark(dir, capture, &[&arguments, more].concat())?;
    let lines = lines.iter().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    // Packets without an option have nothing but their number.
    Some(lines.filter(|fields| fields.get(1).is_some_and(|form| !form.is_empty())).collect())
}

/// What `decode --json` says of the packets, as tshark would print it.
fn expected(dir: &Path, capture: &Path, more: &[&str]) -> Vec<Vec<String>> {
    let output = Command::new(TOOL).current_dir(dir).args(["decode", "--json"]).arg(capture).args(more).output();
    let output = output.expect("decode");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let packet = |line: &str| {
        let p: Value = serde_json::from_str(line).expect("JSON");
        let opened =
            if p["form"] == "encrypted" { usize::from(!p["key"].is_null()).to_string() } else { String::new() };
        let (key, m) = (&p["key"], &p["metrics"]);
        let before = [&p["frame"], &p["form"], &p["prseq"], &p["f"]].map(text);
        let behind = [&key["node"], &key["generation"], &key["kri"], &m["global_pointer"], &m["psntp"], &m["psnlr"]];
        let times = [&m["delta_tlr_ns"], &m["delta_tls_ns"]];
        [&before[..], &[opened], &behind.map(text), &times.map(text)].concat()
    };
    String::from_utf8_lossy(&output.stdout).lines().map(packet).collect()
}

/// The wire of two boxes: `wire.pcap`, and the key log `a.keylog`.
fn site(mode: &str, suite: &[&str]) -> Site {
    let policy = format!("[[policy]]\nname = \"all\"\nmode = \"{mode}\"\n");
    let site = Site::new(&policy);
    std::fs::remove_file(site.path("pdmv2.keys")).expect("removed");
    let nodes = ["name=a,side=client,prefix=2001:db8:a::/48", "name=b,side=server,prefix=2001:db8:b::/48"];
    let mut keygen = Command::new(TOOL);
    keygen.arg("keygen").args(suite).arg("--out").arg(site.path("pdmv2.keys"));
    assert!(keygen.args(["--node", nodes[0], "--node", nodes[1]]).output().expect("keygen").status.success());
    site.config("a", "[keys]\nfile = \"pdmv2.keys\"\nlog = \"a.keylog\"\n", &policy);
    // Requests and answers, so that all metrics have something to say.
    let both: [Vec<_>; 2] = [
        (0..300u16).map(|i| udp(A, B, 4000 + i % 5, 9, usize::from(i % 50))).collect(),
        (0..300u16).map(|i| udp(B, A, 9, 4000 + i % 5, usize::from(i % 50))).collect(),
    ];
    write_ethernet(&site.path("inside.pcap"), &both[0]);
    write_ethernet(&site.path("outside.pcap"), &both[1]);
    let answers = site.counters("b", &["--inside", "outside.pcap", "--out", "answers.pcap"]);
    assert_eq!(answers["outbound"]["received"], 300);
    site.counters("a", &["--inside", "inside.pcap", "--outside", "answers.pcap", "--out", "wire.pcap"]);
    site
}

#[test]
fn every_form_is_shown_as_decode_says() {
    for mode in ["pdm", "clear", "encrypted"] {
        let site = site(mode, &[]);
        let (dir, wire) = (site.0.path(), site.path("wire.pcap"));
        let log = if mode == "encrypted" { &["--key-log", "a.keylog"][..] } else { &[] };
        let ours = expected(dir, &wire, log);
        let Some(theirs) = fields(dir, &wire, &["-o", "pdmv2.key_log:a.keylog"]) else { return };
        assert_eq!(ours.len(), 300, "{mode}");
        assert_eq!(theirs, ours, "{mode}");
        let told = ours.iter().filter(|p| p[11] != "0").count();
        assert!(told > 200 && ours.iter().all(|p| !p[9].is_empty()), "{mode}: {told} answers");
        let wrong = "_ws.malformed || _ws.expert || pdmv2.not_opened";
        let found = tshark(dir, &wire, &["-o", "pdmv2.key_log:a.keylog", "-Y", wrong]).expect("there");
        assert_eq!(found, [""; 0], "{mode}");
        // What is behind the option is dissected as ever.
        let filter = format!("udp.dstport == 9 && pdmv2.form == \"{mode}\" && pdmv2.psntp == {}", ours[7][9]);
        let found = tshark(dir, &wire, &["-o", "pdmv2.key_log:a.keylog", "-Y", &filter]).expect("there");
        assert!(!found.is_empty(), "{filter}");
    }
}

#[test]
fn what_lua_does_not_open_comes_from_the_side_file() {
    for (suite, by_lua) in
        [(["--aead", "aes-256-gcm"], true), (["--aead", "chacha20poly1305"], false), (["--kdf", "hkdf-sha512"], false)]
    {
        let site = site("encrypted", &suite);
        let (dir, wire) = (site.0.path(), site.path("wire.pcap"));
        let ours = expected(dir, &wire, &["--key-log", "a.keylog", "--wireshark", "side.txt"]);
        let closed = expected(dir, &wire, &[]);
        let Some(theirs) = fields(dir, &wire, &["-o", "pdmv2.side_file:side.txt"]) else { return };
        assert_eq!(theirs, ours, "{suite:?}");
        let theirs = fields(dir, &wire, &["-o", "pdmv2.key_log:a.keylog"]).expect("there");
        assert_eq!(theirs, if by_lua { ours } else { closed.clone() }, "{suite:?}");
        if by_lua {
            let shown = tshark(dir, &wire, &["-o", "pdmv2.key_log:none", "-V"]).expect("there").join("\n");
            assert!(shown.contains("Not opened: the key log cannot be read"), "{shown}");
            assert_eq!(fields(dir, &wire, &[]).expect("there"), closed);
        }
        let again =
            Command::new(TOOL).current_dir(dir).args(["decode", "wire.pcap", "--wireshark", "side.txt"]).output();
        let said = again.expect("decode").stderr;
        assert!(String::from_utf8_lossy(&said).contains("side.txt: cannot be made"), "it stays as it is");
    }
}

#[test]
fn captures_of_the_tests_and_broken_options() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["fcs_p", "link_ppp", "link_sll2_vlan", "ng_pb"] {
        let capture = data.join(name).with_extension("pcap");
        let Some(theirs) = fields(dir.path(), &capture, &[]) else { return };
        assert_eq!(theirs, expected(dir.path(), &capture, &[]), "{name}");
    }
    // A length of no form, one that goes on behind its header, a version of no form, two options; each in a header of its own.
    let headers: [(&[u8], &str); 5] = [
        (
            &[17, 1, 0x0F, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0],
            "Length 9, expected 10 (PDM), 18 (PDMv2 in clear) or 34",
        ),
        (&[17, 1, 1, 2, 0, 0, 0x0F, 18, 0x20, 0, 0, 2, 0, 0, 0, 0], "Length 18, and the header has room for 8"),
        (&[17, 2, 1, 0, 0x0F, 18, 0x30, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "Version 3, expected 2"),
        (&[17, 2, 0x0F, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0F, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0], "A second PDM option"),
        (&[17, 0, 0x1E, 4, 1, 2, 3, 4], ""),
    ];
    let with = |header: &[u8]| {
        let mut frame = udp(A, B, 1000, 9, 10);
        frame.splice(54..54, header.iter().copied());
        let len = frame.len() as u16 - 54;
        frame[18..20].copy_from_slice(&len.to_be_bytes());
        frame[20] = 60;
        frame
    };
    let frames: Vec<_> = headers.iter().map(|(header, _)| with(header)).collect();
    let path = dir.path().join("broken.pcap");
    write_ethernet(&path, &frames);
    let shown = tshark(dir.path(), &path, &["-V"]).expect("there").join("\n");
    let packets: Vec<_> = shown.split("\nFrame ").collect();
    assert_eq!(packets.len(), headers.len(), "{shown}");
    for (shown, (_, expected)) in packets.iter().zip(headers) {
        assert!(shown.contains(expected), "{expected}: {shown}");
        assert!(shown.contains("Destination Port: 9"), "{shown}");
        assert_eq!(shown.contains("with PDM"), !expected.is_empty(), "as it was without the option: {shown}");
    }
    // Cut anywhere: it is said, and nothing ends.
    let lens = frames.iter().flat_map(|frame| (54..frame.len() - 18).map(move |kept| (frame, kept)));
    let cut = lens.map(|(frame, kept)| Record::cut(&frame[..kept], frame.len()));
    std::fs::write(&path, pcap(ETHERNET, cut)).expect("written");
    tshark(dir.path(), &path, &["-V"]);
}

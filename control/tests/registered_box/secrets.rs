//! What the two programs log, print, answer and leave behind, at debug level and also when things go wrong: no secret.

use super::{config, metric, metrics};
use crate::lab::{Lab, SIDES, SimBox, free_port, shown};
use crate::programs::{BOX, Running, wait_for};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashSet;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::captures::write_ethernet;
use testkit::frames::{A, B, udp};

/// A text or file, and what it is.
struct Said {
    what: String,
    octets: Vec<u8>,
}

impl AsRef<[u8]> for Said {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, String::from_utf8_lossy(&self.octets))
    }
}

impl PartialEq for Said {
    fn eq(&self, other: &Self) -> bool {
        self.what == other.what && self.octets == other.octets
    }
}

fn said(what: impl Into<String>, text: impl AsRef<[u8]>) -> Said {
    Said { what: what.into(), octets: text.as_ref().to_vec() }
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    entries.flat_map(|e| if e.path().is_dir() { files(&e.path()) } else { vec![e.path()] }).collect()
}

/// Made to hold a secret: nobody but their owner may read them.
fn private(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o077 == 0)
        && ["key", "static", "psk", "bad"].iter().any(|e| path.extension().is_some_and(|x| x == *e))
}

/// What is secret in a private file: hex digits, or the middle of a PEM key, where the private number is.
fn secret_of(path: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).expect("a text");
    if let Ok(octets) = hex::decode(text.trim()) {
        return octets;
    }
    let body: String = text.lines().filter(|l| !l.starts_with('-')).collect();
    let der = STANDARD.decode(body).expect("PEM");
    der[36..60].to_vec()
}

/// The secrets that a box opens with now.
fn opened_with(spy: &SimBox) -> Vec<Vec<u8>> {
    let held = spy.held.lock().expect("held");
    let sets = held.current.iter().flat_map(|c| &c.keys.opening);
    let keys = sets.flat_map(|o| &o.secrets).map(|(_, keys)| keys);
    keys.flat_map(|keys| keys.secrets().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>()).collect()
}

#[test]
fn what_is_looked_for_would_be_found() {
    let secret: Vec<u8> = (0..32).map(|i: u8| i.wrapping_mul(37).wrapping_add(200)).collect();
    let secrets = [secret.clone()];
    let mut texts = vec![
        secret.clone(),
        hex::encode(&secret).into_bytes(),
        hex::encode_upper(&secret).into_bytes(),
        format!("{secret:?}").into_bytes(),
    ];
    for before in ["", "x", "xy"] {
        texts.push(STANDARD.encode([before.as_bytes(), &secret].concat()).into_bytes());
    }
    for text in &texts {
        let around = [b"some ".as_slice(), text, b" words"].concat();
        assert!(shown(&[around], &secrets).is_some(), "{}", String::from_utf8_lossy(text));
    }
    assert_eq!(shown(&["nothing of the kind".to_owned()], &secrets), None);
}

/// Programs that are told to start from damaged secrets: what they say.
fn errors(lab: &Lab) -> Vec<Said> {
    let mut all = Vec::new();
    let west = std::fs::read_to_string(lab.path("west.toml")).expect("a configuration");
    for (file, line) in
        [("west.state.key", "state_key"), ("west.static", "static_key"), ("lab.psk", "psk"), ("west.key", "key")]
    {
        let damaged = std::fs::read_to_string(lab.path(file)).expect("a secret").replacen('a', "!", 1) + "more\n";
        let name = format!("{line}.bad");
        let mut options = std::fs::File::options();
        let mut written = options.write(true).create_new(true).mode(0o600).open(lab.path(&name)).expect("a file");
        std::io::Write::write_all(&mut written, damaged.as_bytes()).expect("written");
        let text = west.replace(&format!("\n{line} = \"{file}\""), &format!("\n{line} = \"{name}\""));
        assert_ne!(text, west, "{line}");
        std::fs::write(lab.path("bad.toml"), text).expect("written");
        for check in [&["--check"][..], &[]] {
            let run = lab.pdmv2(&[&["registrar", "run", "--config", "bad.toml"], check].concat());
            assert!(!run.status.success(), "{line}: a damaged secret is refused");
            all.push(said(format!("errors of a damaged {line}"), run.stderr + &run.stdout));
        }
    }
    all
}

/// What both registrars answer while they run.
fn what_registrars_say(lab: &Lab) -> Vec<Said> {
    let mut texts = Vec::new();
    for (side, name) in SIDES.iter().enumerate() {
        for ask in ["status", "nodes"] {
            for json in [&["--json"][..], &[]] {
                let config = format!("{name}.toml");
                let answer = lab.ok(&[&["registrar", ask, "--config", &config], json].concat());
                texts.push(said(format!("{name}: {ask} {json:?}"), answer));
            }
        }
        let port = lab.place(side).telemetry.expect("a port");
        texts.push(said(format!("{name}: metrics"), metrics(port).expect("metrics")));
    }
    texts
}

#[test]
fn neither_program_shows_a_secret() {
    let mut lab = Lab::new();
    lab.ok(&["pki", "secret", "--out", "lab.psk"]);
    lab.peer_lines = [0, 1].map(|_| "psk_id = \"lab\"\npsk = \"lab.psk\"".into());
    let (a, b) = (lab.node(0, 0), lab.node(1, 0xB));
    // One box more on each side, which the test is: it opens with what the other side's box seals with.
    let spies = [lab.node(0, 0x51), lab.node(1, 0x52)];
    lab.start_both();
    let spies = spies.map(SimBox::start);
    let at = lab.dir.path().display().to_string();
    write_ethernet(&lab.path("one.pcap"), &(0..8u16).map(|i| udp(A, B, 1000 + i, 443, 10)).collect::<Vec<_>>());
    let ports = [free_port(), free_port()];
    let inside = format!("net_pcap0,rx_pcap={at}/one.pcap,infinite_rx=1");
    config(&lab, "a", 0, &a, [&inside, "net_null1,no-rx=1"], ports[0]);
    config(&lab, "b", 1, &b, ["net_null0,no-rx=1", "net_null1,no-rx=1"], ports[1]);
    let boxes = [("a", "a.log"), ("b", "b.log")]
        .map(|(name, log)| Running::start(lab.dir.path(), &format!("{name}.toml"), log));
    let sealing = |port| metric(port, "pdmv2_sealing") == Some(1.0);
    wait_for("both boxes seal", || ports.into_iter().all(sealing));

    let mut secrets: HashSet<Vec<u8>> = HashSet::new();
    let mut texts = Vec::new();
    for side in [0, 1, 0] {
        let before = secrets.len();
        lab.rotate(side).expect("a registrar that answers");
        wait_for("new secrets on both sides", || {
            secrets.extend(spies.iter().flat_map(opened_with));
            secrets.extend(spies.iter().filter_map(SimBox::sealing).map(|(_, secret)| secret));
            secrets.len() >= before + 4
        });
        texts.extend(what_registrars_say(&lab));
        for port in ports {
            texts.push(said("a box's metrics", metrics(port).expect("metrics")));
        }
    }
    for args in
        [&["rotate", "nobody"][..], &["revoke", "box-81"], &["revoke", "--undo", "box-81"], &["revoke", "nobody"]]
    {
        let answer = lab.pdmv2(&[&["registrar"], args, &["--config", "west.toml"]].concat());
        texts.push(said(format!("{args:?}"), answer.stdout + &answer.stderr));
    }
    texts.extend(errors(&lab));
    for name in ["a", "b"] {
        let output = Command::new(BOX)
            .args(["run", "--check", "--config", &format!("{name}.toml")])
            .current_dir(lab.dir.path())
            .output()
            .expect("a box");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        texts.push(said("run --check", [output.stdout, output.stderr].concat()));
    }
    for name in SIDES {
        texts.push(said(
            "registrar run --check",
            lab.ok(&["registrar", "run", "--check", "--config", &format!("{name}.toml")]),
        ));
    }
    // Registrars that are gone and come back with what they kept, and boxes that say so.
    lab.kill(0);
    lab.kill(1);
    wait_for("both notice", || ports.into_iter().all(|p| metric(p, "pdmv2_registration_state") == Some(0.0)));
    lab.start_both();
    wait_for("both are back", || ports.into_iter().all(|p| metric(p, "pdmv2_registration_state") == Some(1.0)));
    texts.extend(boxes.map(|running| said("a box's counters", running.stop().to_string())));
    texts.extend(spies.iter().map(|s| said("Debug of a registration", format!("{:?}", s.registration))));
    texts.extend(spies.iter().map(|s| said("Debug of keys", format!("{:?}", s.held.lock().expect("held").current))));
    drop(spies);

    nothing_on_the_disk_shows(&lab, secrets, texts);
}

/// All that lies on the disk: logs, configurations, the registrars' states, captures. In private files there may be the
/// secrets that are made to be in them, but none that the registrars handed out.
fn nothing_on_the_disk_shows(lab: &Lab, secrets: HashSet<Vec<u8>>, mut texts: Vec<Said>) {
    let (private, public): (Vec<_>, Vec<_>) = files(lab.dir.path()).into_iter().partition(|p| private(p));
    let read = |path: &PathBuf| said(path.display().to_string(), std::fs::read(path).unwrap_or_default());
    assert!(private.len() >= 10 && secrets.len() >= 12, "{private:?}, {} secrets", secrets.len());
    let handed_out: Vec<_> = secrets.into_iter().collect();
    assert_eq!(shown(&private.iter().map(read).collect::<Vec<_>>(), &handed_out), None);
    let kept = private.iter().filter(|p| p.extension().is_some_and(|e| e != "bad")).map(|p| secret_of(p));
    let all: Vec<_> = handed_out.iter().cloned().chain(kept).collect();
    texts.extend(public.iter().map(read));
    for wanted in ["registrar-west-2.log", "east.state", "a.log", "b.toml"] {
        let found = texts.iter().find(|t| t.what.ends_with(wanted));
        assert!(found.is_some_and(|t| t.octets.len() > 100), "nothing in {wanted}");
    }
    assert_eq!(shown(&texts, &all), None);
}

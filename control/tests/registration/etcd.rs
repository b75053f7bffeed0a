//! Two registrars of the west on an etcd of three, one of the east: any serves any box, one leads, and whatever dies,
//! the boxes keep their generation and the next one follows.

use crate::lab::{Lab, SimBox, audit, free_port, shown, wait_for};
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Starts a program in the lab's directory; what it says goes behind what is in this log.
fn start(lab: &Lab, log: &str, command: &mut Command) -> std::io::Result<Child> {
    let log = File::options().create(true).append(true).open(lab.path(log)).expect("a log");
    command.current_dir(lab.path(".")).stdout(Stdio::null()).stderr(log).spawn()
}

/// kill -9.
fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        let _ = child.kill();
        let _ = child.wait();
    }
}

struct Etcd {
    ports: [u16; 6],
    members: Vec<Option<Child>>,
}

impl Etcd {
    fn start(lab: &Lab) -> Self {
        let mut this = Self { ports: std::array::from_fn(|_| free_port()), members: vec![None, None, None] };
        (0..3).for_each(|n| this.member(lab, n));
        this
    }

    fn url(&self, n: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[n])
    }

    fn member(&mut self, lab: &Lab, n: usize) {
        let cluster: Vec<_> = (0..3).map(|m| format!("m{m}={}", self.url(3 + m))).collect();
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("m{n}"), "--data-dir", &format!("etcd-{n}")])
            .args(["--listen-client-urls", &self.url(n), "--advertise-client-urls", &self.url(n)])
            .args(["--listen-peer-urls", &self.url(3 + n), "--initial-advertise-peer-urls", &self.url(3 + n)])
            .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"]);
        let child = start(lab, &format!("etcd-{n}.log"), &mut command);
        self.members[n] = Some(child.expect("etcd: install the package etcd-server (.ci/setup.sh does)"));
    }

    fn kill(&mut self, n: usize) {
        end(self.members[n].take());
    }

    fn ctl(&self, args: &[&str]) -> Vec<u8> {
        let endpoints: Vec<_> = (0..3).map(|n| self.url(n)).collect();
        let done = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &endpoints.join(",")])
            .args(args)
            .output();
        done.expect("etcdctl: install the package etcd-client (.ci/setup.sh does)").stdout
    }

    /// Which member leads etcd.
    fn leader(&self) -> Option<usize> {
        let all: serde_json::Value = serde_json::from_slice(&self.ctl(&["endpoint", "status", "-w", "json"])).ok()?;
        let at = all.as_array()?.iter().find(|m| {
            let id = m["Status"]["header"]["member_id"].as_u64();
            id.is_some() && id == m["Status"]["leader"].as_u64()
        })?;
        (0..3).find(|&n| at["Endpoint"] == self.url(n))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..3).for_each(|n| self.kill(n));
    }
}

struct Side {
    lab: Lab,
    etcd: Etcd,
    ports: [u16; 2],
    registrars: [Option<Child>; 2],
    /// In the west, and in the east.
    boxes: Vec<SimBox>,
}

impl Side {
    fn up() -> Self {
        let mut lab = Lab::new();
        let etcd = Etcd::start(&lab);
        let ports = [free_port(), free_port()];
        let mut settings = vec![lab.node(0, 1), lab.node(0, 3)];
        let east = lab.node(1, 2);
        // Each box of the west begins at another registrar.
        for (n, s) in settings.iter_mut().enumerate() {
            s.registrars = [n, 1 - n].map(|m| ("127.0.0.1".to_owned(), ports[m])).to_vec();
        }
        settings.push(east);
        lab.start(1);
        let mut this = Self { lab, etcd, ports, registrars: [None, None], boxes: Vec::new() };
        (0..2).for_each(|n| this.start(n));
        this.boxes = settings.into_iter().map(SimBox::start).collect();
        this.converged("both sides seal");
        this
    }

    fn start(&mut self, n: usize) {
        let endpoints: Vec<_> = (0..3).map(|m| format!("\"{}\"", self.etcd.url(m))).collect();
        let nodes = [1_u16, 3].map(|b| {
            let id = hex::encode([b.to_be_bytes(); 8].concat());
            format!("[[node]]\nname = \"box-{b}\"\nid = \"{id}\"\nprefixes = [\"2001:db8:a:{b:x}::/64\"]\n")
        });
        let config = format!(
            "[registrar]\nname = \"west\"\nlisten = \"127.0.0.1:{port}\"\nstate_key = \"west.state.key\"\nstatic_key = \
             \"west.static\"\nadmin = \"w{n}.socket\"\n[etcd]\nendpoints = [{}]\nmember = \"w{n}\"\naddress = \
             \"127.0.0.1:{port}\"\n[tls]\nca = \"pki-west/ca.crt\"\ncertificate = \"west.crt\"\nkey = \
             \"west.key\"\n[[peer]]\nname = \"east\"\nrole = \"client\"\naddress = [\"127.0.0.1:{}\"]\nstatic_keys = \
             \"east.static.pub\"\nca = \"pki-east/ca.crt\"\nprefixes = [\"2001:db8:b::/48\"]\n{}[generations]\n\
             coalesce = \"100ms\"\nack_timeout = \"5s\"\n[telemetry]\nlog_level = \"debug\"\n",
            endpoints.join(", "),
            self.lab.address(1).1,
            nodes.concat(),
            port = self.ports[n],
        );
        std::fs::write(self.lab.path(&format!("w{n}.toml")), config).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pdmv2"));
        command.args(["registrar", "run", "--config", &format!("w{n}.toml")]);
        let child = start(&self.lab, &format!("w{n}.log"), &mut command);
        self.registrars[n] = Some(child.expect("a registrar"));
    }

    fn kill(&mut self, n: usize) {
        end(self.registrars[n].take());
    }

    fn signal(&self, n: usize, name: &str) {
        let id = self.registrars[n].as_ref().expect("running").id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().expect("kill").success());
    }

    fn status(&self, n: usize) -> Option<serde_json::Value> {
        let done = self.lab.pdmv2(&["registrar", "status", "--json", "--config", &format!("w{n}.toml")]);
        serde_json::from_str::<serde_json::Value>(&done.stdout).ok().map(|v| v["status"].clone())
    }

    fn leader(&self) -> Option<usize> {
        (0..2)
            .filter(|&n| self.registrars[n].is_some())
            .find(|&n| self.status(n).is_some_and(|s| s["role"] == "leader"))
    }

    fn converged(&self, what: &str) {
        let [a, c, b] = self.boxes.as_slice() else { unreachable!("three boxes") };
        wait_for(what, || a.opens(b) && c.opens(b) && b.opens(a) && b.opens(c));
    }

    /// All move on to a later generation.
    fn rotates(&self) {
        let before = self.boxes[0].generation();
        let mut leader = None;
        wait_for("one leads", || {
            leader = self.leader();
            leader.is_some()
        });
        self.lab.ok(&["registrar", "rotate", "--config", &format!("w{}.toml", leader.expect("one"))]);
        wait_for("all have moved on", || self.boxes.iter().all(|b| b.generation() > before));
        self.converged("all open each other");
    }

    fn check(&self) {
        let held: Vec<_> = self.boxes.iter().map(|b| b.held.lock().expect("held")).collect();
        audit(held.iter().map(|h| &**h));
        let dump = self.etcd.ctl(&["get", "", "--from-key"]);
        assert!(dump.windows(8).any(|w| w == b"manifest"), "the store is there");
        let secrets: Vec<_> = held.iter().flat_map(|h| h.sealed.iter().map(|s| s.1.clone())).collect();
        let logs = (0..2).map(|n| std::fs::read(self.lab.path(&format!("w{n}.log"))).expect("a log"));
        let texts: Vec<_> = std::iter::once(dump).chain(logs).collect();
        assert_eq!(shown(&texts, &secrets).map(|(_, shown)| shown), None);
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        for n in 0..2 {
            self.kill(n);
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.lab.path(&format!("w{n}.log"))).unwrap_or_default();
                eprintln!("--- w{n}\n{log}");
            }
        }
    }
}

#[test]
fn a_follower_serves_a_box_and_the_leader_may_die() {
    let mut side = Side::up();
    let leader = side.leader().expect("one leads");
    let follower = side.status(1 - leader).expect("a status");
    assert_eq!(
        (follower["role"].as_str(), follower["leader"].as_str()),
        (Some("follower"), Some(["w0", "w1"][leader]))
    );
    side.rotates();
    let before: Vec<_> = side.boxes.iter().map(SimBox::sealing).collect();
    let made = side.lab.status(1)["peers"][0]["generations_total"].clone();
    side.kill(leader);
    wait_for("the other leads", || side.leader() == Some(1 - leader));
    wait_for("all are registered", || side.boxes.iter().all(|b| b.registration.registered()));
    wait_for("the link is up", || side.lab.status(1)["peers"][0]["connected"] == true);
    assert_eq!(side.boxes.iter().map(SimBox::sealing).collect::<Vec<_>>(), before, "no new generation");
    assert_eq!(side.lab.status(1)["peers"][0]["generations_total"], made);
    side.rotates();
    side.check();
}

#[test]
fn the_leader_of_etcd_dies_and_all_of_it_is_gone_for_a_while() {
    let mut side = Side::up();
    let first = side.etcd.leader().expect("etcd has a leader");
    side.etcd.kill(first);
    side.rotates();
    (0..3).for_each(|n| side.etcd.kill(n));
    std::thread::sleep(Duration::from_secs(4));
    assert!(side.boxes.iter().all(|b| b.sealing().is_some()), "boxes go on");
    assert_eq!(side.leader(), None);
    for n in 0..3 {
        side.etcd.member(&side.lab, n);
    }
    side.rotates();
    side.check();
}

#[test]
fn a_deposed_leader_does_nothing() {
    let side = Side::up();
    let old = side.leader().expect("one leads");
    side.signal(old, "-STOP");
    wait_for("the other leads", || side.status(1 - old).is_some_and(|s| s["role"] == "leader"));
    let made = side.lab.status(1)["peers"][0]["generations_total"].clone();
    side.signal(old, "-CONT");
    wait_for("it follows", || side.status(old).is_some_and(|s| s["role"] == "follower"));
    wait_for("all are registered", || side.boxes.iter().all(|b| b.registration.registered()));
    assert_eq!(side.leader(), Some(1 - old));
    assert_eq!(side.lab.status(1)["peers"][0]["generations_total"], made);
    side.rotates();
    side.check();
}

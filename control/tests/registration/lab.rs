//! Two registrars as processes, boxes as threads of the test, each side with an authority of its own.

use control::registration::node::{self, NodeSettings, Received, Registration};
use control::registration::tls::{AuthorityFiles, TlsFiles};
use std::collections::HashMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Everything has to come about within this (the issue: 10 s after any fault).
pub const SOON: Duration = Duration::from_secs(10);

pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Names of the two sides.
pub const SIDES: [&str; 2] = ["west", "east"];

pub struct Lab {
    pub dir: TempDir,
    ports: [u16; 2],
    registrars: [Option<Child>; 2],
    nodes: [String; 2],
    pub peer_lines: [String; 2],
    pub times: String,
    /// Where a registrar that is started is to be killed.
    pub fault: Option<&'static str>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

impl Lab {
    /// Certificates and secrets; nothing runs yet.
    pub fn new() -> Self {
        let this = Self {
            dir: tempfile::tempdir().expect("a directory"),
            ports: [free_port(), free_port()],
            registrars: [None, None],
            nodes: Default::default(),
            peer_lines: Default::default(),
            fault: None,
            times: "coalesce = \"100ms\"\nack_timeout = \"5s\"\n".into(),
        };
        for side in SIDES {
            this.ok(&["pki", "init", "--dir", &format!("pki-{side}")]);
            let dir = format!("pki-{side}");
            this.ok(&["pki", "issue", "--dir", &dir, "--registrar", side, "--host", "127.0.0.1"]);
            this.ok(&["pki", "secret", "--out", &format!("{side}.state.key")]);
        }
        this
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn pdmv2(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pdmv2")).args(args).current_dir(self.dir.path()).output().expect("pdmv2")
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.pdmv2(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A box: its certificate, and its place in the registrar's configuration.
    pub fn node(&mut self, side: usize, number: u16) -> NodeSettings {
        let name = format!("box-{number}");
        self.ok(&["pki", "issue", "--dir", &format!("pki-{}", SIDES[side]), "--node", &name]);
        self.grant(side, number);
        self.settings(side, number)
    }

    /// Its place in the configuration alone.
    pub fn grant(&mut self, side: usize, number: u16) {
        let prefix = format!("2001:db8:{}:{number:x}::/64", ["a", "b"][side]);
        let id = hex::encode([number.to_be_bytes(); 8].concat());
        self.nodes[side] += &format!("[[node]]\nname = \"box-{number}\"\nid = \"{id}\"\nprefixes = [\"{prefix}\"]\n");
        if side == 0 && self.peer_lines[0].contains("scope = \"client\"") {
            let network = prefix.trim_end_matches("/64");
            self.nodes[side] += &format!("clients = [\"{network}1\", \"{network}2\"]\n");
        }
    }

    pub fn settings(&self, side: usize, number: u16) -> NodeSettings {
        let name = format!("box-{number}");
        let ca = self.path(&format!("pki-{}/ca.crt", SIDES[side]));
        NodeSettings {
            id: [number.to_be_bytes(); 8].concat().try_into().expect("16 octets"),
            prefixes: Vec::new(),
            registrars: vec![("127.0.0.1".into(), self.ports[side])],
            tls: TlsFiles {
                certificate: self.path(&format!("{name}.crt")),
                key: self.path(&format!("{name}.key")),
                own: AuthorityFiles { ca, crl: None },
                peers: Vec::new(),
            },
            name,
        }
    }

    pub fn address(&self, side: usize) -> (String, u16) {
        ("127.0.0.1".into(), self.ports[side])
    }

    fn config(&self, side: usize) -> String {
        let (me, other) = (SIDES[side], SIDES[1 - side]);
        let role = if side == 0 {
            format!("role = \"client\"\naddress = \"127.0.0.1:{}\"", self.ports[1])
        } else {
            "role = \"server\"".into()
        };
        let prefix = ["2001:db8:b::/48", "2001:db8:a::/48"][side];
        format!(
            "[registrar]\nname = \"{me}\"\nlisten = \"127.0.0.1:{}\"\nstate = \"{me}.state\"\nstate_key = \
             \"{me}.state.key\"\nstatic_key = \"{me}.static\"\nadmin = \"{me}.socket\"\n[tls]\nca = \
             \"pki-{me}/ca.crt\"\ncrl = \"pki-{me}/ca.crl\"\ncertificate = \"{me}.crt\"\nkey = \"{me}.key\"\n[[peer]]\n\
             name = \"{other}\"\n{role}\nstatic_keys = \"{other}.static.pub\"\nca = \"pki-{other}/ca.crt\"\ncrl = \
             \"pki-{other}/ca.crl\"\nprefixes = [\"{prefix}\"]\n{}\n{}[generations]\n{}[telemetry]\nlog_level = \
             \"debug\"\n",
            self.ports[side], self.peer_lines[side], self.nodes[side], self.times
        )
    }

    pub fn start(&mut self, side: usize) {
        let name = SIDES[side];
        std::fs::write(self.path(&format!("{name}.toml")), self.config(side)).expect("written");
        let log = File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_pdmv2"))
            .args(["registrar", "run", "--config", &format!("{name}.toml")])
            .current_dir(self.dir.path())
            .envs(self.fault.map(|place| ("PDMV2_FAULT", place)))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.registrars[side] = Some(child.expect("a registrar"));
    }

    pub fn start_both(&mut self) {
        self.start(0);
        self.start(1);
    }

    /// kill -9.
    pub fn kill(&mut self, side: usize) {
        if let Some(mut child) = self.registrars[side].take() {
            child.kill().expect("killed");
            child.wait().expect("ended");
        }
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self, side: usize) -> bool {
        self.registrars[side].as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }

    /// The registrar's process.
    pub fn pid(&self, side: usize) -> u32 {
        self.registrars[side].as_ref().map_or(0, Child::id)
    }

    pub fn log(&self, side: usize) -> String {
        std::fs::read_to_string(self.path(&format!("{}.log", SIDES[side]))).unwrap_or_default()
    }

    pub fn status(&self, side: usize) -> serde_json::Value {
        let text = self.ok(&["registrar", "status", "--json", "--config", &format!("{}.toml", SIDES[side])]);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["status"].clone()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kill(0);
        self.kill(1);
        if std::thread::panicking() {
            (0..2).for_each(|side| eprintln!("--- {}\n{}", SIDES[side], self.log(side)));
        }
    }
}

/// What a box has, as far as it was told.
#[derive(Default)]
pub struct Held {
    pub current: Option<Received>,
    pub sealed: Vec<(u32, Vec<u8>)>,
}

impl Held {
    pub fn sealing(&self) -> Option<(u32, Vec<u8>)> {
        let sealing = self.current.as_ref()?.keys.sealing.as_ref()?;
        let mut secrets: Vec<_> = sealing.keys.secrets().map(protocol::key_schedule::Secret::as_bytes).collect();
        secrets.sort_unstable();
        Some((sealing.generation, secrets.concat()))
    }

    pub fn opens(&self, name: &str, (generation, secret): &(u32, Vec<u8>)) -> bool {
        let of = self.current.iter().flat_map(|c| &c.keys.opening).filter(|o| o.node.name == name);
        of.flat_map(|o| &o.secrets).any(|(g, k)| g == generation && k.secrets().any(|s| s.as_bytes() == secret))
    }
}

/// A box, as far as registration goes: it takes its keys into use and says so.
pub struct SimBox {
    pub name: String,
    pub registration: Arc<Registration>,
    pub held: Arc<Mutex<Held>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl SimBox {
    pub fn start(settings: NodeSettings) -> Self {
        let (name, registration, held) = (settings.name.clone(), Arc::<Registration>::default(), Arc::default());
        let (stop, done) = (Arc::new(AtomicBool::new(false)), tokio::sync::oneshot::channel::<()>());
        let client = {
            let registration = Arc::clone(&registration);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let instance = node::instance().expect("random numbers");
                runtime.block_on(async {
                    tokio::select! {
                        ended = node::run(settings, instance, registration) => ended.expect("it runs on"),
                        _ = done.1 => {}
                    }
                });
            })
        };
        let user = {
            let (registration, held, stop): (_, Arc<Mutex<Held>>, _) =
                (Arc::clone(&registration), Arc::clone(&held), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(received) = registration.take() {
                        received.acknowledge();
                        let mut held = held.lock().expect("held");
                        held.current = Some(received);
                        if let Some(sealing) = held.sealing()
                            && held.sealed.last() != Some(&sealing)
                        {
                            held.sealed.push(sealing);
                        }
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                let _ = done.0.send(());
            })
        };
        Self { name, registration, held, stop, threads: vec![user, client] }
    }

    pub fn sealing(&self) -> Option<(u32, Vec<u8>)> {
        self.held.lock().expect("held").sealing()
    }

    pub fn generation(&self) -> Option<u32> {
        self.sealing().map(|(g, _)| g)
    }

    /// Whether this box can open what that one seals.
    pub fn opens(&self, other: &Self) -> bool {
        other.sealing().is_some_and(|s| self.held.lock().expect("held").opens(&other.name, &s))
    }

    pub fn error(&self) -> String {
        self.registration.last_error().unwrap_or_default()
    }
}

impl Drop for SimBox {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|t| drop(t.join()));
    }
}

/// No two processes of boxes have ever sealed under one secret.
pub fn audit<'a>(boxes: impl IntoIterator<Item = &'a Held>) {
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    for (process, held) in boxes.into_iter().enumerate() {
        for (generation, secret) in &held.sealed {
            let first = *seen.entry(secret.clone()).or_insert(process);
            assert_eq!(first, process, "two processes have sealed under the secret of generation {generation}");
        }
    }
}

/// Whether any of the texts shows any of the secrets.
pub fn shows(texts: &[String], secrets: &[Vec<u8>]) -> bool {
    texts.iter().map(|t| t.to_lowercase()).any(|text| {
        secrets.iter().any(|secret| {
            let decimal: Vec<_> = secret[..6].iter().map(ToString::to_string).collect();
            text.contains(&hex::encode(&secret[..6]))
                || text.contains(&decimal.join(", "))
                || text.contains(&decimal.join(","))
        })
    })
}

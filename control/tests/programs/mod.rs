//! What the tests of the programs share: a directory with keys and configurations for two boxes, processes.
#![allow(dead_code, reason = "each test takes what it needs")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const BOX: &str = env!("CARGO_BIN_EXE_pdmv2-middlebox");
pub const TOOL: &str = env!("CARGO_BIN_EXE_pdmv2");

/// Two boxes' files.
pub struct Site(pub TempDir);

impl Site {
    /// With a key file, and the same policies in both configurations.
    pub fn new(policies: &str) -> Self {
        let this = Self(tempfile::tempdir().expect("directory"));
        let nodes = ["name=a,side=client,prefix=2001:db8:a::/48", "name=b,side=server,prefix=2001:db8:b::/48"];
        let keys = this.path("pdmv2.keys");
        let mut keygen = Command::new(TOOL);
        keygen.args(["keygen", "--out"]).arg(&keys).args(["--node", nodes[0], "--node", nodes[1]]);
        assert!(keygen.output().expect("keygen").status.success());
        for node in ["a", "b"] {
            this.config(node, "[keys]\nfile = \"pdmv2.keys\"\n", policies);
        }
        this
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes `NODE.toml`.
    pub fn config(&self, node: &str, more: &str, policies: &str) {
        let ports = "[ports.inside]\ndevice = \"net_null0\"\n[ports.outside]\ndevice = \"net_null1\"\n";
        std::fs::write(
            self.path(&format!("{node}.toml")),
            format!("[node]\nname = \"{node}\"\n{ports}{more}{policies}"),
        )
        .expect("configuration");
    }

    /// `pdmv2-middlebox replay --json`.
    pub fn replay(&self, node: &str, arguments: &[&str]) -> Output {
        Command::new(BOX)
            .args(["replay", "--json", "--config", &format!("{node}.toml")])
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .expect("replay")
    }

    /// The counters of a replay that has gone well.
    pub fn counters(&self, node: &str, arguments: &[&str]) -> Value {
        let output = self.replay(node, arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        last_json(&output.stdout)
    }
}

pub fn last_json(stdout: &[u8]) -> Value {
    let text = String::from_utf8_lossy(stdout);
    let json = serde_json::from_str(text.lines().last().unwrap_or_default());
    assert!(json.is_ok(), "{text}");
    json.unwrap_or_default()
}

pub const ENCRYPTED: &str = "[[policy]]\nname = \"all\"\nmode = \"encrypted\"\n";

/// The frames of a capture, as our reader reads it.
pub fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut capture = common::capture::Capture::open(path).expect("capture");
    capture
        .for_each::<common::capture::CaptureError>(|frame| {
            frames.push(frame.data.to_vec());
            Ok(true)
        })
        .expect("frames");
    frames
}

/// A process that is killed when the test ends, however it ends.
pub struct Running(pub Child);

impl Running {
    /// `pdmv2-middlebox run --json` in a directory; its log goes to the file `log`.
    pub fn start(dir: &Path, config: &str, log: &str) -> Self {
        Self::start_with(dir, config, log, &[])
    }

    /// The same, with these in its environment.
    pub fn start_with(dir: &Path, config: &str, log: &str, environment: &[(&str, &Path)]) -> Self {
        let log = std::fs::File::create(dir.join(log)).expect("log");
        let child = Command::new(BOX)
            .args(["run", "--json", "--config", config])
            .envs(environment.iter().copied())
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn();
        Self(child.expect("box"))
    }

    /// `pdmv2-middlebox run --json` with these arguments.
    pub fn start_as(dir: &Path, arguments: &[&str], log: &str) -> Self {
        let log = std::fs::File::create(dir.join(log)).expect("log");
        let mut run = Command::new(BOX);
        run.args(["run", "--json"]).args(arguments).current_dir(dir).stdout(Stdio::piped()).stderr(log);
        Self(run.spawn().expect("box"))
    }

    /// SIGTERM, and what the box prints then.
    pub fn stop(mut self) -> Value {
        self.signal(rustix::process::Signal::TERM);
        let mut stdout = Vec::new();
        std::io::Read::read_to_end(self.0.stdout.as_mut().expect("stdout"), &mut stdout).expect("output");
        assert!(self.0.wait().expect("status").success());
        last_json(&stdout)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal).expect("signal");
    }

    /// As kill -9.
    pub fn kill(mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("status");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait()); // gone already, most of the time
    }
}

/// `promtool check metrics` (Prometheus' own tool) finds nothing.
pub fn promtool(text: &str) {
    let Some(said) = prometheus_says("promtool", Path::new("."), &["check", "metrics"], text) else { return };
    assert!(said.is_empty(), "{said}\n{text}");
}

/// A program of Prometheus' does what it is asked in a directory. Where there is none, only CI insists on it.
pub fn prometheus_tool(program: &str, dir: &Path, arguments: &[&str]) {
    prometheus_says(program, dir, arguments, "");
}

/// What it says, when it succeeds; `None`: it is not there.
fn prometheus_says(program: &str, dir: &Path, arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            let insists = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!insists, "{program}: {error}; .ci/setup.sh installs it (package prometheus)");
            eprintln!("{program}: {error}: left out: {program} {}", arguments.join(" "));
            return None;
        }
    };
    // Its standard input is closed when it has been written.
    let written = child.stdin.take().map(|mut pipe| std::io::Write::write_all(&mut pipe, input.as_bytes()));
    let output = child.wait_with_output().expect(program);
    assert!(written.is_some_and(|written| written.is_ok()), "{program} does not read: {output:?}");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
    Some(said)
}

/// Waits until it holds; a bound on a hang, not a measurement.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} has not come in a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

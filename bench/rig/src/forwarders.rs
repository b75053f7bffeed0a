//! What stands between the hosts and the wire: our boxes, or `dpdk-testpmd`, which forwards without looking.

use crate::command;
use crate::registrars::in_rig;
use crate::running::{Running, START};
use crate::side::Side;
use crate::topology::Rig;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The inside port of a box that has a wire to its host: [`Rig::slow_inside`].
pub const INSIDE: &str = "net_af_packet1,iface=i0,framecnt=4096";

/// Where a box has its keys from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Keys {
    /// It runs without.
    #[default]
    Nowhere,
    /// A key file.
    File(PathBuf),
    /// The registrar of its side: [`Rig::registrars`].
    Registrar,
}

/// A box's configuration file, as far as runs differ in it.
#[derive(Clone, Debug)]
pub struct BoxConfig {
    /// The core of its one worker.
    pub core: usize,
    /// What the worker does without packets: `poll`, `yield` or `sleep`.
    pub idle: &'static str,
    /// Where it has its keys from.
    pub keys: Keys,
    /// How many registrars its side has.
    pub registrars: u16,
    /// Its inside port, in place of a tap.
    pub inside: Option<&'static str>,
    /// Whether its outside port is of a driver that writes a time of receipt beside each packet, and these are used.
    pub stamped: bool,
    /// The port of its metrics on every address of its namespace: that of the registrars' link too, where there is one.
    pub telemetry: Option<u16>,
    /// Whether its page, and what else it answers, is there too.
    pub admin: bool,
    /// Its admin socket, beside which another process of it takes over.
    pub socket: Option<PathBuf>,
    /// Where each (key, nonce) is recorded.
    pub audit: Option<PathBuf>,
    /// `[forwarding]`, without its heading.
    pub forwarding: String,
    /// The `[[policy]]` sections.
    pub policies: String,
}

impl Default for BoxConfig {
    /// Everything encrypted, no keys yet, one worker that gives way: two boxes and two hosts share few cores.
    fn default() -> Self {
        Self {
            core: 0,
            idle: "yield",
            keys: Keys::Nowhere,
            registrars: 1,
            inside: None,
            stamped: false,
            telemetry: None,
            admin: false,
            socket: None,
            audit: None,
            forwarding: String::new(),
            policies: "[[policy]]\nname = \"all\"\nmode = \"encrypted\"\n".to_owned(),
        }
    }
}

impl BoxConfig {
    /// The text for one side's box.
    #[must_use]
    pub fn text(&self, rig: &Rig, side: Side) -> String {
        let quoted: Vec<_> = eal(side, self.core).iter().map(|a| format!("\"{a}\"")).collect();
        let [tap, outside] = devices(side);
        let inside = self.inside.map_or(tap, str::to_owned);
        let (outside, ports) = if self.stamped {
            (format!("net_pcap0,rx_iface_in={0},tx_iface={0}", side.wire()), "[ports]\ntimestamps = \"auto\"\n\n")
        } else {
            (outside, "")
        };
        let mut text = format!(
            "[node]\nname = \"{node}\"\n\n[eal]\nargs = [{args}]\n\n{ports}[ports.inside]\ndevice = \"{inside}\"\n\n\
             [ports.outside]\ndevice = \"{outside}\"\n\n[workers]\ncores = [{core}]\nidle = \"{idle}\"\n\n\
             [forwarding]\n{forwarding}\n",
            node = side.node(),
            args = quoted.join(", "),
            core = self.core,
            idle = self.idle,
            forwarding = self.forwarding,
        );
        match &self.keys {
            Keys::Nowhere => {}
            Keys::File(file) => {
                let _ = writeln!(text, "[keys]\nfile = \"{}\"\n", file.display());
            }
            Keys::Registrar => text += &in_rig::sections(rig, side, self.registrars),
        }
        text += "[telemetry]\nlog_level = \"debug\"\n";
        if let Some(port) = self.telemetry {
            let _ = writeln!(text, "listen = \"0.0.0.0:{port}\"\nadmin = {}\n", self.admin);
        }
        if let Some(socket) = &self.socket {
            let _ = writeln!(text, "[admin]\nsocket = \"{}\"\n", socket.display());
        }
        if let Some(audit) = &self.audit {
            let _ = writeln!(text, "[audit]\nfile = \"{}\"\n", audit.display());
        }
        text + &self.policies
    }
}

/// No hugepages, no hardware, nothing shared with other DPDK processes.
fn eal(side: Side, core: usize) -> Vec<String> {
    let prefix = format!("--file-prefix={}", side.node());
    let core = core.to_string();
    ["-l", &core, "--no-huge", "-m", "256", "--no-shconf", "--iova-mode=va", "--no-pci", "--no-telemetry", &prefix]
        .map(str::to_owned)
        .to_vec()
}

/// Inside and outside. The wire's receive ring is longer than the driver's 512 frames: on few cores a box waits for its
/// turn longer than those last.
fn devices(side: Side) -> [String; 2] {
    [format!("net_tap0,iface={}", side.tap()), format!("net_af_packet0,iface={},framecnt=4096", side.wire())]
}

impl Rig {
    /// Writes a box's configuration; gives its place.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self, side: Side, config: &BoxConfig) -> Result<PathBuf> {
        let path = self.dir().join(format!("{}.toml", side.node()));
        std::fs::write(&path, config.text(self, side)).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Makes a key file for both boxes with the program `pdmv2`.
    ///
    /// # Errors
    /// The program is missing or fails.
    pub fn keygen(&self, pdmv2: &Path) -> Result<PathBuf> {
        let path = self.dir().join("pdmv2.keys");
        let (out, program) = (path.display().to_string(), pdmv2.display().to_string());
        let node = |side: Side, role| format!("name={},side={role},prefix={}", side.node(), side.prefix());
        let (a, b) = (node(Side::A, "client"), node(Side::B, "server"));
        command::check(&[&program, "keygen", "--out", &out, "--node", &a, "--node", &b], Duration::from_secs(30))?;
        Ok(path)
    }

    /// Starts a box on one side, waits until it forwards, and attaches the host, still silent.
    ///
    /// # Errors
    /// The box does not start; with what it said.
    pub fn start_box(&self, side: Side, program: &Path, config: &Path) -> Result<Running> {
        let (program, config) = (program.display().to_string(), config.display().to_string());
        let args = [program.as_str(), "run", "--json", "--config", &config];
        let mut running = self.place(side).start(side.node(), &args, self.dir())?;
        running.wait_for("ready: forwarding", START)?;
        self.attach(side)?;
        Ok(running)
    }

    /// Starts `dpdk-testpmd` in a box's place on one core, waits until it forwards, and attaches the host, still silent.
    ///
    /// # Errors
    /// It is missing (package dpdk-dev) or does not start.
    pub fn start_testpmd(&self, side: Side, core: usize) -> Result<Running> {
        let mut args: Vec<String> = ["stdbuf", "-oL", "dpdk-testpmd"].map(str::to_owned).to_vec();
        args.extend(eal(side, core));
        // It wants an lcore for itself beside the one that forwards; it only sleeps there.
        if let Some(cores) = args.iter_mut().skip_while(|a| *a != "-l").nth(1) {
            *cores = format!("0@{core},1@{core}");
        }
        args.iter_mut().filter(|a| *a == "-l").for_each(|a| "--lcores".clone_into(a));
        for device in devices(side) {
            args.extend(["--vdev".to_owned(), device]);
        }
        args.extend(["--", "--forward-mode=io", "--auto-start", "--total-num-mbufs=16384"].map(str::to_owned));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let mut running = self.place(side).start(&format!("testpmd-{}", side.tap()), &args, self.dir())?;
        running.wait_for("Press enter to exit", START).context("dpdk-testpmd is in the package dpdk-dev")?;
        self.attach(side)?;
        Ok(running)
    }
}

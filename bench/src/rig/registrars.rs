//! Two registrars, one on each side, each side with an authority of its own: in the namespaces of a [`Rig`], with a link
//! between them beside the wire, or simply on loopback. What has to do with certificates, configurations and processes is
//! here once, for the demo, the end-to-end tests and the registrars' own.

use super::boxes::START;
use super::command::{self, Finished, Running};
use super::{Rig, Side};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The registrars' names, by side; the first is the client primary.
pub const NAMES: [&str; 2] = ["west", "east"];
/// What each side may speak for.
const PREFIXES: [&str; 2] = ["2001:db8:a::/48", "2001:db8:b::/48"];
/// For a command that asks a registrar, or makes a certificate.
const SOON: Duration = Duration::from_secs(60);
/// The ends of the registrars' link.
const LINKS: [&str; 2] = ["m0", "m1"];

/// Where a registrar is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address that it listens on, and is reached by.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The network namespace; `None`: this process's.
    pub namespace: Option<String>,
    /// The port of its metrics on its namespace's loopback.
    pub telemetry: Option<u16>,
}

/// Two registrars' certificates, configurations and processes. Killed when dropped.
#[derive(Debug)]
pub struct Registrars {
    pdmv2: PathBuf,
    dir: PathBuf,
    places: [Place; 2],
    running: [Option<Running>; 2],
    /// How often each has been started.
    starts: [u32; 2],
    /// `[[node]]` sections, by side.
    nodes: [String; 2],
    /// More lines for each `[[peer]]`, by side.
    pub peer_lines: [String; 2],
    /// The lines of `[generations]`.
    pub times: String,
    /// Where the client primary looks for the other, when that is not where it is.
    pub detour: Option<(String, u16)>,
    /// Where a registrar that is started is to be killed (`PDMV2_FAULT`).
    pub fault: Option<&'static str>,
}

impl Registrars {
    /// Makes authorities, certificates and secrets in `dir`. Nothing runs yet.
    ///
    /// # Errors
    /// The program `pdmv2` is missing or fails.
    pub fn new(pdmv2: &Path, dir: &Path, places: [Place; 2]) -> Result<Self> {
        let this = Self {
            pdmv2: pdmv2.to_owned(),
            dir: dir.to_owned(),
            running: [None, None],
            starts: [0; 2],
            nodes: Default::default(),
            peer_lines: Default::default(),
            times: "coalesce = \"100ms\"\nack_timeout = \"5s\"\n".into(),
            detour: None,
            fault: None,
            places,
        };
        for (name, place) in NAMES.iter().zip(&this.places) {
            let authority = format!("pki-{name}");
            this.ok(&["pki", "init", "--dir", &authority])?;
            this.ok(&["pki", "issue", "--dir", &authority, "--registrar", name, "--host", &place.host])?;
            this.ok(&["pki", "secret", "--out", &format!("{name}.state.key")])?;
        }
        Ok(this)
    }

    /// A file's place.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs the program `pdmv2` in the directory.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn pdmv2(&self, args: &[&str]) -> Result<Finished> {
        let (dir, program) = (self.dir.display().to_string(), self.pdmv2.display().to_string());
        command::run(&[&["env", "-C", &dir, &program], args].concat(), SOON)
    }

    /// As [`Registrars::pdmv2`]; gives what it wrote.
    ///
    /// # Errors
    /// And when it fails.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let finished = self.pdmv2(args)?;
        if !finished.status.success() {
            bail!("'pdmv2 {}' failed ({}): {}", args.join(" "), finished.status, finished.stderr);
        }
        Ok(finished.stdout)
    }

    /// Issues a box's certificate (`NAME.crt`, `NAME.key`), and grants it its id and prefix.
    ///
    /// # Errors
    /// The program `pdmv2` fails.
    pub fn add_node(&mut self, side: usize, name: &str, id: &str, prefix: &str) -> Result<()> {
        self.ok(&["pki", "issue", "--dir", &format!("pki-{}", NAMES[side]), "--node", name])?;
        self.grant(side, name, id, prefix);
        Ok(())
    }

    /// A box's place in the configuration alone. In scope client, a box of the client side has the first two addresses of its
    /// prefix as clients.
    pub fn grant(&mut self, side: usize, name: &str, id: &str, prefix: &str) {
        self.nodes[side] += &format!("[[node]]\nname = \"{name}\"\nid = \"{id}\"\nprefixes = [\"{prefix}\"]\n");
        if side == 0 && self.peer_lines[0].contains("scope = \"client\"") {
            let network = prefix.split('/').next().unwrap_or_default();
            self.nodes[side] += &format!("clients = [\"{network}1\", \"{network}2\"]\n");
        }
    }

    /// What a box's configuration says of registration.
    #[must_use]
    pub fn box_sections(&self, side: usize, name: &str, id: &str) -> String {
        box_sections(&self.dir, side, &self.places[side], name, id)
    }

    /// Where a side's registrar is.
    #[must_use]
    pub const fn place(&self, side: usize) -> &Place {
        &self.places[side]
    }

    fn config(&self, side: usize) -> String {
        let (me, other, place) = (NAMES[side], NAMES[1 - side], &self.places[side]);
        let there = &self.places[1 - side];
        let role = if side == 0 {
            let (host, port) = self.detour.clone().unwrap_or_else(|| (there.host.clone(), there.port));
            format!("role = \"client\"\naddress = \"{host}:{port}\"")
        } else {
            "role = \"server\"".into()
        };
        let telemetry = place.telemetry.map(|port| format!("listen = \"127.0.0.1:{port}\"\n")).unwrap_or_default();
        format!(
            "[registrar]\nname = \"{me}\"\nlisten = \"{}:{}\"\nstate = \"{me}.state\"\nstate_key = \
             \"{me}.state.key\"\nstatic_key = \"{me}.static\"\nadmin = \"{me}.socket\"\n[tls]\nca = \
             \"pki-{me}/ca.crt\"\ncrl = \"pki-{me}/ca.crl\"\ncertificate = \"{me}.crt\"\nkey = \"{me}.key\"\n[[peer]]\n\
             name = \"{other}\"\n{role}\nstatic_keys = \"{other}.static.pub\"\nca = \"pki-{other}/ca.crt\"\ncrl = \
             \"pki-{other}/ca.crl\"\nprefixes = [\"{}\"]\n{}\n{}[generations]\n{}[telemetry]\n{telemetry}log_level = \
             \"debug\"\n",
            place.host,
            place.port,
            PREFIXES[1 - side],
            self.peer_lines[side],
            self.nodes[side],
            self.times
        )
    }

    /// Writes a registrar's configuration; gives its place.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self, side: usize) -> Result<PathBuf> {
        let path = self.path(&format!("{}.toml", NAMES[side]));
        std::fs::write(&path, self.config(side)).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a side's registrar.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self, side: usize) -> Result<()> {
        let (program, config) = (self.pdmv2.display().to_string(), self.configure(side)?.display().to_string());
        let mut args: Vec<&str> = Vec::new();
        if let Some(namespace) = &self.places[side].namespace {
            args.extend(["ip", "netns", "exec", namespace]);
        }
        let fault = self.fault.map(|place| format!("PDMV2_FAULT={place}"));
        args.push("env");
        args.extend(fault.as_deref());
        args.extend([&program, "registrar", "run", "--config", &config]);
        self.starts[side] += 1;
        let running = Running::start(&self.process(side, self.starts[side]), &args, &self.dir)?;
        self.running[side] = Some(running);
        Ok(())
    }

    /// Starts a side's registrar, and waits until it listens.
    ///
    /// # Errors
    /// It does not come up; with what it said.
    pub fn start_and_wait(&mut self, side: usize) -> Result<()> {
        self.start(side)?;
        let running = self.running[side].as_mut().context("it has just been started")?;
        running.wait_for(" ready ", START).map(drop)
    }

    /// Starts both, and waits until both listen.
    ///
    /// # Errors
    /// One does not come up; with what it said.
    pub fn start_both(&mut self) -> Result<()> {
        (0..2).try_for_each(|side| self.start_and_wait(side))
    }

    /// Each start of a registrar has a log of its own.
    fn process(&self, side: usize, start: u32) -> String {
        format!("registrar-{}-{start}", NAMES[side])
    }

    /// kill -9.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(&mut self, side: usize) -> Result<()> {
        match self.running[side].take() {
            Some(mut running) => running.stop(Signal::KILL, SOON).map(drop),
            None => Ok(()),
        }
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self, side: usize) -> bool {
        self.running[side].as_mut().is_some_and(|running| running.poll().is_ok_and(|status| status.is_some()))
    }

    /// The registrar's process; 0: none.
    #[must_use]
    pub fn pid(&self, side: usize) -> u32 {
        self.running[side].as_ref().map_or(0, Running::pid)
    }

    /// What a side's registrar has logged since the first start.
    #[must_use]
    pub fn log(&self, side: usize) -> String {
        let of = |start| std::fs::read_to_string(self.path(&format!("{}.log", self.process(side, start))));
        (1..=self.starts[side]).filter_map(|start| of(start).ok()).collect()
    }

    /// `pdmv2 registrar status --json`.
    ///
    /// # Errors
    /// The registrar does not answer.
    pub fn status(&self, side: usize) -> Result<Value> {
        let config = format!("{}.toml", NAMES[side]);
        let text = self.ok(&["registrar", "status", "--json", "--config", &config])?;
        let mut answer: Value = serde_json::from_str(&text).context("a registrar's status is no JSON")?;
        Ok(answer["status"].take())
    }

    /// `pdmv2 registrar rotate`: a new generation is due.
    ///
    /// # Errors
    /// The registrar does not answer.
    pub fn rotate(&self, side: usize) -> Result<()> {
        self.ok(&["registrar", "rotate", "--config", &format!("{}.toml", NAMES[side])]).map(drop)
    }

    /// The generation that both sides and all their boxes seal under, when that is so and nothing new is due.
    ///
    /// # Errors
    /// A registrar does not answer.
    pub fn generation(&self) -> Result<Option<u32>> {
        let sides = [self.status(0)?, self.status(1)?];
        let settled = |status: &Value| {
            let peer = &status["peers"][0];
            let active = peer["active"].as_u64().filter(|&n| n > 0)?;
            let nodes = peer["nodes"].as_array()?;
            let good = peer["connected"].as_bool()?
                && peer["due"].is_null()
                && peer["generations"].as_array()?.last()?["number"].as_u64()? == active
                && !nodes.is_empty()
                && nodes.iter().all(|n| n["connected"] == true && n["seals"] == active && n["opens"] == active);
            good.then_some(active as u32)
        };
        Ok(settled(&sides[0]).filter(|_| settled(&sides[0]) == settled(&sides[1])))
    }

    /// Waits until both sides and all their boxes, of which these are some, seal under one generation, above the one
    /// given; gives it.
    ///
    /// # Errors
    /// That does not come about within `limit`; with what the registrars said.
    pub fn settle(&self, boxes: &[&Running], above: u32, limit: Duration) -> Result<u32> {
        let settled = command::until(limit, || {
            // While a registrar is coming up it does not answer.
            let generation = self.generation().ok().flatten().filter(|&g| g > above);
            Ok(generation.filter(|g| boxes.iter().all(|running| sealing(running) == Some(*g))))
        })?;
        settled.with_context(|| {
            let tail = |log: &str| log.lines().rev().take(15).collect::<Vec<_>>().join("\n");
            let boxes: Vec<_> = boxes.iter().map(|b| b.tail()).collect();
            format!(
                "not all boxes seal under one generation above {above} within {limit:?}\nwest, last first:\n{}\neast, \
                 last first:\n{}\n{}",
                tail(&self.log(0)),
                tail(&self.log(1)),
                boxes.join("\n---\n")
            )
        })
    }
}

impl Place {
    /// On this machine's loopback.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self { host: "127.0.0.1".into(), port, namespace: None, telemetry: None }
    }
}

/// The generation that a box has said last that it seals under, as its registrar counts.
#[must_use]
pub fn sealing(running: &Running) -> Option<u32> {
    let log = running.log();
    let line = log.lines().rev().find(|l| l.contains("sealing under a new generation"))?;
    let number = line.split_once("generation=")?.1;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What a box's configuration says of registration: the files are those of [`Registrars::new`] and
/// [`Registrars::add_node`] in `dir`.
fn box_sections(dir: &Path, side: usize, place: &Place, name: &str, id: &str) -> String {
    let at = dir.display();
    format!(
        "[registration]\nregistrars = [\"{}:{}\"]\nid = \"{id}\"\n[tls]\nca = \"{at}/pki-{}/ca.crt\"\ncertificate = \
         \"{at}/{name}.crt\"\nkey = \"{at}/{name}.key\"\n",
        place.host, place.port, NAMES[side]
    )
}

/// Where a rig's registrar is: with its side's box, on a link of its own.
fn place(rig: &Rig, side: Side) -> Place {
    let host = ["198.51.100.1", "198.51.100.2"][side.index()].to_owned();
    Place { host, port: 7447, namespace: Some(rig.place(side).name().to_owned()), telemetry: Some(9470) }
}

/// What the configuration of a rig's box says of registration.
#[must_use]
pub fn rig_sections(rig: &Rig, side: Side) -> String {
    box_sections(rig.dir(), side.index(), &place(rig, side), side.node(), side.address())
}

impl Rig {
    /// Makes a link between the places of the two boxes, beside the wire, and what registrars and boxes need to talk over
    /// it: certificates, and configurations with both boxes. No registrar runs yet.
    ///
    /// # Errors
    /// The program `pdmv2` is missing or fails; there is such a link.
    pub fn registrars(&self, pdmv2: &Path) -> Result<Registrars> {
        let [a, b] = Side::BOTH.map(|side| self.place(side));
        a.ip(&format!("link add {} type veth peer name {} netns {}", LINKS[0], LINKS[1], b.name()))?;
        let places = Side::BOTH.map(|side| place(self, side));
        for ((namespace, link), place) in [a, b].iter().zip(LINKS).zip(&places) {
            namespace.ip(&format!("addr add {}/24 dev {link}", place.host))?;
            namespace.ip(&format!("link set {link} up"))?;
        }
        let mut registrars = Registrars::new(pdmv2, self.dir(), places)?;
        for side in Side::BOTH {
            registrars.add_node(side.index(), side.node(), side.address(), side.prefix())?;
        }
        Ok(registrars)
    }

    /// Takes the link between the registrars away, or gives it back. Each still has its own box.
    ///
    /// # Errors
    /// There are no registrars.
    pub fn link_registrars(&self, up: bool) -> Result<()> {
        self.place(Side::A).ip(&format!("link set {} {}", LINKS[0], if up { "up" } else { "down" })).map(drop)
    }
}

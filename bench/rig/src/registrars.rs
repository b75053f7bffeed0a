//! Two registrars, one on each side (or more, on etcd), each side with an authority of its own: in the namespaces of a
//! [`Rig`](crate::Rig), with a link between them beside the wire, or simply on loopback. What has to do with certificates,
//! configurations and processes is here once, for the demo, the end-to-end tests and the registrars' own.

pub(crate) mod in_rig;
pub mod place;

use crate::command::{self, Finished};
use crate::running::{Running, START};
use anyhow::{Context, Result, bail};
use place::box_sections;
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use place::{NAMES, Place};

/// What each side may speak for.
const PREFIXES: [&str; 2] = ["2001:db8:a::/48", "2001:db8:b::/48"];
/// For a command that asks a registrar, or makes a certificate.
const SOON: Duration = Duration::from_secs(60);

/// One registrar.
#[derive(Debug)]
struct One {
    /// That of its configuration, its socket and its logs; its member name on etcd.
    name: String,
    side: usize,
    place: Place,
    running: Option<Running>,
    /// How often it has been started.
    starts: u32,
}

/// Registrars' certificates, configurations and processes, by number: the first of each side has the side's. Killed when
/// dropped.
#[derive(Debug)]
pub struct Registrars {
    pdmv2: PathBuf,
    dir: PathBuf,
    all: Vec<One>,
    /// `[[node]]` sections, by side.
    nodes: [String; 2],
    /// More lines for each `[[peer]]`, by side.
    pub peer_lines: [String; 2],
    /// The lines of `[generations]`.
    pub times: String,
    /// `[etcd]` of a side's registrars, without what each has for itself; `None`: the side has one, with a file.
    pub etcd: [Option<String>; 2],
    /// Where the client primary looks for the other, when that is not where it is.
    pub detour: Option<(String, u16)>,
    /// Where a registrar that is started is to be killed (`PDMV2_FAULT`).
    pub fault: Option<&'static str>,
    /// What stands in front of a side's programs: another program that starts them elsewhere.
    pub within: [Vec<String>; 2],
    /// How many files a registrar that is started may have open; `None`: as many as this process.
    pub files: Option<u32>,
}

impl Registrars {
    /// Makes authorities, certificates and secrets in `dir`. Nothing runs yet.
    ///
    /// # Errors
    /// The program `pdmv2` is missing or fails.
    pub fn new(pdmv2: &Path, dir: &Path, places: [Place; 2]) -> Result<Self> {
        let mut this = Self {
            pdmv2: pdmv2.to_owned(),
            dir: dir.to_owned(),
            all: Vec::new(),
            nodes: Default::default(),
            peer_lines: Default::default(),
            times: "coalesce = \"100ms\"\nack_timeout = \"5s\"\n".into(),
            detour: None,
            etcd: [None, None],
            fault: None,
            within: Default::default(),
            files: None,
        };
        for (side, (name, place)) in NAMES.into_iter().zip(places).enumerate() {
            let authority = format!("pki-{name}");
            this.ok(&["pki", "init", "--dir", &authority])?;
            this.ok(&["pki", "issue", "--dir", &authority, "--registrar", name, "--host", &place.host])?;
            this.ok(&["pki", "secret", "--out", &format!("{name}.state.key")])?;
            this.all.push(One { name: name.into(), side, place, running: None, starts: 0 });
        }
        Ok(this)
    }

    /// One more registrar of a side that is on etcd, where the side's first is, at another port; gives its number.
    pub fn add(&mut self, side: usize, port: u16) -> usize {
        let name = format!("{}-{}", NAMES[side], self.of(side).count() + 1);
        let place = Place { port, telemetry: None, ..self.all[side].place.clone() };
        self.all.push(One { name, side, place, running: None, starts: 0 });
        self.all.len() - 1
    }

    /// The numbers of a side's registrars.
    pub fn of(&self, side: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.all.len()).filter(move |&n| self.all[n].side == side)
    }

    /// The registrar that leads a side, by its number; `None`: none that runs says that it does.
    #[must_use]
    pub fn leader(&self, side: usize) -> Option<usize> {
        self.of(side)
            .filter(|&n| self.all[n].running.is_some())
            .find(|&n| self.status(n).is_ok_and(|status| status["role"] == "leader"))
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
        let places: Vec<_> = self.of(side).map(|n| self.all[n].place.clone()).collect();
        box_sections(&self.dir, side, &places, name, id)
    }

    /// Where a registrar is.
    #[must_use]
    pub fn place(&self, number: usize) -> &Place {
        &self.all[number].place
    }

    /// A registrar's name, which is its configuration's too.
    #[must_use]
    pub fn name(&self, number: usize) -> &str {
        &self.all[number].name
    }

    fn config(&self, number: usize) -> String {
        let One { name, side, place, .. } = &self.all[number];
        let (side, me, other) = (*side, NAMES[*side], NAMES[1 - side]);
        let role = if side == 0 {
            let there: Vec<_> = match &self.detour {
                Some((host, port)) => vec![format!("\"{host}:{port}\"")],
                None => self.of(1).map(|n| format!("\"{}\"", self.all[n].place.address())).collect(),
            };
            format!("role = \"client\"\naddress = [{}]", there.join(", "))
        } else {
            "role = \"server\"".into()
        };
        let telemetry = place.telemetry.map(|port| format!("listen = \"{}:{port}\"\n", place.telemetry_host()));
        let telemetry = telemetry.unwrap_or_default();
        let address = place.address();
        let (state, etcd) = match &self.etcd[side] {
            Some(lines) => ("", format!("[etcd]\n{lines}member = \"{name}\"\naddress = \"{address}\"\n")),
            None => (&*format!("state = \"{me}.state\"\n"), String::new()),
        };
        format!(
            "[registrar]\nname = \"{me}\"\nlisten = \"{address}\"\n{state}state_key = \
             \"{me}.state.key\"\nstatic_key = \"{me}.static\"\nadmin = \"{name}.socket\"\n{etcd}[tls]\nca = \
             \"pki-{me}/ca.crt\"\ncrl = \"pki-{me}/ca.crl\"\ncertificate = \"{me}.crt\"\nkey = \"{me}.key\"\n[[peer]]\n\
             name = \"{other}\"\n{role}\nstatic_keys = \"{other}.static.pub\"\nca = \"pki-{other}/ca.crt\"\ncrl = \
             \"pki-{other}/ca.crl\"\nprefixes = [\"{}\"]\n{}\n{}[generations]\n{}[telemetry]\n{telemetry}log_level = \
             \"debug\"\n",
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
    pub fn configure(&self, number: usize) -> Result<PathBuf> {
        let path = self.path(&format!("{}.toml", self.all[number].name));
        std::fs::write(&path, self.config(number)).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a registrar.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self, number: usize) -> Result<()> {
        let (program, config) = (self.pdmv2.display().to_string(), self.configure(number)?.display().to_string());
        let mut args: Vec<&str> = Vec::new();
        if let Some(namespace) = &self.all[number].place.namespace {
            args.extend(["ip", "netns", "exec", namespace]);
        }
        let limit = self.files.map(|files| format!("ulimit -n {files} && exec \"$0\" \"$@\""));
        if let Some(limit) = &limit {
            args.extend(["sh", "-c", limit]);
        }
        let fault = self.fault.map(|place| format!("PDMV2_FAULT={place}"));
        args.extend(self.within[self.all[number].side].iter().map(String::as_str));
        args.push("env");
        args.extend(fault.as_deref());
        args.extend([&program, "registrar", "run", "--config", &config]);
        // Each start has a log of its own.
        let (name, starts) = (&self.all[number].name, self.all[number].starts + 1);
        let running = Running::start(&format!("registrar-{name}-{starts}"), &args, &self.dir)?;
        let one = &mut self.all[number];
        (one.running, one.starts) = (Some(running), starts);
        Ok(())
    }

    /// Starts a side's registrar, and waits until it listens.
    ///
    /// # Errors
    /// It does not come up; with what it said.
    pub fn start_and_wait(&mut self, number: usize) -> Result<()> {
        self.start(number)?;
        let running = self.all[number].running.as_mut().context("it has just been started")?;
        running.wait_for(" ready ", START).map(drop)
    }

    /// Starts all, and waits until all listen.
    ///
    /// # Errors
    /// One does not come up; with what it said.
    pub fn start_both(&mut self) -> Result<()> {
        (0..self.all.len()).try_for_each(|number| self.start_and_wait(number))
    }

    /// kill -9.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        self.stop(number, Signal::KILL)
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self, number: usize, signal: Signal) -> Result<()> {
        match self.all[number].running.take() {
            Some(mut running) => running.stop(signal, SOON).map(drop),
            None => Ok(()),
        }
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self, number: usize) -> bool {
        self.all[number].running.as_mut().is_some_and(|running| running.poll().is_ok_and(|status| status.is_some()))
    }

    /// A registrar's process; 0: none.
    #[must_use]
    pub fn pid(&self, number: usize) -> u32 {
        self.all[number].running.as_ref().map_or(0, Running::pid)
    }

    /// What a registrar has logged since the first start.
    #[must_use]
    pub fn log(&self, number: usize) -> String {
        let one = &self.all[number];
        let of = |start| std::fs::read_to_string(self.path(&format!("registrar-{}-{start}.log", one.name)));
        (1..=one.starts).filter_map(|start| of(start).ok()).collect()
    }

    /// `pdmv2 registrar status --json`.
    ///
    /// # Errors
    /// The registrar does not answer.
    pub fn status(&self, number: usize) -> Result<Value> {
        let config = format!("{}.toml", self.all[number].name);
        let text = self.ok(&["registrar", "status", "--json", "--config", &config])?;
        let mut answer: Value = serde_json::from_str(&text).context("a registrar's status is no JSON")?;
        Ok(answer["status"].take())
    }

    /// `pdmv2 registrar rotate`: a new generation is due.
    ///
    /// # Errors
    /// The registrar does not answer.
    pub fn rotate(&self, number: usize) -> Result<()> {
        self.ok(&["registrar", "rotate", "--config", &format!("{}.toml", self.all[number].name)]).map(drop)
    }

    /// The generation that both sides and all their boxes seal under, when that is so and nothing new is due.
    ///
    /// # Errors
    /// A registrar does not answer.
    pub fn generation(&self) -> Result<Option<u32>> {
        let [Some(west), Some(east)] = [0, 1].map(|side| self.leader(side)) else { return Ok(None) };
        let sides = [self.status(west)?, self.status(east)?];
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
            let logs = (0..self.all.len()).map(|n| format!("{}, last first:\n{}\n", self.name(n), tail(&self.log(n))));
            format!(
                "not all boxes seal under one generation above {above} within {limit:?}\n{}{}",
                logs.collect::<String>(),
                boxes.join("\n---\n")
            )
        })
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

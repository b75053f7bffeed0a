//! An etcd of three members on the loopback of a network namespace, for several registrars of one side.

use crate::command::{self, Finished};
use crate::running::Running;
use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many there are.
pub const MEMBERS: usize = 3;
/// For what etcd does in a moment.
const SOON: Duration = Duration::from_secs(20);

/// The members' processes. Killed when dropped.
#[derive(Debug)]
pub struct Etcd {
    dir: PathBuf,
    namespace: Option<String>,
    /// For clients, then among the members.
    ports: [u16; 2 * MEMBERS],
    members: [Option<Running>; MEMBERS],
    starts: u32,
    /// More arguments of each member; with TLS for clients when there are some.
    pub tls: Vec<String>,
    /// More arguments of `etcdctl`.
    pub ctl: Vec<String>,
}

impl Etcd {
    /// Nothing runs yet; `namespace` `None`: this process's.
    #[must_use]
    pub fn new(dir: &Path, namespace: Option<&str>, ports: [u16; 2 * MEMBERS]) -> Self {
        let namespace = namespace.map(str::to_owned);
        let members = [const { None }; MEMBERS];
        Self { dir: dir.to_owned(), namespace, ports, members, starts: 0, tls: Vec::new(), ctl: Vec::new() }
    }

    /// Where a member is asked.
    #[must_use]
    pub fn url(&self, n: usize) -> String {
        format!("{}://127.0.0.1:{}", if self.tls.is_empty() { "http" } else { "https" }, self.ports[n])
    }

    /// The line of a registrar's `[etcd]` that names them.
    #[must_use]
    pub fn lines(&self) -> String {
        let endpoints: Vec<_> = (0..MEMBERS).map(|n| format!("\"{}\"", self.url(n))).collect();
        format!("endpoints = [{}]\n", endpoints.join(", "))
    }

    fn line<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let inside = self.namespace.as_deref().map(|namespace| ["ip", "netns", "exec", namespace]);
        inside.into_iter().flatten().chain(args.iter().copied()).collect()
    }

    /// Starts a member, with what it has kept.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self, n: usize) -> Result<()> {
        let peer = |m: usize| format!("http://127.0.0.1:{}", self.ports[MEMBERS + m]);
        let cluster: Vec<_> = (0..MEMBERS).map(|m| format!("m{m}={}", peer(m))).collect();
        let (name, cluster, url, peer) = (format!("m{n}"), cluster.join(","), self.url(n), peer(n));
        let data = self.dir.join(format!("etcd-{n}")).display().to_string();
        let mut args = self.line(&["etcd", "--name", &name, "--data-dir", &data]);
        args.extend(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        args.extend(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        args.extend(["--initial-cluster", &cluster, "--initial-cluster-state", "new"]);
        args.extend(self.tls.iter().map(String::as_str));
        let log = format!("etcd-{n}-{}", self.starts);
        let running = Running::start(&log, &args, &self.dir).context("etcd is in the package etcd-server")?;
        self.starts += 1;
        self.members[n] = Some(running);
        Ok(())
    }

    /// Starts all, and waits until they have a leader.
    ///
    /// # Errors
    /// They cannot be started, or do not agree; with what one said.
    pub fn start_all(&mut self) -> Result<()> {
        (0..MEMBERS).try_for_each(|n| self.start(n))?;
        let led = command::until(SOON, || Ok(self.leader()))?;
        let said = || self.members[0].as_ref().map(Running::tail).unwrap_or_default();
        led.with_context(|| format!("etcd has no leader within {SOON:?}:\n{}", said())).map(drop)
    }

    /// kill -9.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(&mut self, n: usize) -> Result<()> {
        match self.members[n].take() {
            Some(mut running) => running.stop(Signal::KILL, SOON).map(drop),
            None => Ok(()),
        }
    }

    /// As [`Etcd::kill`], all of them.
    ///
    /// # Errors
    /// One does not end.
    pub fn kill_all(&mut self) -> Result<()> {
        (0..MEMBERS).try_for_each(|n| self.kill(n))
    }

    /// Runs `etcdctl`.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn ctl(&self, args: &[&str]) -> Result<Finished> {
        let endpoints: Vec<_> = (0..MEMBERS).map(|n| self.url(n)).collect();
        let endpoints = endpoints.join(",");
        let mut line = self.line(&["env", "ETCDCTL_API=3", "etcdctl", "--endpoints", &endpoints]);
        line.extend(self.ctl.iter().map(String::as_str));
        line.extend(args);
        command::run(&line, SOON).context("etcdctl is in the package etcd-client")
    }

    /// As [`Etcd::ctl`]; gives what it wrote.
    ///
    /// # Errors
    /// And when it fails.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let done = self.ctl(args)?;
        anyhow::ensure!(done.status.success(), "'etcdctl {}': {}", args.join(" "), done.stderr);
        Ok(done.stdout)
    }

    /// Which member leads etcd.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let all: Value = serde_json::from_str(&self.ctl(&["endpoint", "status", "-w", "json"]).ok()?.stdout).ok()?;
        let at = all.as_array()?.iter().find(|m| {
            let id = m["Status"]["header"]["member_id"].as_u64();
            id.is_some() && id == m["Status"]["leader"].as_u64()
        })?;
        (0..MEMBERS).find(|&n| at["Endpoint"] == self.url(n))
    }
}

//! A network namespace.

use crate::cleanup::{self, Item};
use crate::command::{self, Finished};
use crate::running::Running;
use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// What commands that only set something up may take.
const SOON: Duration = Duration::from_secs(10);

/// A network namespace with its loopback interface up. Gone when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes it.
    ///
    /// # Errors
    /// `ip` is missing or may not.
    pub fn new(name: String) -> Result<Self> {
        cleanup::remember(Item::Namespace(name.clone()));
        let namespace = Self { name };
        command::check(&["ip", "netns", "add", &namespace.name], SOON)?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` inside; the words of `args` are parted by blanks.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn ip(&self, args: &str) -> Result<String> {
        let mut line = vec!["ip", "-n", &self.name];
        line.extend(args.split_whitespace());
        command::check(&line, SOON)
    }

    /// Sets kernel settings inside, such as `net.ipv6.conf.all.disable_ipv6=1`.
    ///
    /// # Errors
    /// The kernel has no such setting.
    pub fn sysctl(&self, settings: &[&str]) -> Result<()> {
        let mut line = vec!["sysctl", "-q", "-w"];
        line.extend(settings);
        self.check(&line, SOON).map(drop)
    }

    fn line<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [&["ip", "netns", "exec", &self.name], args].concat()
    }

    /// Runs a command inside, to its end.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn run(&self, args: &[&str], limit: Duration) -> Result<Finished> {
        command::run(&self.line(args), limit)
    }

    /// Runs a command inside that has to succeed; gives what it wrote.
    ///
    /// # Errors
    /// As [`command::check`].
    pub fn check(&self, args: &[&str], limit: Duration) -> Result<String> {
        command::check(&self.line(args), limit)
    }

    /// Starts a command inside, in the background.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn start(&self, name: &str, args: &[&str], dir: &Path) -> Result<Running> {
        Running::start(name, &self.line(args), dir)
    }

    /// Calls `f` on a thread inside: the sockets it makes belong to this namespace, wherever they go afterwards.
    ///
    /// # Errors
    /// The thread may not enter.
    pub fn enter<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let path = Path::new("/run/netns").join(&self.name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let thread = std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map(|()| f())
        });
        let result = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result.with_context(|| format!("cannot enter {}", path.display()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let item = Item::Namespace(self.name.clone());
        cleanup::take_down(&item);
        cleanup::forget(&item);
    }
}

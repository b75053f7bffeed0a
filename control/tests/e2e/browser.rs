//! A browser without a screen, in the place of a box: what it makes of a page, what it complains of, and whom it asks.

use rig::{Rig, Side};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A page is there, and drawn, within this.
const PATIENCE: Duration = Duration::from_secs(90);
const PROGRAMS: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
/// It is root's here, keeps nothing, and asks nobody on its own account.
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    // Its own clock: timers are over as soon as nothing else is to be done.
    "--virtual-time-budget=7000",
];

/// How a page is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Width and height of the window.
    pub size: (u32, u32),
    pub dark: bool,
}

/// One that is installed.
pub struct Browser<'a> {
    rig: &'a Rig,
    program: &'static str,
    dir: PathBuf,
    runs: std::cell::Cell<u32>,
}

/// What a page has become.
#[derive(Debug)]
pub struct Seen {
    /// The document, as text; of one that was drawn, nothing.
    pub document: String,
    /// What stands in the console.
    pub console: Vec<String>,
    /// Addresses that the page asked for.
    pub asked: Vec<String>,
}

impl<'a> Browser<'a> {
    /// `None`: there is none on this machine.
    pub fn find(rig: &'a Rig) -> Option<Self> {
        let there = |program: &&'static str| rig::command::check(&[*program, "--version"], PATIENCE).is_ok();
        let program = PROGRAMS.into_iter().find(there)?;
        Some(Self { rig, program, dir: rig.dir().join("browser"), runs: std::cell::Cell::new(0) })
    }

    /// Loads a page, and gives what has become of it some seconds later.
    pub fn load(&self, url: &str, look: Look) -> Seen {
        self.run(url, look, "--dump-dom")
    }

    /// Draws a page into a file.
    pub fn draw(&self, url: &str, look: Look, file: &Path) {
        self.run(url, look, &format!("--screenshot={}", file.display()));
        let octets = std::fs::metadata(file).expect("a picture").len();
        assert!(octets > 10_000, "{} has {octets} octets: is there anything on it?", file.display());
    }

    fn run(&self, url: &str, look: Look, what: &str) -> Seen {
        self.runs.set(self.runs.get() + 1);
        let (width, height) = look.size;
        // A profile of its own each time: nothing is remembered.
        let profile = format!("--user-data-dir={}-{}", self.dir.display(), self.runs.get());
        let size = format!("--window-size={width},{height}");
        let settings = format!("--blink-settings=preferredColorScheme={}", u8::from(!look.dark));
        let log = self.dir.with_extension(format!("requests-{}", self.runs.get()));
        let requests = format!("--log-net-log={}", log.display());
        let own = [self.program, &profile, &size, &settings, &requests, what, url];
        let line = [&own[..1], &FLAGS, &own[1..]].concat();
        let finished = self.rig.place(Side::A).run(&line, PATIENCE).expect("a browser that ends");
        assert!(finished.status.success(), "{}: {}", finished.status, finished.stderr);
        let console = finished.stderr.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
        Seen { document: finished.stdout, console, asked: asked(&log, url) }
    }
}

/// What a page of this address asked for, by the browser's own log of its requests: those that it began itself.
fn asked(log: &Path, url: &str) -> Vec<String> {
    let origin = url.split('/').take(3).collect::<Vec<_>>().join("/");
    let text = std::fs::read_to_string(log).expect("a log");
    let log: Value = serde_json::from_str(&text).expect("a whole log");
    let events = log["events"].as_array().expect("events").iter();
    let params = events.map(|event| &event["params"]).filter(|params| params["initiator"] == origin.as_str());
    let mut asked: Vec<_> = params.filter_map(|params| params["url"].as_str()).map(str::to_owned).collect();
    asked.sort();
    asked.dedup();
    asked
}

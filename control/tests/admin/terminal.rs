//! `pdmv2 top` at a terminal of its own: it ends cleanly, and gives the terminal back.

use crate::asking::{self, start};
use crate::programs::{ENCRYPTED, Site, TOOL, wait_for};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

/// A program at a terminal of 80 by 24.
struct AtTerminal {
    child: Child,
    ours: File,
    theirs: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl AtTerminal {
    fn start(site: &Site, arguments: &[&str]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal");
        let name = ptsname(&ours, Vec::new()).expect("its name");
        let mode = rustix::fs::Mode::empty();
        let theirs =
            rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, mode).expect("the terminal");
        tcsetwinsize(&theirs, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).expect("its size");
        let theirs = File::from(theirs);
        let end = || theirs.try_clone().expect("a descriptor");
        let child = Command::new(TOOL)
            .args(arguments)
            .current_dir(site.0.path())
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("pdmv2");
        let (ours, shown) = (File::from(ours), Arc::<Mutex<Vec<u8>>>::default());
        let (mut reads, into) = (ours.try_clone().expect("a descriptor"), Arc::clone(&shown));
        // It ends with the terminal.
        std::thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(n @ 1..) = reads.read(&mut octets) {
                into.lock().expect("the text").extend_from_slice(&octets[..n]);
            }
        });
        Self { child, ours, theirs, shown }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("the text")).into_owned()
    }

    /// It has ended by itself, and the terminal is as before.
    fn ended(mut self) {
        wait_for("its end", || self.child.try_wait().expect("a process").is_some());
        assert!(self.child.wait().expect("a process").success(), "{}", self.shown());
        let modes = tcgetattr(&self.theirs).expect("modes").local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
        wait_for("the screen to be given back", || self.shown().contains("\x1b[?1049l"));
        assert!(self.shown().ends_with("\x1b[?25h"), "the cursor is shown: {:?}", self.shown());
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait()); // gone already, most of the time
    }
}

#[test]
fn top_gives_the_terminal_back_however_it_ends() {
    let site = Site::new(ENCRYPTED);
    let running = start(&site, false, "[admin]\nsocket = \"box.sock\"\n");
    let socket = site.path("box.sock");
    wait_for("flows", || asking::json(&socket, "/v1/flows", 200)["in_table"] == 1000);
    for signal in [None, Some(Signal::TERM), Some(Signal::HUP)] {
        let mut top = AtTerminal::start(&site, &["top", "--socket", "box.sock"]);
        wait_for("the page", || top.shown().contains("quit") && top.shown().contains("443"));
        assert!(top.shown().contains("\x1b[?1049h"), "a screen of its own");
        let modes = tcgetattr(&top.theirs).expect("modes").local_modes;
        assert!(!modes.contains(LocalModes::ICANON));
        match signal {
            None => top.ours.write_all(b"lq").expect("keys"),
            Some(signal) => kill_process(Pid::from_child(&top.child), signal).expect("a signal"),
        }
        top.ended();
    }
    drop(running.stop());
}

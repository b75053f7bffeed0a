//! `pdmv2 top` at a terminal of its own: it ends cleanly, and gives the terminal back.

#[path = "../programs/at_terminal.rs"]
#[allow(dead_code, reason = "each test takes what it needs")]
mod at_terminal;

use crate::asking::{self, start};
use crate::programs::{ENCRYPTED, Site, TOOL, wait_for};
use at_terminal::AtTerminal;
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};
use std::io::Write;

/// It has ended by itself, and the terminal is as before.
fn ended(mut top: AtTerminal) {
    wait_for("its end", || top.child.try_wait().expect("a process").is_some());
    assert!(top.child.wait().expect("a process").success(), "{}", top.shown());
    let modes = tcgetattr(&top.theirs).expect("modes").local_modes;
    assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
    wait_for("the screen to be given back", || top.shown().contains("\x1b[?1049l"));
    assert!(top.shown().ends_with("\x1b[?25h"), "the cursor is shown: {:?}", top.shown());
}

#[test]
fn top_gives_the_terminal_back_however_it_ends() {
    let site = Site::new(ENCRYPTED);
    let running = start(&site, false, "[admin]\nsocket = \"box.sock\"\n");
    let socket = site.path("box.sock");
    wait_for("flows", || asking::json(&socket, "/v1/flows", 200)["in_table"] == 1000);
    for signal in [None, Some(Signal::TERM), Some(Signal::HUP)] {
        let mut top = AtTerminal::start(TOOL, site.0.path(), &["top", "--socket", "box.sock"]);
        wait_for("the page", || top.shown().contains("quit") && top.shown().contains("443"));
        assert!(top.shown().contains("\x1b[?1049h"), "a screen of its own");
        let modes = tcgetattr(&top.theirs).expect("modes").local_modes;
        assert!(!modes.contains(LocalModes::ICANON));
        match signal {
            None => top.ours.write_all(b"lq").expect("keys"),
            Some(signal) => kill_process(Pid::from_child(&top.child), signal).expect("a signal"),
        }
        ended(top);
    }
    drop(running.stop());
}

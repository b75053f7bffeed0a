//! A program at a terminal of its own, and what it shows there.

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

/// Lines and columns of the terminal.
const SIZE: [u16; 2] = [24, 80];

/// A program at a terminal of 80 by 24; killed when this is dropped.
pub struct AtTerminal {
    pub child: Child,
    /// What a person has: keys go in.
    pub ours: File,
    /// What the program has.
    pub theirs: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl AtTerminal {
    pub fn start(program: &str, dir: &Path, arguments: &[&str]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal");
        let name = ptsname(&ours, Vec::new()).expect("its name");
        let mode = rustix::fs::Mode::empty();
        let theirs =
            rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, mode).expect("the terminal");
        let [ws_row, ws_col] = SIZE;
        tcsetwinsize(&theirs, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).expect("its size");
        let theirs = File::from(theirs);
        let end = || theirs.try_clone().expect("a descriptor");
        let mut command = Command::new(program);
        command.args(arguments).current_dir(dir).env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("a program");
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

    /// All that it has written.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("the text")).into_owned()
    }

    /// The lines that stand on the screen now.
    pub fn screen(&self) -> Vec<String> {
        lines(&self.shown())
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait()); // gone already, most of the time
    }
}

/// What a terminal makes of a text: places and erasures are obeyed, the rest of the control sequences only passed over.
fn lines(text: &str) -> Vec<String> {
    let [rows, columns] = SIZE.map(usize::from);
    let blank = || vec![vec![' '; columns]; rows];
    let (mut screen, mut row, mut column) = (blank(), 0, 0);
    let mut octets = text.chars();
    while let Some(c) = octets.next() {
        match c {
            '\x1b' => {
                if octets.next() != Some('[') {
                    continue;
                }
                let mut parameters = String::new();
                let end = octets.by_ref().find(|c| {
                    let is_end = ('@'..='~').contains(c);
                    parameters.extend((!is_end).then_some(*c));
                    is_end
                });
                let mut numbers = parameters.split(';').map(|n| n.parse::<usize>().unwrap_or(1));
                match end {
                    Some('H') => (row, column) = (numbers.next().unwrap_or(1) - 1, numbers.next().unwrap_or(1) - 1),
                    Some('J') => screen = blank(),
                    _ => {}
                }
            }
            '\r' => column = 0,
            '\n' => row += 1,
            c => {
                if let Some(cell) = screen.get_mut(row).and_then(|line| line.get_mut(column)) {
                    *cell = c;
                }
                column += 1;
            }
        }
    }
    screen.into_iter().map(|line| line.into_iter().collect()).collect()
}

#[test]
fn places_are_obeyed() {
    let screen = lines("\x1b[?1049h\x1b[2J\x1b[2;3H\x1b[1mab\x1b[0m\x1b[2;4Hc\x1b[1;1H│x");
    assert_eq!([screen[0].trim_end(), screen[1].trim_end()], ["│x", "  ac"]);
}

//! Where the demo's boxes have their keys from: two registrars, or a key file.

use super::screen::Screen;
use crate::forwarders::Keys;
use crate::programs::Programs;
use crate::registrars::{NAMES, Registrars};
use crate::running::Running;
use crate::topology::Rig;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Until boxes and registrars agree: a moment, but for a machine that does a lot besides.
const AGREED: Duration = Duration::from_secs(30);

/// One of the two.
pub enum Source {
    /// Registrars.
    Registrars {
        /// The two.
        both: Box<Registrars>,
        /// What was sealed under: at the start, and after the roll-over.
        generations: Vec<u32>,
        /// What they said of themselves then.
        status: [String; 2],
    },
    /// A key file.
    File(PathBuf),
}

impl Source {
    /// Makes what is needed before boxes start.
    ///
    /// # Errors
    /// The program `pdmv2` fails, a registrar does not come up.
    pub fn new(screen: &Screen, rig: &Rig, programs: &Programs, key_file: bool) -> Result<Self> {
        if key_file {
            screen.step("making a key file ('pdmv2 keygen')");
            return rig.keygen(&programs.pdmv2).map(Self::File);
        }
        screen.step("making an authority for each side, and certificates ('pdmv2 pki')");
        let mut both = rig.registrars(&programs.pdmv2)?;
        for (side, name) in NAMES.iter().enumerate() {
            screen.step(&format!("starting registrar {name} ('pdmv2 registrar run')"));
            both.start_and_wait(side)?;
        }
        Ok(Self::Registrars { both: Box::new(both), generations: Vec::new(), status: Default::default() })
    }

    /// What the boxes' configurations say.
    pub fn of_boxes(&self) -> Keys {
        match self {
            Self::Registrars { .. } => Keys::Registrar,
            Self::File(file) => Keys::File(file.clone()),
        }
    }

    /// The key file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Registrars { .. } => None,
            Self::File(file) => Some(file),
        }
    }

    /// Waits until both boxes seal.
    ///
    /// # Errors
    /// They do not.
    pub fn settle(&mut self, screen: &Screen, boxes: &[&Running]) -> Result<()> {
        let Self::Registrars { both, generations, .. } = self else { return Ok(()) };
        screen.step("waiting until the registrars have negotiated, and both boxes seal (HPKE; keys pushed over TLS)");
        generations.push(both.settle(boxes, 0, AGREED)?);
        Ok(())
    }

    /// Does `traffic`, with a roll-over in its middle when there are registrars.
    ///
    /// # Errors
    /// `traffic` fails, or the roll-over does.
    pub fn roll_over_during<T>(
        &mut self,
        boxes: &[&Running],
        after: Duration,
        traffic: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Self::Registrars { both, generations, status } = self else { return traffic() };
        let asked = &**both;
        let (result, rotated) = std::thread::scope(|scope| {
            let rotated = scope.spawn(move || {
                std::thread::sleep(after);
                asked.rotate(0)
            });
            (traffic(), rotated.join())
        });
        let result = result?;
        rotated.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let before = generations.last().copied().unwrap_or_default();
        generations.push(both.settle(boxes, before, AGREED)?);
        for (text, name) in status.iter_mut().zip(NAMES) {
            *text = both.ok(&["registrar", "status", "--config", &format!("{name}.toml")])?;
        }
        Ok(result)
    }

    /// Shows where the keys came from.
    pub fn show(&self, screen: &Screen) {
        let Self::Registrars { generations, status, .. } = self else { return };
        screen.heading("The keys: from two registrars, each with its own box ('pdmv2 registrar status')");
        for line in status.iter().flat_map(|text| text.lines()).filter(|l| !l.is_empty()) {
            screen.text(&format!("  {line}"));
        }
        if let [first, second] = generations[..] {
            screen.text(&format!(
                "  In the middle of TCP A to B somebody typed 'pdmv2 registrar rotate': generation {first}, then {second}"
            ));
        }
    }

    /// Whether the roll-over took place, in words; `None`: there was to be none.
    pub fn rolled_over(&self) -> Option<(bool, String)> {
        let Self::Registrars { generations, .. } = self else { return None };
        let moved = generations.len() == 2 && generations.is_sorted_by(|a, b| a < b);
        let which: Vec<_> = generations.iter().map(ToString::to_string).collect();
        Some((moved, format!("both boxes changed keys under the traffic (generations {})", which.join(" and "))))
    }
}

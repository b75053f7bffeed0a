//! What a capture holds, found before anything is started: what cannot be replayed is refused before a generation is taken.

use anyhow::bail;
use common::capture::{Capture, LinkType};
use std::path::Path;

/// What a capture holds.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Content {
    /// Frames.
    pub frames: u64,
    /// Octets of the longest one.
    pub longest: usize,
    /// Frames of which less was captured than was on the wire.
    pub cut: u64,
    /// Frames whose check sequence was taken off.
    pub check_sequences: u64,
    /// Whether the times are finer than microseconds.
    pub is_fine: bool,
}

impl Content {
    /// Reads a capture to its end.
    ///
    /// # Errors
    /// It cannot be read, or holds something else than Ethernet.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let mut content = Self::default();
        Capture::open(path)?.for_each::<anyhow::Error>(|frame| {
            if frame.link != LinkType::ETHERNET {
                bail!(
                    "{}: frame {} has link type {} and not {}; capture on an Ethernet interface (tcpdump -i eth0, not -i any)",
                    path.display(),
                    frame.number,
                    frame.link,
                    LinkType::ETHERNET
                );
            }
            content.frames += 1;
            content.longest = content.longest.max(frame.data.len());
            content.cut += u64::from(frame.missing() > 0);
            content.check_sequences += u64::from(frame.check_sequence > 0);
            content.is_fine |= frame.is_fine;
            Ok(true)
        })?;
        Ok(content)
    }

    /// Says what comes out otherwise than it may be expected; with `whole`, cut frames are an error.
    ///
    /// # Errors
    /// There are cut frames, and they are not wanted.
    pub fn tell(&self, path: &Path, whole: bool) -> anyhow::Result<()> {
        let (path, cut, frames) = (path.display(), self.cut, self.frames);
        if cut > 0 && whole {
            bail!(
                "{path}: {cut} of {frames} frames were cut when they were captured; capture with tcpdump -s 0, or replay without --whole"
            );
        }
        if cut > 0 {
            tracing::warn!(
                "{path}: {cut} of {frames} frames were cut when they were captured; they pass as they are, without the option \
                 (capture with tcpdump -s 0)"
            );
        }
        if self.check_sequences > 0 {
            let n = self.check_sequences;
            tracing::info!(
                "{path}: {n} of {frames} frames had their check sequence behind them; it was taken off, as a NIC does"
            );
        }
        Ok(())
    }
}

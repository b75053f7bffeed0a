//! The one thing the stages ask of a packet: its first segment, and room before it.

/// Whether a packet's first segment may be written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writable {
    /// It may.
    Yes,
    /// It may: it is a copy now of what was shared with somebody, or in somebody else's memory.
    Copied,
    /// It may not, and there is no buffer to copy it into. It is as it came.
    No,
}

/// Octets of a [`Window`] before the frame's start: what the longest option that is put in there takes.
pub const WINDOW_BEFORE: usize = 40;
/// Octets of a [`Window`] from the frame's start on: one VLAN tag, and as much as is looked at of a frame without.
pub const WINDOW_BEHIND: usize = 4 + 68;

/// The octets around a frame's start, whose place in the buffer does not depend on the frame: a short frame has its end in
/// it, and what is behind that is whatever stood in the buffer.
pub type Window = [u8; WINDOW_BEFORE + WINDOW_BEHIND];

/// A packet's buffer: an mbuf on a port, a vector in tests.
pub trait PacketBuf {
    /// The first segment's octets, from the Ethernet header on.
    fn data(&self) -> &[u8];
    /// Asks for the cache lines of its headers, some packets before they are looked at.
    #[inline]
    fn prefetch(&self) {
        let data = self.data();
        // The second line, where an option stands.
        for at in [0, 64] {
            if let Some(octet) = data.get(at) {
                protocol::prefetch::line(octet);
            }
        }
    }
    /// The same, to write to; empty when it may not be written to.
    fn data_mut(&mut self) -> &mut [u8];
    /// Makes its first segment one that may be written to, and has [`HEADROOM`] before it if it had to be copied for that.
    #[inline]
    fn make_writable(&mut self) -> Writable {
        Writable::Yes
    }
    /// Octets of the frame over all segments.
    fn frame_len(&self) -> usize;
    /// Free octets before the first segment's data.
    fn headroom(&self) -> usize;
    /// Makes the frame `n` octets longer at its front. `false`: no room, nothing changed.
    fn prepend(&mut self, n: usize) -> bool;
    /// Makes the frame `n` octets shorter at its front. `false`: the first segment is shorter, nothing changed.
    fn trim_front(&mut self, n: usize) -> bool;
    /// Cuts a frame of one segment to `len` octets. `false`: several segments, or shorter already; nothing changed.
    fn truncate(&mut self, len: usize) -> bool;
    /// The octets around the frame's start, if the buffer has them all, all of them may be written to, and the frame may
    /// become [`WINDOW_BEFORE`] octets longer. `None` also from a kind of buffer that knows no such thing: its packets take
    /// the slow way.
    #[inline]
    fn window(&mut self) -> Option<&mut Window> {
        None
    }
    /// Makes the frame `by` octets longer at its front, at most [`WINDOW_BEFORE`], and gives the same octets as
    /// [`PacketBuf::window`] gave before. `None`: nothing changed.
    #[inline]
    fn grow_window(&mut self, by: usize) -> Option<&mut Window> {
        let _ = by;
        None
    }
}

/// Makes a packet ready to be changed. `copied` is called, to count it, when it is copied for that. `false`: it cannot be
/// changed.
#[inline]
pub(crate) fn make_ready<B: PacketBuf>(packet: &mut B, copied: impl FnOnce()) -> bool {
    match packet.make_writable() {
        Writable::Yes => true,
        Writable::Copied => {
            copied();
            true
        }
        Writable::No => false,
    }
}

/// A frame in a vector, with headroom as an mbuf has it.
#[derive(Clone)]
pub struct VecBuf {
    /// Octets behind `end` are room.
    octets: Vec<u8>,
    start: usize,
    end: usize,
}

/// What does not count is not compared: octets outside of the frame.
impl PartialEq for VecBuf {
    fn eq(&self, other: &Self) -> bool {
        (self.start, self.data()) == (other.start, other.data())
    }
}

impl Eq for VecBuf {}

/// What DPDK reserves before a packet by default.
pub const HEADROOM: usize = 128;

impl VecBuf {
    /// Copies a frame behind [`HEADROOM`] octets of room.
    #[must_use]
    pub fn new(frame: &[u8]) -> Self {
        let mut octets = vec![0; HEADROOM];
        octets.extend_from_slice(frame);
        // As much as an mbuf has behind the shortest frame.
        octets.resize(octets.len().max(HEADROOM + WINDOW_BEHIND), 0);
        Self { octets, start: HEADROOM, end: HEADROOM + frame.len() }
    }

    /// Where its window is.
    fn around(&self) -> Option<core::ops::Range<usize>> {
        Some(self.start.checked_sub(WINDOW_BEFORE)?..self.start + WINDOW_BEHIND)
    }
}

impl core::fmt::Debug for VecBuf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for o in self.data() {
            write!(f, "{o:02x}")?;
        }
        Ok(())
    }
}

impl PacketBuf for VecBuf {
    fn data(&self) -> &[u8] {
        &self.octets[self.start..self.end]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.octets[self.start..self.end]
    }

    fn frame_len(&self) -> usize {
        self.end - self.start
    }

    fn headroom(&self) -> usize {
        self.start
    }

    fn prepend(&mut self, n: usize) -> bool {
        let fits = n <= self.start;
        if fits {
            self.start -= n;
        }
        fits
    }

    fn trim_front(&mut self, n: usize) -> bool {
        let fits = n <= self.frame_len();
        if fits {
            self.start += n;
        }
        fits
    }

    fn truncate(&mut self, len: usize) -> bool {
        let fits = len <= self.frame_len();
        if fits {
            self.end = self.start + len;
        }
        fits
    }

    fn window(&mut self) -> Option<&mut Window> {
        let around = self.around()?;
        self.octets.get_mut(around)?.first_chunk_mut()
    }

    fn grow_window(&mut self, by: usize) -> Option<&mut Window> {
        let around = self.around().filter(|_| by <= WINDOW_BEFORE)?;
        let window = self.octets.get_mut(around)?.first_chunk_mut()?;
        self.start -= by;
        Some(window)
    }
}

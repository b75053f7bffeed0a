//! For how long lanes are left alone that could do nothing.

/// Bursts that go the slow way without asking after one of which no packet could stay in the lanes: where the lanes can do
/// nothing (other AEADs, strangers) they cost little.
const PAUSE: u8 = 7;

/// Whether a worker's lanes of one direction are asked.
#[derive(Debug, Default)]
pub(crate) struct Resting {
    pause: u8,
    #[cfg(any(test, feature = "testing"))]
    off: bool,
    /// Packets that stayed in the lanes.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) taken: u64,
}

impl Resting {
    /// All packets go the slow way from now on: what the short way is held against.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn turn_off(&mut self) {
        self.off = true;
    }

    /// Whether the burst is to be looked at.
    #[inline]
    pub(super) fn is_over(&mut self) -> bool {
        #[cfg(any(test, feature = "testing"))]
        if self.off {
            return false;
        }
        let over = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        over
    }

    /// The packets of the burst that stayed, as bits.
    #[inline]
    pub(super) fn note(&mut self, stayed: u32) {
        if stayed == 0 {
            self.pause = PAUSE;
        }
        #[cfg(any(test, feature = "testing"))]
        {
            self.taken += u64::from(stayed.count_ones());
        }
    }
}

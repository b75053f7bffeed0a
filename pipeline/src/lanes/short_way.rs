//! A worker's lanes, left alone for a while where they can do nothing.

use super::{Burst, Lanes, Set, View};
use crate::packet::buffer::PacketBuf;

/// Bursts that go the slow way without asking after one of which no packet could stay in the lanes: where the lanes can do
/// nothing (options in clear, other AEADs) they cost little.
const PAUSE: u8 = 7;

/// A worker's lanes, and for how long they are left alone.
#[derive(Debug)]
pub(crate) struct ShortWay {
    lanes: Lanes,
    pause: u8,
    off: bool,
    /// Packets that stayed in the lanes.
    #[cfg(test)]
    taken: u64,
}

impl Default for ShortWay {
    fn default() -> Self {
        Self::new(Set::best())
    }
}

impl ShortWay {
    /// Lanes of this set of instructions.
    pub(crate) fn new(set: Set) -> Self {
        Self {
            lanes: Lanes::new(set),
            pause: 0,
            off: false,
            #[cfg(test)]
            taken: 0,
        }
    }

    /// All packets go the slow way from now on: what the short way is held against.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn turn_off(&mut self) {
        self.off = true;
    }

    /// Packets that stayed in the lanes.
    #[cfg(test)]
    pub(crate) const fn taken(&self) -> u64 {
        self.taken
    }

    /// The packets that stay in the lanes. `None`: there are none.
    #[inline]
    pub(crate) fn front<'a, B: PacketBuf>(&'a mut self, view: &View<'a>, packets: &mut [B]) -> Option<Burst<'a>> {
        if self.pause > 0 || self.off {
            self.pause = self.pause.saturating_sub(1);
            return None;
        }
        let burst = self.lanes.front(view, packets);
        if burst.fast() == 0 {
            self.pause = PAUSE;
            return None;
        }
        #[cfg(test)]
        {
            self.taken += u64::from(burst.fast().count_ones());
        }
        Some(burst)
    }
}

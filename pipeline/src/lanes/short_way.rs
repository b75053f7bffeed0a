//! A worker's lanes, left alone for a while where they can do nothing.

use super::resting::Resting;
use super::{Burst, Lanes, Set, View};
use crate::packet::buffer::PacketBuf;

/// A worker's lanes, and for how long they are left alone.
#[derive(Debug)]
pub(crate) struct ShortWay {
    lanes: Lanes,
    pub(crate) resting: Resting,
}

impl Default for ShortWay {
    fn default() -> Self {
        Self::new(Set::best())
    }
}

impl ShortWay {
    /// Lanes of this set of instructions.
    pub(crate) fn new(set: Set) -> Self {
        Self { lanes: Lanes::new(set), resting: Resting::default() }
    }

    /// The packets that stay in the lanes. `None`: there are none.
    #[inline]
    pub(crate) fn front<'a, B: PacketBuf>(&'a mut self, view: &View<'a>, packets: &mut [B]) -> Option<Burst<'a>> {
        if !self.resting.is_over() {
            return None;
        }
        let burst = self.lanes.front(view, packets);
        self.resting.note(burst.fast());
        (burst.fast() != 0).then_some(burst)
    }
}

//! When a packet came: with its burst, or when its port says.

use crate::ports::BURST;

/// The times of receipt of a burst's packets, by their places. All that is measured of packets that come back goes by them; whatever
/// ages goes by the time at which the burst is worked on.
pub(super) trait Receipt: Copy {
    fn of(self, packet: u8) -> u64;
}

/// All came when the burst was taken.
#[derive(Clone, Copy)]
pub(super) struct Together(pub(super) u64);

impl Receipt for Together {
    #[inline]
    fn of(self, _: u8) -> u64 {
        self.0
    }
}

/// Each at a time of its own.
#[derive(Clone, Copy)]
pub(super) struct Each<'a>(pub(super) &'a [u64; BURST]);

impl Receipt for Each<'_> {
    #[inline]
    fn of(self, packet: u8) -> u64 {
        self.0[usize::from(packet) % BURST]
    }
}

//! Packets of flows that went too far ahead, on their way from the workers to the control thread's search
//! ([`resync`](crate::state::resync)). Nothing is allocated for them: what does not fit is forgotten.

use crate::packet::encrypted::EncryptedOption;
use crossbeam_queue::ArrayQueue;
use protocol::five_tuple::FiveTuple;

/// Packets that wait at most.
const PLACES: usize = 256;

/// A packet that did not open.
pub struct Sample {
    /// The worker that left it, whose the flow is when it is new.
    pub worker: usize,
    /// 5-tuple of the packet.
    pub tuple: FiveTuple,
    /// Its option as it came.
    pub option: EncryptedOption,
}

/// Packets on their way to the control thread, with the Kri that the search has come to (`None`: not begun).
pub struct ResyncQueue(ArrayQueue<(Sample, Option<u32>)>);

impl ResyncQueue {
    pub(crate) fn new() -> Self {
        Self(ArrayQueue::new(PLACES))
    }

    #[inline]
    pub(crate) fn offer(&self, sample: impl FnOnce() -> Sample) {
        if !self.0.is_full() {
            let _ = self.0.push((sample(), None)); // another worker may have taken the place
        }
    }

    /// The next packet.
    pub(crate) fn pop(&self) -> Option<(Sample, Option<u32>)> {
        self.0.pop()
    }

    /// Puts a packet back whose search goes on from here. With the queue full it is forgotten: the flow's next packet comes by.
    pub(crate) fn put_back(&self, sample: Sample, from: u32) {
        let _ = self.0.push((sample, Some(from)));
    }

    /// Whether more than half of the places are taken.
    pub(crate) fn is_crowded(&self) -> bool {
        self.0.len() * 2 > PLACES
    }
}

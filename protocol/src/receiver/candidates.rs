//! What a receiver tries, and how far ahead: Kris, generations, and what the control thread searches through. Whatever a second
//! wire profile tries otherwise stands here.

/// Kris to try ahead at most (profile section 6).
pub const MAX_AHEAD: u32 = 8;

/// Generations to try ahead of the present one at most, counted by their places among those that a box was told of.
pub const GENERATIONS_AHEAD: isize = 16;

/// Kris that the control thread searches through for one packet of a flow that went too far ahead: a million rotations are 34
/// billion packets of one flow.
pub const KRIS_SEARCHED: u32 = 1 << 20;

/// The same while more than half of the places in its queue are taken: somebody may be sending forged packets, and those of
/// honest flows, most of which are not as long as this, must have their turn.
pub const KRIS_SEARCHED_IN_A_CROWD: u32 = 1 << 12;

/// The Kri of a generation's first packets, as F tells it: the very first may be lost, so it is 0 or 1.
#[inline]
#[must_use]
pub const fn first_kri(f: bool) -> u32 {
    f as u32
}

/// Candidates of one secret at most: the Kri before, the next, and every other one up to [`MAX_AHEAD`].
const MOST: usize = MAX_AHEAD as usize / 2 + 3;

/// Kris worth trying for a packet with this F bit, the likeliest first.
///
/// `current` is the Kri last opened with under the same secret, `None` if there is none yet (then Kri starts at 0).
#[derive(Clone, Copy, Debug)]
pub struct KriCandidates {
    list: [u32; MOST],
    len: u8,
}

impl KriCandidates {
    /// See the type.
    #[must_use]
    pub fn new(current: Option<u32>, f: bool) -> Self {
        let mut this = Self { list: [0; MOST], len: 0 };
        let base = current.unwrap_or(0);
        let agrees = (base & 1 == 1) == f;
        let mut push = |kri: Option<u32>| {
            if let Some(kri) = kri {
                this.list[usize::from(this.len)] = kri;
                this.len += 1;
            }
        };
        if !agrees {
            push(base.checked_add(1));
            push(if current.is_some() { base.checked_sub(1) } else { None });
        }
        let from = if agrees { 0 } else { 3 };
        for ahead in (from..=MAX_AHEAD).step_by(2) {
            push(base.checked_add(ahead));
        }
        this
    }

    /// The candidates in order.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        &self.list[..usize::from(self.len)]
    }
}

//! What a worker calls what it has seen, so that a flow need keep one word of it.

/// Stands for a snapshot, what was known of paths then and which policies had ended, as one worker saw them: it counts its own
/// changes. What a flow was told under a name holds as long as its owner goes by the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Name(pub(super) u32);

impl Name {
    /// As the lanes compare it.
    #[inline]
    pub(crate) const fn word(self) -> u32 {
        self.0
    }
}

/// A worker's present [`Name`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Naming {
    name: Name,
    of: (u64, u32, u32),
}

impl Naming {
    /// The name for these versions of the snapshot and of the paths, and so many policies that have ended: the last one, unless
    /// one of them has changed.
    #[inline]
    pub(crate) fn of(&mut self, snapshot: u64, paths: u32, ended: u32) -> Name {
        if self.of != (snapshot, paths, ended) || self.name == Name(0) {
            self.of = (snapshot, paths, ended);
            // It comes again after 2^32 changes. A flow cannot have been idle that long.
            self.name = Name(self.name.0.wrapping_add(1).max(1));
        }
        self.name
    }
}

//! What the words of a record are made of that its owner writes and the lanes look at as well: here, and nowhere else.

/// The owner's flags, in `held`.
pub(crate) mod flags {
    /// The option's F under the key that is there: the lowest bit of its Kri.
    pub(crate) const F: u16 = 1;
    /// The option goes in clear.
    pub(crate) const CLEAR: u16 = 1 << 1;
    /// The option is PDM's.
    pub(crate) const PDM: u16 = 1 << 2;
    /// The key that is there is not that of the next packet's number.
    pub(crate) const UNKEYED: u16 = 1 << 4;
    /// The last packets were handed over by another worker. The slow way takes note of the next.
    pub(crate) const NOTED: u16 = 1 << 5;
}

/// A flow's times of packets are kept in units of 2^28 ns, about 0.27 s, so that a busy flow's line is not written for
/// every packet.
pub(super) const SEEN_SHIFT: u32 = 28;

/// `vouched`: under this name (0: none) packets get the option up to this length, the IPv6 header included (0: none does), and
/// the policy stands at this place among the rules.
#[must_use]
pub(crate) const fn vouched(name: u32, limit: u16, policy: u16) -> u64 {
    name as u64 | (limit as u64) << 32 | (policy as u64) << 48
}

/// `held`: which worker owns the flow, its [`flags`], and when a packet was [`seen`] last.
#[must_use]
pub(crate) const fn held(owner: u16, flags: u16, seen: u32) -> u64 {
    owner as u64 | (flags as u64) << 16 | (seen as u64) << 32
}

/// A time as `held` keeps it.
#[must_use]
pub(crate) const fn seen(now_ns: u64) -> u32 {
    (now_ns >> SEEN_SHIFT) as u32
}

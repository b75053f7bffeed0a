//! Numbers in the byte order of whoever wrote the file.

/// Which octet of a number stands first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// The lowest.
    Little,
    /// The highest.
    Big,
}

impl Order {
    pub(super) const BOTH: [Self; 2] = [Self::Little, Self::Big];

    /// The number at the front of `octets`; `None`: they end before.
    pub(super) fn u16(self, octets: &[u8]) -> Option<u16> {
        let &octets = octets.first_chunk()?;
        Some(if self == Self::Little { u16::from_le_bytes(octets) } else { u16::from_be_bytes(octets) })
    }

    /// See [`Self::u16`].
    pub(super) fn u32(self, octets: &[u8]) -> Option<u32> {
        let &octets = octets.first_chunk()?;
        Some(if self == Self::Little { u32::from_le_bytes(octets) } else { u32::from_be_bytes(octets) })
    }

    /// See [`Self::u16`].
    pub(super) fn i64(self, octets: &[u8]) -> Option<i64> {
        let &octets = octets.first_chunk()?;
        Some(if self == Self::Little { i64::from_le_bytes(octets) } else { i64::from_be_bytes(octets) })
    }

    /// `N` numbers one behind the other, and what follows them.
    pub(super) fn words<const N: usize>(self, octets: &[u8]) -> Option<([u32; N], &[u8])> {
        let (words, rest) = octets.split_at_checked(4 * N)?;
        let mut all = [0; N];
        for (to, from) in all.iter_mut().zip(words.chunks_exact(4)) {
            *to = self.u32(from)?;
        }
        Some((all, rest))
    }
}

//! The sources that one box speaks for: found in a few steps, however many prefixes there are.

use protocol::prefix::Prefix;
use std::sync::Arc;

/// Prefixes, and the ranges of addresses that they come to. Key rings one after another share them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Prefixes {
    listed: Arc<[Prefix]>,
    /// First and last address of each, ascending; no two of them touch.
    ranges: Arc<[(u128, u128)]>,
}

impl Prefixes {
    /// Whether an address lies within one of them.
    #[inline]
    #[must_use]
    pub fn contains(&self, address: u128) -> bool {
        self.range_of(address).is_some()
    }

    /// Addresses around this one that lie within them too, first and last. `None`: this one does not.
    #[inline]
    #[must_use]
    pub fn range_of(&self, address: u128) -> Option<(u128, u128)> {
        let behind = self.ranges.partition_point(|&(first, _)| first <= address);
        self.ranges.get(behind.checked_sub(1)?).copied().filter(|&(_, last)| address <= last)
    }

    /// First and last address of each range that they come to, ascending.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u128, u128)> {
        self.ranges.iter().copied()
    }

    /// As they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Prefix> {
        self.listed.iter()
    }
}

impl From<Vec<Prefix>> for Prefixes {
    fn from(listed: Vec<Prefix>) -> Self {
        let mut all: Vec<_> = listed.iter().map(|p| (p.first_bits(), p.last_bits())).collect();
        all.sort_unstable();
        let mut ranges: Vec<(u128, u128)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match ranges.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => ranges.push((first, last)),
            }
        }
        Self { listed: listed.into(), ranges: ranges.into() }
    }
}

impl FromIterator<Prefix> for Prefixes {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        prefixes.into_iter().collect::<Vec<_>>().into()
    }
}

impl core::fmt::Debug for Prefixes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.listed.iter()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Prefixes and addresses that meet often: within few bits, at both ends of the address space.
    fn prefix() -> impl Strategy<Value = Prefix> {
        (address(), prop_oneof![0u8..=8, 120u8..=128])
            .prop_map(|(address, len)| Prefix::new(address.to_be_bytes(), len).expect("a length"))
    }

    fn address() -> impl Strategy<Value = u128> {
        (any::<u8>(), any::<u8>()).prop_map(|(high, low)| u128::from(high) << 120 | u128::from(low))
    }

    proptest! {
        #[test]
        fn as_if_each_prefix_were_asked(listed in prop::collection::vec(prefix(), 0..64), addresses in prop::collection::vec(address(), 1..32)) {
            let prefixes = Prefixes::from(listed.clone());
            let ends = listed.iter().flat_map(|p| [p.first_bits(), p.last_bits(), p.first_bits().wrapping_sub(1), p.last_bits().wrapping_add(1)]);
            for address in addresses.into_iter().chain(ends) {
                prop_assert_eq!(prefixes.contains(address), listed.iter().any(|p| p.contains_bits(address)));
            }
        }
    }
}

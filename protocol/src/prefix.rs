//! IPv6 prefixes: what nodes speak for and rules match.

/// An IPv6 prefix. `contains` is two masked 64-bit compares.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    network: u128,
    mask: u128,
    len: u8,
}

impl Prefix {
    /// `::/0`: every address.
    pub const ANY: Self = Self { network: 0, mask: 0, len: 0 };

    /// A prefix of `len` bits (at most 128); bits behind it are cleared.
    #[must_use]
    pub const fn new(address: [u8; 16], len: u8) -> Option<Self> {
        if len > 128 {
            return None;
        }
        let mask = if len == 0 { 0 } else { u128::MAX << (128 - len) };
        Some(Self { network: u128::from_be_bytes(address) & mask, mask, len })
    }

    /// Whether the address lies within.
    #[must_use]
    pub const fn contains(&self, address: &[u8; 16]) -> bool {
        self.contains_bits(u128::from_be_bytes(*address))
    }

    /// The same of an address as a number.
    #[inline]
    #[must_use]
    pub const fn contains_bits(&self, address: u128) -> bool {
        address & self.mask == self.network
    }

    /// Whether two prefixes share an address.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        let mask = self.mask & other.mask;
        self.network & mask == other.network & mask
    }

    /// Whether all addresses of the other lie within.
    #[must_use]
    pub const fn covers(&self, other: &Self) -> bool {
        self.len <= other.len && self.overlaps(other)
    }

    /// Its first address.
    #[must_use]
    pub const fn address(&self) -> [u8; 16] {
        self.network.to_be_bytes()
    }

    /// Its first address, as a number.
    #[must_use]
    pub const fn first_bits(&self) -> u128 {
        self.network
    }

    /// Its last address, as a number.
    #[must_use]
    pub const fn last_bits(&self) -> u128 {
        self.network | !self.mask
    }

    /// Prefix length in bits.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a prefix is never empty")]
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// Whether it is `::/0`.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.len == 0
    }
}

impl core::fmt::Display for Prefix {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", core::net::Ipv6Addr::from(self.network), self.len)
    }
}

impl core::fmt::Debug for Prefix {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl core::str::FromStr for Prefix {
    type Err = String;

    /// `2001:db8::/32`, or an address alone for a /128. Host bits must be zero.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, len) = match text.split_once('/') {
            Some((a, l)) => (a, l.parse::<u8>().map_err(|_| format!("'{l}' is not a prefix length (0 to 128)"))?),
            None => (text, 128),
        };
        let address: core::net::Ipv6Addr =
            address.parse().map_err(|_| format!("'{address}' is not an IPv6 address"))?;
        let prefix =
            Self::new(address.octets(), len).ok_or_else(|| format!("'{len}' is not a prefix length (0 to 128)"))?;
        if prefix.network != u128::from(address) {
            return Err(format!("'{text}' has bits set behind its prefix length; did you mean {prefix}?"));
        }
        Ok(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_what_lies_within_it() {
        let prefix = |text: &str| text.parse::<Prefix>().expect(text);
        for (wide, narrow) in [("::/0", "2001:db8::/32"), ("2001:db8::/32", "2001:db8:1::/48"), ("::1/128", "::1/128")]
        {
            assert!(prefix(wide).covers(&prefix(narrow)), "{wide} {narrow}");
            assert_eq!(prefix(narrow).covers(&prefix(wide)), wide == narrow, "{narrow} {wide}");
        }
        assert!(!prefix("2001:db8::/32").covers(&prefix("2001:db9::/48")));
    }
}

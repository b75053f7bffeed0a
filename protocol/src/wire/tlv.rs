//! The options of a Hop-by-Hop or Destination Options header, one after the other (RFC 8200 section 4.2).

/// Padding of one octet, the only option without a length.
pub(crate) const PAD1: u8 = 0;
/// Padding of two octets or more.
pub const PADN: u8 = 1;
/// Octets before the first option: Next Header and Hdr Ext Len.
pub(crate) const FIRST_AT: usize = 2;

/// One option. Offsets count from the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tlv {
    /// Option Type.
    pub kind: u8,
    /// Offset of the Option Type octet.
    pub at: usize,
    /// Offset behind the option.
    pub end: usize,
}

impl Tlv {
    /// Whether it only fills.
    #[inline]
    pub const fn is_padding(self) -> bool {
        self.kind == PAD1 || self.kind == PADN
    }
}

/// The last option does not end within its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Overrun;

/// Steps over options by their length; ends behind the first error. Each octet is looked at once.
#[derive(Clone, Debug)]
pub(crate) struct Tlvs<'a> {
    header: &'a [u8],
    at: usize,
}

impl<'a> Tlvs<'a> {
    /// The options of a header, which is given from its Next Header octet to its end.
    #[inline]
    pub const fn of(header: &'a [u8]) -> Self {
        Self { header, at: FIRST_AT }
    }
}

impl Iterator for Tlvs<'_> {
    type Item = Result<Tlv, Overrun>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let &kind = self.header.get(at)?;
        let end = match self.header.get(at + 1) {
            _ if kind == PAD1 => at + 1,
            Some(&len) => at + 2 + usize::from(len),
            None => usize::MAX,
        };
        self.at = end;
        Some(if end <= self.header.len() { Ok(Tlv { kind, at, end }) } else { Err(Overrun) })
    }
}

/// Fills a gap with the one padding option of its length (0 to 257 octets).
#[inline]
pub(crate) fn pad(gap: &mut [u8]) {
    gap.fill(0); // Pad1, or what stands in PadN
    let len = gap.len();
    if len >= 2 {
        gap[0] = PADN;
        gap[1] = (len - 2) as u8;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn kinds(header: &[u8]) -> Vec<Result<(u8, usize, usize), Overrun>> {
        Tlvs::of(header).map(|t| t.map(|t| (t.kind, t.at, t.end))).collect()
    }

    #[test]
    fn steps_by_length() {
        let header = [59, 1, 0, 1, 2, 9, 9, 0x1E, 3, 1, 2, 3, 1, 0, 0, 0];
        let expected = [(0, 2, 3), (1, 3, 7), (0x1E, 7, 12), (1, 12, 14), (0, 14, 15), (0, 15, 16)];
        assert_eq!(kinds(&header), expected.map(Ok));
    }

    #[test]
    fn ends_at_the_first_error() {
        assert_eq!(kinds(&[59, 0, 1, 5, 0, 0, 0, 0]), [Err(Overrun)]);
        assert_eq!(kinds(&[59, 0, 1, 3, 0, 0, 0, 1]), [Ok((1, 2, 7)), Err(Overrun)], "no room for a length");
        assert_eq!(kinds(&[59, 0, 0xC2, 255, 0, 0, 0, 0]), [Err(Overrun)]);
        assert_eq!(kinds(&[]), []);
        assert_eq!(kinds(&[59, 0]), []);
    }

    #[test]
    fn padding_is_one_option_that_fits() {
        for len in 0..=257 {
            let mut header = vec![0xFF; len + 2];
            pad(&mut header[2..]);
            let all: Vec<_> = Tlvs::of(&header).collect();
            match len {
                0 => assert!(all.is_empty()),
                _ => assert_eq!(all, [Ok(Tlv { kind: u8::from(len > 1), at: 2, end: len + 2 })]),
            }
            assert!(header[2..].iter().skip(2).all(|&o| o == 0));
        }
    }
}

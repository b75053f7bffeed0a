//! Time stamps: ticks of a clock, whatever its resolution, as nanoseconds since 1970.

const NANOS: u64 = 1_000_000_000;

/// What a tick is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resolution {
    /// 10 to the power of minus this, seconds.
    Decimal(u32),
    /// 2 to the power of minus this, seconds.
    Binary(u32),
}

impl Resolution {
    pub(super) const MICROSECONDS: Self = Self::Decimal(6);
    pub(super) const NANOSECONDS: Self = Self::Decimal(9);

    /// The value of pcapng's `if_tsresol`.
    pub(super) const fn from_option(value: u8) -> Self {
        let exponent = (value & 0x7F) as u32;
        if value & 0x80 == 0 { Self::Decimal(exponent) } else { Self::Binary(exponent) }
    }

    /// Whether a tick is shorter than a microsecond.
    pub(super) const fn is_finer_than_microseconds(self) -> bool {
        match self {
            Self::Decimal(exponent) => exponent > 6,
            Self::Binary(exponent) => exponent > 19,
        }
    }

    /// So many ticks, in nanoseconds, without what is left over of one.
    fn nanos(self, ticks: u64) -> Option<u128> {
        let ticks = u128::from(ticks);
        match self {
            Self::Decimal(exponent @ 0..=9) => ticks.checked_mul(10u128.pow(9 - exponent)),
            // A power that has no place in a number is larger than all ticks there can be.
            Self::Decimal(exponent) => Some(10u128.checked_pow(exponent - 9).map_or(0, |per_nano| ticks / per_nano)),
            Self::Binary(exponent) => Some((ticks * u128::from(NANOS)).checked_shr(exponent).unwrap_or(0)),
        }
    }

    /// The time of so many ticks behind an offset in seconds; `None`: before 1970, or after 2554.
    pub(super) fn time_ns(self, ticks: u64, offset_s: i64) -> Option<u64> {
        let nanos = i128::try_from(self.nanos(ticks)?).ok()?;
        u64::try_from(nanos + i128::from(offset_s) * i128::from(NANOS)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resolution_gives_nanoseconds() {
        let half = 1_700_000_000_500_000_000;
        let cases = [
            (0x00, 1_700_000_000, 1_700_000_000_000_000_000),
            (0x03, 1_700_000_000_500, half),
            (0x06, 1_700_000_000_500_000, half),
            (0x09, half, half),
            (0x0A, 17_000_000_005_000_000_000, half),
            (0x80, 1_700_000_000, 1_700_000_000_000_000_000),
            (0x8A, 1_700_000_000 << 10 | 1 << 9, half),
            (0xA0, 1_700_000_000 << 32 | 1 << 31, half),
            (0xBF, 1 << 62, 500_000_000),
            (0xFF, u64::MAX, 0),
            (0x1D, u64::MAX, 0),
            (0x1C, u64::MAX, 1),
            (0x7F, u64::MAX, 0),
        ];
        for (option, ticks, expected) in cases {
            let resolution = Resolution::from_option(option);
            assert_eq!(resolution.time_ns(ticks, 0), Some(expected), "{option:#x}");
            assert_eq!(resolution.time_ns(ticks, 3600), Some(expected + 3600 * NANOS), "{option:#x}");
        }
        assert_eq!(Resolution::Decimal(0).time_ns(u64::MAX, 0), None, "after 2554");
        assert_eq!(Resolution::Decimal(6).time_ns(5_000_000, -5), Some(0));
        assert_eq!(Resolution::Decimal(6).time_ns(5_000_000, -6), None, "before 1970");
        assert_eq!(Resolution::Decimal(6).time_ns(u64::MAX, i64::MIN), None);
        assert_eq!(Resolution::Decimal(0).time_ns(u64::MAX, i64::MAX), None);
    }

    #[test]
    fn microseconds_hold_what_is_no_finer() {
        let finer = |option| Resolution::from_option(option).is_finer_than_microseconds();
        assert!([0x00, 0x03, 0x06, 0x80, 0x8A, 0x93].iter().all(|&o| !finer(o)));
        assert!([0x07, 0x09, 0x94, 0xA0, 0x7F, 0xFF].iter().all(|&o| finer(o)));
    }
}

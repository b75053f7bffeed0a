//! Delta times as PDM carries them: 16 bits and a scale (RFC 8250 section 3.2 and appendix A, profile section 3).
//!
//! The time in attoseconds (10^-18 s), shifted right until it fits into 16 bits; the scale is the number of shifts.
//! Truncated, never rounded.

const ATTOS_PER_NANO: u128 = 1_000_000_000;

/// A delta time on the wire: `value << scale` attoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scaled {
    /// The 16 highest bits.
    pub value: u16,
    /// Bits shifted out, 0..=112 in what this module makes, 0..=255 in what others send.
    pub scale: u8,
}

/// Scales a time in attoseconds.
#[inline]
#[must_use]
pub const fn from_attos(attos: u128) -> Scaled {
    let bits = u128::BITS - attos.leading_zeros();
    let scale = bits.saturating_sub(u16::BITS);
    Scaled { value: (attos >> scale) as u16, scale: scale as u8 }
}

/// Scales a time in nanoseconds.
#[inline]
#[must_use]
pub fn from_nanos(nanos: u64) -> Scaled {
    // Below 2^32 ns (4.3 s) the product with 10^9 is exact as a floating-point number (32 + 21 significant bits), whose
    // exponent and mantissa are the scale and the value.
    if nanos >> 32 == 0 {
        let bits = (f64::from(nanos as u32) * ATTOS_PER_NANO as f64).to_bits();
        let any = nanos != 0;
        let value = 1 << 15 | (bits >> (f64::MANTISSA_DIGITS - 16)) as u16;
        let scale = (bits >> (f64::MANTISSA_DIGITS - 1)).wrapping_sub(EXPONENT_BIAS + 15) as u8;
        return Scaled { value: if any { value } else { 0 }, scale: if any { scale } else { 0 } };
    }
    long(nanos)
}

const EXPONENT_BIAS: u64 = f64::MAX_EXP as u64 - 1;

/// The same for any time but 0.
#[cold]
const fn long(nanos: u64) -> Scaled {
    // The same as `from_attos(nanos * 10^9)`, without shifts of 128 bits: both factors have their highest bit set, so the
    // product's highest is one of the two topmost, and 16 bits from there on are the value. There are always that many.
    let zeros = nanos.leading_zeros();
    let high = (((nanos << zeros) as u128 * NANO_NORMAL as u128) >> 64) as u64;
    let one_less = high.leading_zeros();
    let scale = u64::BITS + NANO_BITS - zeros - one_less - u16::BITS;
    Scaled { value: ((high << one_less) >> 48) as u16, scale: scale as u8 }
}

/// 10^9 has so many bits.
const NANO_BITS: u32 = u128::BITS - ATTOS_PER_NANO.leading_zeros();
/// 10^9, its highest bit the topmost.
const NANO_NORMAL: u64 = (ATTOS_PER_NANO as u64) << (u64::BITS - NANO_BITS);

/// The time in attoseconds; `None` when it takes more than 128 bits.
#[inline]
#[must_use]
pub const fn to_attos(scaled: Scaled) -> Option<u128> {
    let value = scaled.value as u128;
    if value == 0 {
        return Some(0);
    }
    if scaled.scale as u32 > value.leading_zeros() {
        return None;
    }
    Some(value << scaled.scale)
}

/// The time in whole nanoseconds, truncated; `u64::MAX` when it is more than that (584 years).
#[inline]
#[must_use]
pub const fn to_nanos(scaled: Scaled) -> u64 {
    // Below 18 s, without 128 bits.
    if scaled.scale as u32 <= u64::BITS - u16::BITS {
        return ((scaled.value as u64) << scaled.scale) / ATTOS_PER_NANO as u64;
    }
    match to_attos(scaled) {
        Some(attos) if attos / ATTOS_PER_NANO <= u64::MAX as u128 => (attos / ATTOS_PER_NANO) as u64,
        _ => u64::MAX,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rule as it is written: shift by one while more than 16 bits are needed.
    fn by_the_letter(mut attos: u128) -> Scaled {
        let mut scale = 0;
        while attos > 0xFFFF {
            attos >>= 1;
            scale += 1;
        }
        Scaled { value: attos as u16, scale }
    }

    #[test]
    fn examples_of_the_profile_and_of_rfc_8250() {
        for (nanos, value, scale) in [
            (1_000_000_000, 0xDE0B, 44),
            (1_000_000, 0xE35F, 34),
            (1_000, 0xE8D4, 24),
            (1, 0xEE6B, 14),
            (39_838_000, 0x8D88, 40),
            (32_311_072_000, 0xE033, 49),
            (3_000_000_000, 0xA688, 46),
            (4_000_000_000, 0xDE0B, 46),
            (12_000_000_000, 0xA688, 48),
            (0, 0, 0),
        ] {
            assert_eq!(from_nanos(nanos), Scaled { value, scale }, "{nanos} ns");
        }
        assert_eq!(from_attos(65535), Scaled { value: 0xFFFF, scale: 0 });
        assert_eq!(from_attos(65536), Scaled { value: 0x8000, scale: 1 });
        assert_eq!(from_attos(u128::MAX), Scaled { value: 0xFFFF, scale: 112 });
    }

    #[test]
    fn saturates() {
        assert_eq!(to_attos(Scaled { value: 0xFFFF, scale: 112 }), Some(0xFFFF << 112));
        assert_eq!(to_attos(Scaled { value: 0xFFFF, scale: 113 }), None);
        assert_eq!(to_attos(Scaled { value: 1, scale: 127 }), Some(1 << 127));
        assert_eq!(to_attos(Scaled { value: 1, scale: 128 }), None);
        assert_eq!(to_attos(Scaled { value: 0, scale: 255 }), Some(0));
        assert_eq!(to_nanos(Scaled { value: 0, scale: 255 }), 0);
        assert_eq!(to_nanos(Scaled { value: 1, scale: 255 }), u64::MAX);
        assert_eq!(to_nanos(Scaled { value: 0xFFFF, scale: 100 }), u64::MAX);
        assert!(to_nanos(from_nanos(u64::MAX)) > u64::MAX - (u64::MAX >> 15));
    }

    proptest! {
        #[test]
        fn is_the_rule(attos: u128, shift in 0u32..128) {
            let attos = attos >> shift;
            prop_assert_eq!(from_attos(attos), by_the_letter(attos));
        }

        #[test]
        fn is_the_rule_in_nanoseconds(nanos: u64, shift in 0u32..64) {
            let nanos = nanos >> shift;
            prop_assert_eq!(from_nanos(nanos), by_the_letter(u128::from(nanos) * 1_000_000_000));
        }

        #[test]
        fn loses_less_than_the_last_bit(nanos: u64, shift in 0u32..64) {
            let nanos = nanos >> shift;
            let scaled = from_nanos(nanos);
            let exact = u128::from(nanos) * 1_000_000_000;
            let back = to_attos(scaled).expect("94 bits at most");
            prop_assert!(back <= exact && exact - back < 1 << scaled.scale);
            prop_assert_eq!(u128::from(to_nanos(scaled)), back / 1_000_000_000);
        }

        #[test]
        fn what_others_send_is_the_product(value: u16, scale: u8) {
            let scaled = Scaled { value, scale };
            // An independent way: double one by one, with overflow checked.
            let mut product = Some(u128::from(value));
            for _ in 0..scale {
                product = product.and_then(|p| p.checked_mul(2));
            }
            prop_assert_eq!(to_attos(scaled), product);
            let nanos = product.map_or(u64::MAX, |p| u64::try_from(p / 1_000_000_000).unwrap_or(u64::MAX));
            prop_assert_eq!(to_nanos(scaled), nanos);
        }
    }
}

//! Where IPv6 begins behind Ethernet's types: one list of the VLAN tags that are stepped over, for the box and for what
//! reads its captures.

/// VLAN tags that are stepped over at most (`QinQ` needs two).
pub const MAX_TAGS: usize = 4;

/// Offset of the first EtherType in an Ethernet frame.
pub const TYPE_AT: usize = 12;

/// Octets of a type, and of a tag's control information.
const TYPE: usize = 2;

/// Octets of a VLAN tag: its type and its control information.
pub const TAG_LEN: usize = 2 * TYPE;

const IPV6: [u8; TYPE] = [0x86, 0xDD];

/// The type of IPv4.
pub const IPV4: [u8; TYPE] = [0x08, 0x00];

/// Whether a type is a VLAN tag's.
#[inline]
#[must_use]
pub const fn is_tag(ethertype: [u8; TYPE]) -> bool {
    // 802.1Q, 802.1ad, and what stood for the outer tag before 802.1ad.
    matches!(ethertype, [0x81 | 0x91 | 0x92, 0x00] | [0x88, 0xA8])
}

/// Type of what an Ethernet frame carries under at most [`MAX_TAGS`] VLAN tags, and where that begins.
#[must_use]
pub fn behind_tags(frame: &[u8]) -> Option<([u8; 2], usize)> {
    let mut at = TYPE_AT;
    for _ in 0..=MAX_TAGS {
        match *frame.get(at..)?.first_chunk()? {
            tag if is_tag(tag) => at += TAG_LEN,
            other => return Some((other, at + TYPE)),
        }
    }
    None
}

/// Offset of the IPv6 header in an Ethernet frame that carries one under at most [`MAX_TAGS`] VLAN tags.
#[inline]
#[must_use]
pub fn ipv6_offset(frame: &[u8]) -> Option<usize> {
    ipv6_behind(*frame.get(TYPE_AT..)?.first_chunk()?, frame, TYPE_AT + TYPE)
}

/// The same where the first type does not stand directly before what it names: `at` is where that begins.
#[inline]
#[must_use]
pub fn ipv6_behind(mut ethertype: [u8; 2], frame: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..=MAX_TAGS {
        match ethertype {
            IPV6 => return Some(at),
            tag if is_tag(tag) => {
                ethertype = *frame.get(at + TYPE..)?.first_chunk()?;
                at += TAG_LEN;
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_over_tags_and_nothing_else() {
        let frame = |types: &[[u8; 2]]| {
            let mut f = vec![0; 12];
            for (i, t) in types.iter().enumerate() {
                f.extend_from_slice(t);
                if i + 1 < types.len() {
                    f.extend_from_slice(&[0, 5]);
                }
            }
            f
        };
        let six = [0x86, 0xDD];
        assert_eq!(ipv6_offset(&frame(&[six])), Some(14));
        for tag in [[0x81, 0], [0x88, 0xA8], [0x91, 0], [0x92, 0]] {
            assert_eq!(ipv6_offset(&frame(&[tag, six])), Some(18));
            assert_eq!(ipv6_offset(&frame(&[tag, [0x81, 0], six])), Some(22));
        }
        assert_eq!(ipv6_offset(&frame(&[[0x81, 0], [0x81, 0], [0x81, 0], [0x81, 0], six])), Some(30));
        assert_eq!(ipv6_offset(&frame(&[[0x81, 0], [0x81, 0], [0x81, 0], [0x81, 0], [0x81, 0], six])), None);
        assert_eq!(ipv6_offset(&frame(&[[0x81, 0]; 6])), None);
        assert_eq!(ipv6_offset(&frame(&[[8, 0]])), None);
        assert_eq!(ipv6_offset(&frame(&[[0x93, 0], six])), None);
        assert_eq!(ipv6_offset(&[0; 13]), None);
        assert_eq!(ipv6_offset(&[]), None);
        // A tag with nothing behind it.
        assert_eq!(ipv6_offset(&frame(&[[0x81, 0]])), None);
    }

    #[test]
    fn the_first_type_may_stand_elsewhere() {
        assert_eq!(ipv6_behind([0x86, 0xDD], &[], 20), Some(20));
        let mut cooked = [0; 24];
        cooked[22..].copy_from_slice(&[0x86, 0xDD]);
        assert_eq!(ipv6_behind([0x81, 0], &cooked, 20), Some(24));
        assert_eq!(ipv6_behind([0x81, 0], &cooked[..23], 20), None);
    }
}

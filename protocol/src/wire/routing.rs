//! Where a packet with a Routing header goes in the end (RFC 8200 section 4.4).

use super::walk_error::WalkError;

/// Offset of Routing Type.
const TYPE_AT: usize = 2;
/// Offset of Segments Left.
const SEGMENTS_LEFT_AT: usize = 3;
/// Offset of the first address in all four types.
const ADDRESSES_AT: usize = 8;
const ADDRESS: usize = 16;

/// Segments Left of a Routing header, which holds at least eight octets.
#[inline]
pub(super) fn segments_left(header: &[u8]) -> u8 {
    header[SEGMENTS_LEFT_AT]
}

/// The final destination of a packet whose Routing header has segments left. `header` is the whole header, at least
/// eight octets; `dst` is where the packet goes without it.
pub(super) fn final_destination(header: &[u8], dst: [u8; 16]) -> Result<[u8; 16], WalkError> {
    let left = usize::from(segments_left(header));
    let addresses = header.get(ADDRESSES_AT..).ok_or(WalkError::MalformedHeader)?;
    let found = match header[TYPE_AT] {
        0 => source_route(addresses, left),
        2 => home_address(addresses, left),
        3 => rpl(addresses, [header[4], header[5]], left, dst),
        4 => segment_list(addresses, usize::from(header[4]), left),
        _ => return Err(WalkError::UnknownRouting),
    };
    found.ok_or(WalkError::MalformedHeader)
}

fn address(octets: &[u8], index: usize) -> Option<[u8; 16]> {
    octets.get(index * ADDRESS..)?.first_chunk().copied()
}

/// Type 0 (RFC 2460 section 4.4, deprecated): addresses in travelling order, the last is the destination.
fn source_route(addresses: &[u8], left: usize) -> Option<[u8; 16]> {
    let count = addresses.len() / ADDRESS;
    if !addresses.len().is_multiple_of(ADDRESS) || left > count {
        return None;
    }
    address(addresses, count.checked_sub(1)?)
}

/// Type 2 (RFC 6275 section 6.4): one address, the mobile node's home.
fn home_address(addresses: &[u8], left: usize) -> Option<[u8; 16]> {
    if addresses.len() != ADDRESS || left != 1 {
        return None;
    }
    address(addresses, 0)
}

/// Type 3 (RFC 6554 section 3): addresses in travelling order without the first octets they share with the
/// destination: `CmprI` octets are left out of all but the last address, `CmprE` out of the last.
fn rpl(addresses: &[u8], [compressed, pad]: [u8; 2], left: usize, dst: [u8; 16]) -> Option<[u8; 16]> {
    let (cmpr_i, cmpr_e) = (usize::from(compressed >> 4), usize::from(compressed & 0x0F));
    let used = addresses.len().checked_sub(usize::from(pad >> 4))?;
    let last_at = used.checked_sub(ADDRESS - cmpr_e)?;
    if !last_at.is_multiple_of(ADDRESS - cmpr_i) || left > last_at / (ADDRESS - cmpr_i) + 1 {
        return None;
    }
    let mut last = dst;
    last[cmpr_e..].copy_from_slice(addresses.get(last_at..used)?);
    Some(last)
}

/// Type 4 (RFC 8754 sections 2 and 4.3.1.1): segments in reverse order, so the first is the destination; TLVs follow.
fn segment_list(addresses: &[u8], last_entry: usize, left: usize) -> Option<[u8; 16]> {
    if (last_entry + 1) * ADDRESS > addresses.len() || left > last_entry + 1 {
        return None;
    }
    address(addresses, 0)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const DST: [u8; 16] = [0xD0; 16];

    fn header(kind: u8, left: u8, four: [u8; 4], rest: &[u8]) -> Vec<u8> {
        let mut h = vec![6, (rest.len() / 8) as u8, kind, left];
        h.extend_from_slice(&four);
        h.extend_from_slice(rest);
        assert_eq!(h.len() % 8, 0);
        h
    }

    fn to(kind: u8, left: u8, four: [u8; 4], rest: &[u8]) -> Result<[u8; 16], WalkError> {
        final_destination(&header(kind, left, four, rest), DST)
    }

    const MALFORMED: Result<[u8; 16], WalkError> = Err(WalkError::MalformedHeader);

    #[test]
    fn source_routes_end_at_the_last_address() {
        let two = [[1; 16], [2; 16]].concat();
        assert_eq!(to(0, 1, [0; 4], &two), Ok([2; 16]));
        assert_eq!(to(0, 2, [0; 4], &two), Ok([2; 16]));
        assert_eq!(to(0, 3, [0; 4], &two), MALFORMED);
        assert_eq!(to(0, 1, [0; 4], &two[..24]), MALFORMED, "half an address");
        assert_eq!(to(0, 1, [0; 4], &[]), MALFORMED);
    }

    #[test]
    fn a_mobile_node_is_at_its_home_address() {
        assert_eq!(to(2, 1, [0; 4], &[7; 16]), Ok([7; 16]));
        assert_eq!(to(2, 2, [0; 4], &[7; 16]), MALFORMED);
        assert_eq!(to(2, 1, [0; 4], &[7; 32]), MALFORMED);
        assert_eq!(to(2, 1, [0; 4], &[]), MALFORMED);
    }

    #[test]
    fn rpl_addresses_are_completed_from_the_destination() {
        // CmprI 15, CmprE 14: two addresses of one octet, one of two, four of padding.
        let mut expected = DST;
        expected[14..].copy_from_slice(&[8, 9]);
        assert_eq!(to(3, 3, [0xFE, 0x40, 0, 0], &[1, 2, 8, 9, 0, 0, 0, 0]), Ok(expected));
        assert_eq!(to(3, 4, [0xFE, 0x40, 0, 0], &[1, 2, 8, 9, 0, 0, 0, 0]), MALFORMED);
        assert_eq!(to(3, 1, [0x00, 0x00, 0, 0], &[5; 16]), Ok([5; 16]));
        assert_eq!(to(3, 1, [0x00, 0x80, 0, 0], &[5; 16]), MALFORMED, "the padding takes half the address");
        assert_eq!(to(3, 1, [0x80, 0x00, 0, 0], &[5; 32]), Ok([5; 16]), "two of eight octets and one of 16");
        assert_eq!(to(3, 1, [0x70, 0x00, 0, 0], &[5; 32]), MALFORMED, "16 octets are not addresses of nine");
        assert_eq!(to(3, 1, [0x00, 0x00, 0, 0], &[]), MALFORMED);
        assert_eq!(to(3, 1, [0xFF, 0xF0, 0, 0], &[0; 8]), MALFORMED);
    }

    #[test]
    fn segment_routes_end_at_the_first_segment() {
        let two = [[1; 16], [2; 16]].concat();
        assert_eq!(to(4, 1, [1, 0, 0, 0], &two), Ok([1; 16]));
        assert_eq!(to(4, 2, [1, 0, 0, 0], &two), Ok([1; 16]), "reduced: the first segment is in the IPv6 header only");
        assert_eq!(to(4, 3, [1, 0, 0, 0], &two), MALFORMED);
        assert_eq!(to(4, 1, [2, 0, 0, 0], &two), MALFORMED);
        assert_eq!(to(4, 1, [0, 0, 0, 0], &[[1; 16].as_slice(), &[5, 6, 0, 0, 0, 0, 0, 0]].concat()), Ok([1; 16]));
        assert_eq!(to(4, 1, [0, 0, 0, 0], &[]), MALFORMED);
    }

    #[test]
    fn others_are_unknown() {
        for kind in [1, 5, 6, 253, 255] {
            assert_eq!(to(kind, 1, [0; 4], &[1; 16]), Err(WalkError::UnknownRouting));
        }
    }
}

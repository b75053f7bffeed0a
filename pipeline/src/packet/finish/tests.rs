use super::*;
use crate::packet::buffer::VecBuf;
use crate::packet::checksum;
use crate::testing::{A, B, frame, frame_between};

/// A TCP segment from A to B with so many octets of data.
fn segment(payload: usize) -> Vec<u8> {
    let mut f = frame_between(A, B, 1000, 443, payload + 12);
    (f[20], f[54 + 12]) = (ipv6::TCP, 5 << 4);
    f
}

/// The same under IPv4.
fn in_ipv4(ipv6: &[u8]) -> Vec<u8> {
    let upper = &ipv6[54..];
    let mut f = ipv6[..12].to_vec();
    f.extend([8, 0, 0x46, 0]);
    f.extend((24 + upper.len() as u16).to_be_bytes());
    f.extend([0, 1, 0x40, 0, 64, ipv6[20], 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, 1, 1, 1, 0]);
    f.extend(upper);
    f
}

/// The pseudo-header's sum, made in another way: octet by octet, of what the frame says.
fn pseudo(frame: &[u8], l3: usize, upper: usize, end: usize) -> u16 {
    let is_4 = frame[l3] >> 4 == 4;
    let addresses = if is_4 { &frame[l3 + 12..l3 + 20] } else { &frame[l3 + 8..l3 + 40] };
    let protocol = if is_4 {
        frame[l3 + 9]
    } else if upper > l3 + 40 {
        frame[l3 + 40]
    } else {
        frame[l3 + 6]
    };
    let mut sum = u32::from(protocol) + (end - upper) as u32;
    for (i, &octet) in addresses.iter().enumerate() {
        sum += u32::from(octet) << if i % 2 == 0 { 8 } else { 0 };
    }
    (sum % 0xFFFF) as u16
}

/// Whether the upper layer's checksum is right: with it in place everything sums up to nothing.
fn is_right(frame: &[u8], l3: usize, upper: usize, end: usize) -> bool {
    let sum = u64::from(pseudo(frame, l3, upper, end)) + checksum::words(&frame[upper..end]);
    checksum::folded(sum) == 0xFFFF
}

/// A frame as a kernel leaves it, with what stands where in it.
struct Left {
    frame: Vec<u8>,
    l3: usize,
    upper: usize,
    field: usize,
    end: usize,
}

fn left(mut frame: Vec<u8>, l3: usize, upper: usize, field: usize) -> Left {
    let end = frame.len();
    let sum = pseudo(&frame, l3, upper, end);
    frame[upper + field..][..2].copy_from_slice(&sum.to_be_bytes());
    Left { frame, l3, upper, field: upper + field, end }
}

fn all_kinds() -> Vec<Left> {
    let mut tagged = segment(33);
    tagged.splice(12..12, [0x88, 0xA8, 0, 7, 0x81, 0, 0, 5]);
    let mut with_header = segment(20);
    (with_header[20], with_header[19]) = (60, with_header[19] + 8);
    with_header.splice(54..54, [ipv6::TCP, 0, 1, 4, 0, 0, 0, 0]);
    vec![
        left(segment(0), 14, 54, 16),
        left(segment(1401), 14, 54, 16),
        left(frame(1000, 100), 14, 54, 6),
        left(frame(1000, 0), 14, 54, 6),
        left(tagged, 22, 62, 16),
        left(with_header, 14, 62, 16),
        left(in_ipv4(&segment(21)), 14, 38, 16),
        left(in_ipv4(&frame(1000, 8)), 14, 38, 6),
    ]
}

#[test]
fn what_a_kernel_left_is_finished_and_nothing_else_changes() {
    for (i, Left { frame, l3, upper, field, end }) in all_kinds().into_iter().enumerate() {
        for padding in [0, 6] {
            let mut before = frame.clone();
            before.resize(end + padding, 0xEE);
            let mut packet = VecBuf::new(&before);
            assert!(!is_right(packet.data(), l3, upper, end), "kind {i}");
            assert!(finish(&mut packet, false), "kind {i}");
            assert!(is_right(packet.data(), l3, upper, end), "kind {i}");
            let finished = packet.data().to_vec();
            before[field..field + 2].copy_from_slice(&finished[field..field + 2]);
            assert_eq!(finished, before, "kind {i}");
            // What is finished is left alone, and comes out the same where the driver says that it is not.
            assert!(!finish(&mut packet, false) && finish(&mut packet, true));
            assert_eq!(packet.data(), finished, "kind {i}");
        }
    }
}

#[test]
fn a_checksum_that_is_wrong_stays_wrong_unless_the_driver_says_why() {
    for Left { mut frame, l3, upper, field, end } in all_kinds() {
        frame[field] ^= 0x55;
        let mut packet = VecBuf::new(&frame);
        assert!(!finish(&mut packet, false));
        assert_eq!(packet.data(), frame);
        assert!(finish(&mut packet, true) && is_right(packet.data(), l3, upper, end));
    }
}

#[test]
fn udp_never_gets_a_checksum_that_says_there_is_none() {
    // The last word of data takes each value: with one of them the sum is 0.
    let mut seen = 0;
    let mut f = frame(1000, 2);
    for word in 0..=u16::MAX {
        let end = f.len();
        f[end - 2..].copy_from_slice(&word.to_be_bytes());
        let mut packet = VecBuf::new(&f);
        assert!(finish(&mut packet, true));
        let field = &packet.data()[60..62];
        assert!(field != [0, 0]);
        seen += u32::from(field == [0xFF, 0xFF]);
    }
    assert!(seen >= 1, "and one was that");
}

#[test]
fn what_has_no_such_checksum_or_contradicts_itself_is_left_alone() {
    let whole = all_kinds();
    let mut others = vec![Vec::new(), vec![0; 14]];
    for Left { frame, .. } in &whole {
        (0..frame.len().min(80)).for_each(|len| others.push(frame[..len].to_vec()));
    }
    let mut icmp = frame(1000, 20);
    icmp[20] = ipv6::ICMPV6;
    let mut fragment = in_ipv4(&segment(21));
    fragment[20] = 0x20;
    let mut late_fragment = in_ipv4(&segment(21));
    late_fragment[21] = 9;
    let mut longer = in_ipv4(&segment(21));
    longer[17] += 1;
    let mut short_header = in_ipv4(&segment(21));
    short_header[14] = 0x44;
    others.extend([icmp, fragment, late_fragment, longer, short_header]);
    for octets in others {
        let mut packet = VecBuf::new(&octets);
        assert!(!finish(&mut packet, true), "{packet:?}");
        assert_eq!(packet.data(), octets);
    }
}

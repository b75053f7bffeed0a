//! pcapng that is written (draft-ietf-opsawg-pcapng), block by block, so that it can be streamed: one interface, times in
//! nanoseconds, a comment on each packet.

use super::LinkType;

const SECTION: u32 = 0x0A0D_0D0A;
const BYTE_ORDER: u32 = 0x1A2B_3C4D;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// Options, by what they are of.
mod option {
    pub const END: u16 = 0;
    pub const COMMENT: u16 = 1;
    pub const INTERFACE_NAME: u16 = 2;
    pub const TIME_RESOLUTION: u16 = 9;
    pub const APPLICATION: u16 = 4;
    pub const RECEIVED: u16 = 4;
    pub const DROPPED: u16 = 5;
}

/// Nanoseconds, as a power of ten.
const NANOSECONDS: u8 = 9;

/// Options are no longer than their length can say.
const LONGEST: usize = u16::MAX as usize;

/// What the file begins with. `snaplen`: octets of a packet, at most.
#[must_use]
pub fn head(application: &str, interface: &str, link: LinkType, snaplen: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&BYTE_ORDER.to_le_bytes());
    body.extend_from_slice(&[1, 0, 0, 0]); // version 1.0
    body.extend_from_slice(&u64::MAX.to_le_bytes()); // as long as it is
    options(&mut body, &[(option::APPLICATION, application.as_bytes())]);
    let mut octets = block(SECTION, &body);
    body.clear();
    body.extend_from_slice(&link.0.to_le_bytes());
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&snaplen.to_le_bytes());
    options(&mut body, &[(option::INTERFACE_NAME, interface.as_bytes()), (option::TIME_RESOLUTION, &[NANOSECONDS])]);
    octets.extend(block(INTERFACE, &body));
    octets
}

/// A packet: when, as much of it as there is, octets it had, and what is said of it.
#[must_use]
pub fn packet(time_ns: u64, data: &[u8], original: usize, comment: &str) -> Vec<u8> {
    let len = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut body = Vec::with_capacity(data.len() + comment.len() + 64);
    for word in [0, (time_ns >> 32) as u32, time_ns as u32, len(data.len()), len(original)] {
        body.extend_from_slice(&word.to_le_bytes());
    }
    body.extend_from_slice(data);
    pad(&mut body);
    options(&mut body, &[(option::COMMENT, comment.as_bytes())]);
    block(ENHANCED_PACKET, &body)
}

/// What the file ends with: packets that were to be captured, and those that were not.
#[must_use]
pub fn statistics(time_ns: u64, received: u64, dropped: u64) -> Vec<u8> {
    let mut body = Vec::new();
    for word in [0, (time_ns >> 32) as u32, time_ns as u32] {
        body.extend_from_slice(&word.to_le_bytes());
    }
    let counts = [(option::RECEIVED, &received.to_le_bytes()[..]), (option::DROPPED, &dropped.to_le_bytes()[..])];
    options(&mut body, &counts);
    block(STATISTICS, &body)
}

fn options(body: &mut Vec<u8>, all: &[(u16, &[u8])]) {
    for (code, value) in all {
        let value = value.get(..LONGEST).unwrap_or(value);
        body.extend_from_slice(&code.to_le_bytes());
        body.extend_from_slice(&(value.len() as u16).to_le_bytes());
        body.extend_from_slice(value);
        pad(body);
    }
    body.extend_from_slice(&option::END.to_le_bytes());
    body.extend_from_slice(&[0, 0]);
}

/// Every part begins at a multiple of four.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    [&kind.to_le_bytes()[..], &len, body, &len].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Capture;

    #[test]
    fn what_is_written_is_read_again() {
        let mut file = head("pdmv2", "outside", LinkType::ETHERNET, 64);
        for n in 1..=5u8 {
            file.extend(packet(
                1_700_000_000_123_456_789 + u64::from(n),
                &vec![n; usize::from(n) * 7],
                100,
                "ä, added",
            ));
        }
        file.extend(statistics(1_700_000_001_000_000_000, 7, 2));
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.pcapng");
        std::fs::write(&path, file).expect("written");
        let mut reader = Capture::open(&path).expect("a capture");
        for n in 1..=5u8 {
            let frame = reader.next_frame().expect("readable").expect("a frame");
            assert_eq!(frame.time_ns, Some(1_700_000_000_123_456_789 + u64::from(n)));
            assert_eq!((frame.data, frame.original_len), (&vec![n; usize::from(n) * 7][..], 100));
        }
        assert!(reader.next_frame().expect("readable").is_none());
    }
}

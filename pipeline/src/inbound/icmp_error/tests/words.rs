//! What the second word of an error says: pointers, codes, lengths.

use super::*;

#[test]
fn a_pointer_goes_where_the_hosts_octet_was() {
    for (mode, form) in FORMS {
        let added = form.header_len() as u32;
        for pointer in 0..150u32 {
            // A header of the box's own, from 40 on: octet 6 names it, and its first one the upper layer.
            let expected = match pointer {
                6 => None,
                40 => Some(6),
                p if p < 40 => Some(p),
                p if p < 40 + added => None,
                p => Some(p - added),
            };
            pointed(mode, false, [4, 1], pointer, expected);
            // Appended to one of the host's, whose length is its second octet.
            let expected = match pointer {
                41 => None,
                p if p < 48 => Some(p),
                p if p < 48 + added => None,
                p => Some(p - added),
            };
            pointed(mode, true, [4, 0], pointer, expected);
        }
        for code in 6..=10 {
            pointed(mode, false, [4, code], 40 + added, None);
        }
        pointed(mode, false, [1, 8], 0, None);
        pointed(mode, false, [1, 1], 0, Some(0));
    }
}

/// What a host hears of an error of this second word; nothing of what the box has put in, which then stays away.
fn pointed(mode: Mode, own_header: bool, types: [u8; 2], word: u32, expected: Option<u32>) {
    let (side, mut worker, packet, measured) = sent(mode, ipv6::UDP, own_header, 400);
    let (outcome, heard) = back(&mut worker, &error(types, word, &measured), 7);
    let again = [ethernet(0), packet].concat();
    match expected {
        Some(word) => {
            assert_eq!((outcome, mtu_of(&heard)), (Outcome::Passed(Reason::NoOption), word), "{mode:?} {types:?}");
            assert_eq!(sum(&heard[14..]), 0xFFFF);
            assert!(matches!(out(&mut worker, &again, 8).0, Outcome::Added(_)));
        }
        None => {
            assert_eq!(outcome, Outcome::Dropped(Reason::OptionRefused), "{mode:?} {types:?} at {word}");
            assert_eq!(out(&mut worker, &again, 8), (Outcome::Passed(Reason::OptionRefused), again.clone()));
            side.shared.path_mtus.expire(700 * SECOND);
            assert!(matches!(out(&mut worker, &again, 700 * SECOND).0, Outcome::Added(_)));
        }
    }
}

/// RFC 4884: extensions stand behind the packet quoted, which takes at least 128 octets.
#[test]
fn extensions_stay_where_their_reader_looks() {
    const EXTENSION: [u8; 12] = [0x20, 0, 0xAB, 0xCD, 0, 8, 1, 1, 9, 9, 9, 9];
    for (mode, form) in FORMS {
        let added = form.header_len();
        for (kind, len) in [(1, 128), (3, 136), (3, 160), (1, 256), (3, 1208)] {
            let (_side, mut worker, packet, measured) = sent(mode, ipv6::UDP, false, 1400);
            let quoted = [&measured[..len], &EXTENSION].concat();
            let (_, heard) = back(&mut worker, &error([kind, 0], (len as u32 / 8) << 24, &quoted), 7);
            let heard = &heard[14..];
            assert_eq!((ipv6::payload_len(heard) + 40, sum(heard)), (heard.len(), 0xFFFF));
            let left = (len - added).max(128);
            assert_eq!(heard[44..48], [(left / 8) as u8, 0, 0, 0]);
            assert_eq!(heard[48..48 + len - added], packet[..len - added]);
            assert!(heard[48 + len - added..48 + left].iter().all(|&o| o == 0));
            assert_eq!(heard[48 + left..], EXTENSION);
        }
        // A length that is not there.
        let (side, mut worker, _, measured) = sent(mode, ipv6::UDP, false, 1400);
        let error = error([3, 0], 200 << 24, &measured[..1232]);
        changes_nothing(&side, &mut worker, &error, None, "a length behind its end");
    }
}

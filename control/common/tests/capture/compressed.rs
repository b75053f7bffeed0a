//! Captures that gzip and zstd have compressed: whole, in pieces, cut, damaged.

use super::*;

fn gzip(octets: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(octets).and_then(|()| encoder.finish()).expect("packed")
}

fn zstd(octets: &[u8]) -> Vec<u8> {
    zstd::encode_all(octets, 1).expect("packed")
}

#[test]
fn compressed_captures_are_read_as_they_are() {
    let (mut pcap, mut ng) = (Pcap::new(Order::Little, MICRO, 0, 1), Pcapng::new(Order::Big));
    ng.interface(1, 0, &[]);
    for f in &frames() {
        pcap.whole(1, 2, f);
        ng.enhanced(0, 5, f);
    }
    for file in [pcap.file, ng.file] {
        let plain = whole(&file);
        // Of one piece, and of two put one behind the other; behind a frame that is to be skipped.
        let (head, tail) = file.split_at(file.len() / 3);
        let skipped = [&[0x50, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 9, 9][..], &zstd(&file)].concat();
        let packed =
            [gzip(&file), zstd(&file), [gzip(head), gzip(tail)].concat(), [zstd(head), zstd(tail)].concat(), skipped];
        for packed in &packed {
            assert_eq!(whole(packed), plain);
            for len in (4..packed.len()).step_by(3) {
                let (seen, error) = read(&packed[..len]);
                assert!(plain.starts_with(&seen), "{len}");
                if let Some(error) = error.map(|e| e.to_string()) {
                    assert!(
                        error.contains(" -t") || error.contains("cut off") || error.contains("not a pcap"),
                        "{error}"
                    );
                }
            }
            for at in (0..packed.len()).step_by(5) {
                let mut wrong = packed.clone();
                wrong[at] ^= 0x41;
                let _ = read(&wrong);
            }
        }
        assert!(error_behind(0, &gzip(&zstd(&file))).contains("twice"));
    }
}

#[test]
fn a_window_of_gigabytes_is_refused() {
    // A frame header that asks for 2^31 octets of window.
    let error = error_behind(0, &[0x28, 0xB5, 0x2F, 0xFD, 0, (31 - 10) << 3, 1, 0, 0]);
    assert!(error.contains("zstd -t --long=31"), "{error}");
}

/// What some kilobytes unpack to is bounded as in any capture.
#[test]
fn what_unpacks_to_much_is_bounded_as_ever() {
    let mut pcap = Pcap::new(Order::Little, MICRO, 0, 1);
    pcap.record(1, 2, [1 << 25; 2], &vec![0; 1 << 25]);
    let packed = zstd(&pcap.file);
    assert!(packed.len() < 1 << 16);
    let seen = whole(&packed);
    assert_eq!((seen.len(), seen[0].data.len()), (1, 1 << 25));
    pcap.record(1, 2, [u32::MAX; 2], &[]);
    assert!(error_behind(1, &zstd(&pcap.file)).contains("claims 4294967295 octets"));
}

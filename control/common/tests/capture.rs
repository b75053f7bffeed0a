//! The reader of captures: every format, byte order, clock and kind of record; what a file claims falsely; and tshark's
//! opinion of the same files.

#[path = "capture/compressed.rs"]
mod compressed;

use common::capture::{Capture, CaptureError, LinkType, Writer};
use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use testkit::captures::by_hand::{MICRO, NANO, ORDERS, Opt, Order, PATCHED, Pcap, Pcapng};

/// What a test wants of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    link: u16,
    time_ns: Option<u64>,
    data: Vec<u8>,
    original_len: usize,
    check_sequence: usize,
}

/// The frames, and the error that ended them.
fn read(file: &[u8]) -> (Vec<Seen>, Option<CaptureError>) {
    let mut seen = Vec::new();
    let done = Capture::read(Path::new("c"), Box::new(Cursor::new(file.to_vec()))).and_then(|mut capture| {
        capture.for_each::<CaptureError>(|frame| {
            assert_eq!(frame.number, seen.len() as u64 + 1);
            assert!(frame.original_len >= frame.data.len());
            seen.push(Seen {
                link: frame.link.0,
                time_ns: frame.time_ns,
                data: frame.data.to_vec(),
                original_len: frame.original_len,
                check_sequence: frame.check_sequence,
            });
            Ok(true)
        })
    });
    (seen, done.err())
}

fn whole(file: &[u8]) -> Vec<Seen> {
    let (seen, error) = read(file);
    assert!(error.is_none(), "{error:?}");
    seen
}

/// The error of a file, behind so many frames.
fn error_behind(frames: usize, file: &[u8]) -> String {
    let (seen, error) = read(file);
    let text = error.map(|e| e.to_string()).unwrap_or_default();
    assert_eq!(seen.len(), frames, "{text}");
    text
}

/// Frames of all remainders of four, one of them empty.
fn frames() -> Vec<Vec<u8>> {
    [60, 61, 62, 63, 0, 1514].iter().map(|&n| (0..n).map(|i| (i * 7 + n) as u8).collect()).collect()
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn pcap_in_every_byte_order_clock_and_record() {
    for order in ORDERS {
        for (magic, tick) in [(MICRO, 1000), (NANO, 1), (PATCHED, 1000)] {
            // The snaplen does not say what a record holds: the record does.
            for snaplen in [0, 64, 65_535, u32::MAX] {
                let mut pcap = Pcap::new(order, magic, snaplen, 1);
                for f in &frames() {
                    pcap.whole(1_700_000_000, 999_999, f);
                }
                pcap.record(u32::MAX, 1, [2, 5], &[8, 9]);
                let seen = whole(&pcap.file);
                assert_eq!(seen.len(), frames().len() + 1, "{order:?} {magic:x} {snaplen}");
                for (seen, data) in seen.iter().zip(frames()) {
                    let time_ns = Some(1_700_000_000 * SECOND + 999_999 * tick);
                    let original_len = data.len();
                    assert_eq!(*seen, Seen { link: 1, time_ns, data, original_len, check_sequence: 0 });
                }
                let last = seen.last().expect("a frame");
                assert_eq!((last.time_ns, last.original_len), (Some(u64::from(u32::MAX) * SECOND + tick), 5));
            }
        }
    }
}

#[test]
fn pcap_of_old_versions_has_its_lengths_the_other_way() {
    for (version, lengths) in
        [([2, 4], [3, 9]), ([2, 3], [9, 3]), ([2, 3], [3, 9]), ([2, 2], [9, 3]), ([543, 0], [9, 3])]
    {
        let mut pcap = Pcap::of_version(Order::Big, MICRO, version, 64, 101);
        pcap.record(1, 0, lengths, &[1, 2, 3]);
        let seen = whole(&pcap.file);
        assert_eq!((seen[0].data.len(), seen[0].original_len), (3, 9), "{version:?}");
    }
    let archaic = Pcap::of_version(Order::Little, MICRO, [1, 2], 64, 1).file;
    assert!(error_behind(0, &archaic).contains("version 1.2"));
}

#[test]
fn check_sequences_are_taken_off() {
    let frame = [7; 64];
    for order in ORDERS {
        // The word above the link type, and the octets that it announces. Without bit 26 it announces nothing.
        for (word, octets) in [(0x1400_0001, 2), (0x2400_0001, 4), (0x2000_0001, 0), (0x0400_0001, 0), (0x2BFF_0001, 0)]
        {
            let mut pcap = Pcap::new(order, MICRO, 0, word);
            pcap.whole(1, 0, &frame).record(1, 0, [63, 64], &frame[..63]).record(1, 0, [10, 64], &frame[..10]);
            pcap.whole(1, 0, &[7; 2]);
            let seen = whole(&pcap.file);
            let lens: Vec<_> = seen.iter().map(|s| (s.link, s.data.len(), s.original_len, s.check_sequence)).collect();
            // What was cut off with the check sequence is not cut off twice, and a frame is more than that.
            let (rest, tiny) = (64 - octets, (1, 2, 2, 0));
            assert_eq!(lens, [(1, rest, rest, octets), (1, rest.min(63), rest, octets), (1, 10, rest, octets), tiny]);
        }
        // The interface says bits, or octets; a packet's own word counts more.
        for (option, octets) in [(0, 0), (2, 2), (4, 4), (16, 2), (32, 4)] {
            let mut ng = Pcapng::new(order);
            ng.interface(1, 0, &[(13, &[option])]);
            ng.enhanced(0, 1, &frame).packet(0, 1, &frame).simple(&frame, 64);
            let own = order.u32(3 << 5 | 1);
            let body = ng.enhanced_body(0, 1, &frame, [64, 64], &[(1, b"text"), (2, &own)]);
            ng.block(6, &body);
            let lens: Vec<_> = whole(&ng.file).iter().map(|s| s.data.len()).collect();
            let rest = 64 - octets;
            assert_eq!(lens, [rest, rest, rest, 61]);
        }
    }
}

#[test]
fn pcapng_in_every_byte_order_clock_and_block() {
    let offset = 3600i64;
    for order in ORDERS {
        // if_tsresol, ticks, nanoseconds. Without the option: microseconds.
        for (resolution, ticks, expected) in [
            (None, 1_700_000_000_000_001, 1_700_000_000 * SECOND + 1000),
            (Some(6), 1_700_000_000_000_001, 1_700_000_000 * SECOND + 1000),
            (Some(9), 1_700_000_000 * SECOND + 1, 1_700_000_000 * SECOND + 1),
            (Some(3), 1_700_000_000_001, 1_700_000_000 * SECOND + 1_000_000),
            (Some(0), 1_700_000_000, 1_700_000_000 * SECOND),
            (Some(0x8A), 1_700_000_000 << 10 | 512, 1_700_000_000 * SECOND + 500_000_000),
            (Some(0xA0), 1_700_000_000 << 32 | 1 << 31, 1_700_000_000 * SECOND + 500_000_000),
            (Some(0x7F), u64::MAX, 0),
            (Some(0xFF), u64::MAX, 0),
        ] {
            for with_offset in [false, true] {
                let (resolution, offset_octets) = (resolution.map(|r| [r]), order.u64(offset as u64));
                let mut options: Vec<Opt<'_>> = vec![(2, b"eth0"), (1, b"a note")];
                options.extend(resolution.as_ref().map(|r| (9, &r[..])));
                options.extend(with_offset.then_some((14, &offset_octets[..])));
                let mut ng = Pcapng::new(order);
                ng.interface(1, 65_535, &options);
                for f in &frames() {
                    ng.enhanced(0, ticks, f).packet(0, ticks, f).simple(f, f.len());
                }
                let seen = whole(&ng.file);
                let time_ns = Some(expected + if with_offset { offset as u64 * SECOND } else { 0 });
                for (three, data) in seen.chunks(3).zip(frames()) {
                    let timed = Seen { link: 1, time_ns, original_len: data.len(), data, check_sequence: 0 };
                    let simple = Seen { time_ns: None, ..timed.clone() };
                    assert_eq!(three, [timed.clone(), timed, simple], "{order:?} {resolution:?}");
                }
                assert_eq!(seen.len(), 3 * frames().len());
            }
        }
    }
}

#[test]
fn sections_have_interfaces_and_byte_orders_of_their_own() {
    let mut ng = Pcapng::new(Order::Little);
    ng.interface(1, 65_535, &[]).interface(113, 100, &[(9, &[9])]).interface(101, 0, &[(9, &[0x8A])]);
    ng.enhanced(2, 1 << 10, &[1]).enhanced(0, 1, &[2]).packet(1, 1, &[3; 200]).simple(&[4; 6], 6);
    ng.section(Order::Big).interface(229, 2, &[]);
    // Interface 0 is another one now. Its snaplen is wrong, and the octets are there.
    ng.enhanced(0, 2, &[5; 9]).simple(&[6; 9], 9).simple(&[7; 2], 9);
    ng.section(Order::Little).interface(9, 0, &[]).enhanced(0, 3, &[8]);
    let seen = whole(&ng.file);
    let short: Vec<_> = seen.iter().map(|s| (s.link, s.time_ns, s.data.clone(), s.original_len)).collect();
    let expected = [
        (101, Some(SECOND), vec![1], 1),
        (1, Some(1000), vec![2], 1),
        (113, Some(1), vec![3; 200], 200),
        (1, None, vec![4; 6], 6),
        (229, Some(2000), vec![5; 9], 9),
        (229, None, vec![6; 9], 9),
        (229, None, vec![7; 2], 9),
        (9, Some(3000), vec![8], 1),
    ];
    assert_eq!(short, expected);
}

#[test]
fn blocks_that_are_not_known_are_stepped_over() {
    for order in ORDERS {
        let mut ng = Pcapng::new(order);
        // Names, statistics, secrets, a journal's entry, custom blocks, one that nobody has defined yet.
        for kind in [4, 5, 10, 9, 0xBAD, 0x4000_0BAD, 0x7FFF_FFFF, 0] {
            ng.block(kind, &vec![0xA5; 100_000 + kind as usize % 5]);
        }
        ng.interface(1, 0, &[]).block(5, &[]).enhanced(0, 1, &[1, 2, 3]);
        // Custom options of an interface and of a packet, and a broken one behind a packet, which is whole.
        ng.interface(1, 0, &[(2988, b"text"), (0x8001, &[1; 9])]);
        let mut body = ng.enhanced_body(1, 1, &[4, 5], [2, 2], &[]);
        body.extend(order.u16(2));
        body.extend(order.u16(0xFFFF));
        ng.block(6, &body);
        let data: Vec<_> = whole(&ng.file).into_iter().map(|s| s.data).collect();
        assert_eq!(data, [vec![1, 2, 3], vec![4, 5]]);
    }
}

#[test]
fn lengths_that_leave_out_their_padding_are_understood() {
    let mut ng = Pcapng::new(Order::Little);
    ng.interface(1, 0, &[]);
    let body = ng.enhanced_body(0, 1, &[1; 9], [9, 9], &[]);
    let len = 12 + 20 + 9;
    ng.lying(6, len, &body, len).enhanced(0, 1, &[2]);
    assert_eq!(whole(&ng.file).len(), 2);
}

#[test]
fn what_contradicts_itself_is_named_with_its_place() {
    for order in ORDERS {
        let start = || {
            let mut ng = Pcapng::new(order);
            ng.interface(1, 0, &[]).enhanced(0, 1, &[1; 60]);
            ng
        };
        let at = start().file.len();
        let broken = |what: &str, ng: &Pcapng| {
            let text = error_behind(1, &ng.file);
            let place = format!("c: broken at octet {at}, in the record behind frame 1: ");
            assert!(text.starts_with(&place) && text.contains(what), "{text}\n{what}");
        };
        broken("interface 7, and its section has described interface 0 only", start().enhanced(7, 1, &[1; 60]));
        broken("interface 1", start().packet(1, 1, &[1; 60]));
        broken("at its end", start().lying(6, 32 + 4, &[0; 24], 0));
        broken("at its end", start().lying(5, 32 + 4, &[0; 24], 40));
        broken("at its end", start().lying(0x0A0D_0D0A, 28, &section_body(order, 1), 32));
        broken("claims 8 octets", start().lying(6, 8, &[], 8));
        broken("claims 0 octets", start().lying(6, 0, &[], 0));
        broken("claims 24 octets", start().lying(0x0A0D_0D0A, 24, &section_body(order, 1), 24));
        broken("claims 4294967295 octets", start().lying(6, u32::MAX, &[], u32::MAX));
        broken("without its header", start().block(6, &[0; 16]));
        broken("without its header", start().block(3, &[]));
        broken("not described to the end", start().block(1, &[1, 0]));
        broken("an option that goes on behind its block", start().block(1, &option_beyond(order)));
        broken("version 2", start().block(0x0A0D_0D0A, &section_body(order, 2)));
        broken("byte order", start().block(0x0A0D_0D0A, &[0; 16]));
        let body = start().enhanced_body(0, 1, &[1; 60], [61, 61], &[]);
        broken("61 octets captured in a block with room for 60", start().block(6, &body));
        broken("room for 60", start().simple(&[1; 60], 61));
        let mut twice = start();
        twice.section(order);
        let at = twice.file.len();
        let text = error_behind(1, &twice.enhanced(0, 1, &[1]).file);
        assert!(text.contains(&format!("octet {at}")) && text.contains("has described none"), "{text}");
        let mut pcap = Pcap::new(order, MICRO, 0, 1);
        pcap.whole(1, 1, &[1; 60]).record(1, 1, [u32::MAX; 2], &[1; 60]);
        let text = error_behind(1, &pcap.file);
        assert!(text.contains("octet 100") && text.contains("claims 4294967295 octets"), "{text}");
    }
}

fn section_body(order: Order, major: u16) -> Vec<u8> {
    [&order.u32(0x1A2B_3C4D)[..], &order.u16(major), &[0, 0], &[0xFF; 8]].concat()
}

/// An interface's description with an option of more octets than are left.
fn option_beyond(order: Order) -> Vec<u8> {
    [&order.u16(1)[..], &[0; 6], &order.u16(9), &order.u16(9), &[6, 0, 0, 0]].concat()
}

/// Address space of this process at its largest, KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|l| l.strip_prefix("VmPeak:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_length_that_is_only_claimed_takes_no_memory() {
    let before = peak();
    for order in ORDERS {
        for len in [1 << 26, (1 << 26) + 12, 1 << 30, u32::MAX - 3, u32::MAX] {
            for kind in [1, 2, 3, 6, 5, 0x0A0D_0D0A] {
                let mut ng = Pcapng::new(order);
                ng.interface(1, 0, &[]).lying(kind, len, &section_body(order, 1), len);
                let text = error_behind(0, &ng.file);
                assert!(text.contains("cut off") || text.contains("claims"), "{text}");
            }
            let mut pcap = Pcap::new(order, MICRO, 0, 1);
            let text = error_behind(0, &pcap.record(1, 1, [len; 2], &[1]).file);
            assert!(text.contains("cut off") || text.contains("claims"), "{text}");
        }
        // Interfaces are remembered: not without end.
        let mut ng = Pcapng::new(order);
        for _ in 0..=1 << 16 {
            ng.interface(1, 0, &[]);
        }
        assert!(error_behind(0, &ng.file).contains("more than 65536 interfaces"));
    }
    assert!(peak() - before < 1 << 20, "less than a gibibyte");
}

#[test]
fn what_is_no_capture_says_what_to_do() {
    let cases: [(&[u8], &str); 4] = [
        (b"", "tcpdump or Wireshark"),
        (b"\xD4\xC3\xB2", "tcpdump or Wireshark"),
        (b"#!/bin/sh\n", "tcpdump or Wireshark"),
        (&[0xFD, b'7', b'z', b'X', b'Z', 0], "unxz"),
    ];
    for (octets, remedy) in cases {
        let text = error_behind(0, octets);
        assert!(text.starts_with("c: not a pcap or pcapng file; ") && text.contains(remedy), "{text}");
    }
    for (octets, remedy) in [(&[0x1F, 0x8B, 8, 0, 0][..], "gzip -t"), (&[0x28, 0xB5, 0x2F, 0xFD, 0], "zstd -t")] {
        let text = error_behind(0, octets);
        assert!(text.contains("behind frame 0, octet 0") && text.contains(remedy), "{text}");
    }
}

#[test]
fn every_cut_is_noticed() {
    let mut ng = Pcapng::new(Order::Little);
    ng.interface(1, 0, &[(2, b"eth0")]).enhanced(0, 1, &[1; 5]).block(5, &[0; 8]).simple(&[2; 5], 5);
    let mut pcap = Pcap::new(Order::Big, PATCHED, 0, 1);
    pcap.whole(1, 1, &[1; 5]).whole(1, 1, &[2; 5]);
    for file in [ng.file, pcap.file] {
        // Between records a file ends as any other does.
        let ends = (4..file.len()).filter(|&len| read(&file[..len]).1.is_none()).count();
        for len in 4..file.len() {
            let (seen, error) = read(&file[..len]);
            if let Some(error) = error {
                assert!(
                    error
                        .to_string()
                        .contains(&format!("cut off at octet {len}, within the record behind frame {}", seen.len()))
                );
            }
        }
        assert_eq!(ends, if file[0] == 0x0A { 4 } else { 2 });
    }
}

#[test]
fn what_is_written_is_read() {
    for nanoseconds in [false, true] {
        let mut writer = Writer::new(Vec::new(), LinkType::ETHERNET, nanoseconds, 300_000).expect("a header");
        for (i, frame) in frames().iter().enumerate() {
            writer.write(Some(1_700_000_000 * SECOND + 1_234), frame, i).expect("written");
        }
        writer.write(None, &vec![5; 300_000], 0).expect("written");
        let seen = whole(&writer.finish().expect("flushed"));
        let time_ns = 1_700_000_000 * SECOND + if nanoseconds { 1_234 } else { 1_000 };
        for (i, (seen, data)) in seen.iter().zip(frames()).enumerate() {
            let original_len = data.len() + i;
            assert_eq!(*seen, Seen { link: 1, time_ns: Some(time_ns), data, original_len, check_sequence: 0 });
        }
        assert_eq!(seen.last().map(|s| (s.data.len(), s.time_ns)), Some((300_000, Some(0))));
    }
}

/// Number, time, octets captured and on the wire, as tshark sees them.
fn tshark(path: &Path) -> Option<Vec<(u64, String, usize, usize)>> {
    let fields = ["frame.number", "frame.time_epoch", "frame.cap_len", "frame.len"];
    let mut tshark = Command::new("tshark");
    tshark.arg("-nr").arg(path).args(["-T", "fields"]);
    for f in &fields {
        tshark.args(["-e", f]);
    }
    let output = match tshark.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("not compared with tshark: {error}");
            return None;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let number = |field: Option<&str>| field.expect("a field").parse().expect("a number");
    let line = |line: &str| {
        let mut fields = line.split('\t');
        let (n, time) = (number(fields.next()), fields.next().expect("a time").to_owned());
        (n as u64, time, number(fields.next()), number(fields.next()))
    };
    Some(text.lines().map(line).collect())
}

#[test]
fn tshark_sees_the_same_frames_at_the_same_times() {
    let frame = [&[2; 12][..], &[0x86, 0xDD, 0x60], &[0; 60]].concat();
    let mut files = Vec::new();
    for order in ORDERS {
        for magic in [MICRO, NANO, PATCHED] {
            let mut pcap = Pcap::new(order, magic, 65_535, 1);
            pcap.whole(1_700_000_000, 500_000, &frame).record(1, 2, [20, 60], &frame[..20]);
            files.push(pcap.file);
        }
        for (resolution, ticks) in [
            (6, 1_700_000_000_500_000),
            (9, 1_700_000_000 * SECOND + 500_000_001),
            (3, 1_700_000_000_500),
            (0x8A, 1_700_000_000 << 10 | 1 << 9),
            (0xA0, 1_700_000_000 << 32 | 1 << 31),
        ] {
            let (mut ng, offset) = (Pcapng::new(order), order.u64(3600));
            ng.interface(1, 65_535, &[(9, &[resolution])]).interface(1, 70, &[(9, &[9]), (14, &offset)]);
            ng.enhanced(0, ticks, &frame).packet(0, ticks, &frame).block(0x7FFF_FFFF, &[1; 33]);
            ng.enhanced(1, 5 * SECOND + 1, &frame).cut(0, ticks, &frame[..30], 90);
            let other = if order == Order::Little { Order::Big } else { Order::Little };
            ng.section(other).interface(1, 0, &[]).enhanced(0, 1_000_001, &frame);
            files.push(ng.file);
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    for (i, file) in files.iter().enumerate() {
        let path = dir.path().join(format!("{i}.pcap"));
        std::fs::write(&path, file).expect("written");
        let Some(theirs) = tshark(&path) else { return };
        let ours: Vec<_> = whole(file)
            .iter()
            .zip(1..)
            .map(|(seen, number)| {
                let time = seen.time_ns.expect("a time");
                let time = format!("{}.{:09}", time / SECOND, time % SECOND);
                (number, time, seen.data.len(), seen.original_len)
            })
            .collect();
        assert_eq!(ours, theirs, "file {i}");
    }
}

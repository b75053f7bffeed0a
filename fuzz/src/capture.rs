//! `pdmv2 decode`: any capture is read to its end or refused with a message.

use crate::corpus;
use common::capture::{Capture, CaptureError};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use tools::decode::{self, DecodeArgs};

/// A file of this process that goes with it: the reader takes a path, as people give it.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

thread_local! {
    static PLACE: Place = Place(std::env::temp_dir().join(format!("pdmv2-fuzz-{}.pcap", std::process::id())));
}

/// What the reader gives is within the file, and it ends.
fn read(data: &[u8]) {
    let (mut frames, mut octets) = (0, 0);
    let done = Capture::read(Path::new("capture"), Box::new(Cursor::new(data.to_vec()))).and_then(|mut capture| {
        capture.for_each::<CaptureError>(|frame| {
            frames += 1;
            octets += frame.data.len();
            assert_eq!(frame.number, frames);
            assert!(frame.original_len >= frame.data.len(), "more captured than there was");
            Ok(true)
        })
    });
    // What is compressed may unpack to more.
    if !matches!(data, [0x1F, 0x8B, ..] | [0x28, 0xB5, ..] | [0x50..=0x5F, 0x2A, ..]) {
        assert!(octets <= data.len(), "more octets than the file has");
        assert!(frames <= data.len() as u64 / 12, "more frames than records fit");
    }
    if let Err(error) = done {
        assert!(!error.to_string().is_empty(), "refused without a word");
    }
}

/// A capture of any octets.
pub fn capture(data: &[u8]) {
    read(data);
    let capture = PLACE.with(|place| place.0.clone());
    std::fs::write(&capture, data).expect("a temporary file can be written");
    let mut args = DecodeArgs {
        capture,
        keys: None,
        key_log: None,
        state_dir: None,
        generation_max: None,
        kri_max: 8,
        flows: false,
        max_flows: 8,
        json: true,
        csv: false,
        plot: None,
        wireshark: None,
        hex: true,
        count: Some(100),
    };
    let mut out = Vec::new();
    if let Err(error) = decode::run(&args, &mut out) {
        assert!(!format!("{error:#}").is_empty(), "refused without a word");
    }
    args.json = false;
    let _ = decode::run(&args, &mut out);
    args.csv = true;
    let _ = decode::run(&args, &mut out);
    (args.flows, args.count) = (true, None);
    for (json, csv) in [(false, true), (true, false), (false, false)] {
        (args.json, args.csv) = (json, csv);
        let _ = decode::run(&args, &mut out);
    }
    assert!(String::from_utf8(out).is_ok(), "what is shown is text");
}

/// Captures of both formats in either byte order: all kinds of clocks and packet blocks, check sequences, two sections.
pub fn captures() -> Vec<Vec<u8>> {
    let frames: Vec<_> = corpus::frames().into_iter().skip(20).step_by(9).collect();
    let mut all = Vec::new();
    for word in [u32::to_le_bytes, u32::to_be_bytes] {
        for magic in [0xA1B2_C3D4, 0xA1B2_3C4D, 0xA1B2_CD34] {
            all.push(classic(&frames, magic, 1, word));
        }
        all.push(classic(&frames, 0xA1B2_C3D4, 0x2400_0001, word));
        all.push([next_generation(&frames, word), next_generation(&frames, u32::to_be_bytes)].concat());
    }
    let carried: Vec<_> = frames.iter().take(6).enumerate().map(|(i, frame)| carried(i, frame)).collect();
    all.push(classic(&carried, 0xA1B2_C3D4, 1, u32::to_le_bytes));
    let packed: Vec<_> = all.iter().step_by(3).flat_map(|file| [gzip(file), zstd(file)]).collect();
    all.extend(packed);
    all
}

fn gzip(file: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(file).and_then(|()| encoder.finish()).expect("memory can be written")
}

fn zstd(file: &[u8]) -> Vec<u8> {
    zstd::encode_all(file, 1).expect("memory can be written")
}

/// A frame within IPv4, GRE or VXLAN, in a frame.
fn carried(i: usize, frame: &[u8]) -> Vec<u8> {
    let packet = frame.get(14..).unwrap_or_default();
    let (protocol, payload) = match i % 3 {
        0 => (41, packet.to_vec()),
        1 => (47, [&[0, 0, 0x86, 0xDD][..], packet].concat()),
        _ => (17, [&[0x12, 0x34, 0x12, 0xB5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0][..], frame].concat()),
    };
    let len = (payload.len() as u16 + 20).to_be_bytes();
    let ip = [0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    [&[2; 12][..], &[8, 0], &ip, &payload].concat()
}

/// A number of two octets, in the same order.
fn half(word: fn(u32) -> [u8; 4], n: u16) -> [u8; 2] {
    if word(1)[0] == 1 { n.to_le_bytes() } else { n.to_be_bytes() }
}

fn classic(frames: &[Vec<u8>], magic: u32, link: u32, word: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let version = [half(word, 2), half(word, 4)].concat();
    let mut file = [&word(magic)[..], &version, &word(0), &word(0), &word(65535), &word(link)].concat();
    for (i, frame) in frames.iter().enumerate() {
        let len = frame.len() as u32;
        file.extend([word(i as u32), word(7), word(len), word(len)].concat());
        if magic == 0xA1B2_CD34 {
            file.extend([0; 8]);
        }
        file.extend_from_slice(frame);
    }
    file
}

fn next_generation(frames: &[Vec<u8>], word: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let total = word(padded as u32 + 12);
        file.extend([word(kind), total].concat());
        file.extend_from_slice(body);
        file.extend(vec![0; padded - body.len()]);
        file.extend(total);
    };
    block(0x0A0D_0D0A, &[&word(0x1A2B_3C4D)[..], &half(word, 1), &half(word, 0), &word(!0), &word(!0)].concat());
    // Ethernet; ticks of 2^-10 seconds, an offset, and a check sequence.
    let options = [
        &[&half(word, 9)[..], &half(word, 1), &[0x8A, 0, 0, 0]].concat()[..],
        &[&half(word, 14)[..], &half(word, 8), &word(1), &word(0)].concat(),
        &[&half(word, 13)[..], &half(word, 1), &[32, 0, 0, 0]].concat(),
        &[0; 4],
    ]
    .concat();
    block(1, &[&half(word, 1)[..], &[0; 2], &word(0), &options].concat());
    for (i, frame) in frames.iter().enumerate() {
        let len = frame.len() as u32;
        match i % 3 {
            0 => block(6, &[&[word(0), word(0), word(9), word(len), word(len)].concat()[..], frame].concat()),
            1 => block(2, &[&[word(0), word(0), word(9), word(len), word(len)].concat()[..], frame].concat()),
            _ => block(3, &[&word(len)[..], frame].concat()),
        }
        block(0x0BAD, &[1; 9]);
    }
    file
}

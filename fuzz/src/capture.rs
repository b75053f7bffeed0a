//! `pdmv2 decode`: any capture is read to its end or refused with a message.

use crate::corpus;
use control::decode::{self, DecodeArgs};
use std::path::PathBuf;

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

/// A capture of any octets.
pub fn capture(data: &[u8]) {
    let capture = PLACE.with(|place| place.0.clone());
    std::fs::write(&capture, data).expect("a temporary file can be written");
    let mut args = DecodeArgs {
        capture,
        keys: None,
        state_dir: None,
        generation_max: None,
        kri_max: 8,
        json: true,
        hex: true,
        count: Some(100),
    };
    let mut out = Vec::new();
    if let Err(error) = decode::run(&args, &mut out) {
        assert!(!format!("{error:#}").is_empty(), "refused without a word");
    }
    args.json = false;
    let _ = decode::run(&args, &mut out);
    assert!(String::from_utf8(out).is_ok(), "what is shown is text");
}

/// Classic captures in either byte order, and pcapng.
pub fn captures() -> Vec<Vec<u8>> {
    let frames: Vec<_> = corpus::frames().into_iter().skip(20).step_by(9).collect();
    vec![classic(&frames, u32::to_le_bytes), classic(&frames, u32::to_be_bytes), next_generation(&frames)]
}

fn classic(frames: &[Vec<u8>], word: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let version = if word(1)[0] == 1 { [2, 0, 4, 0] } else { [0, 2, 0, 4] };
    let mut file = [word(0xA1B2_C3D4), version, word(0), word(0), word(65535), word(1)].concat();
    for (i, frame) in frames.iter().enumerate() {
        let len = frame.len() as u32;
        file.extend([word(i as u32), word(7), word(len), word(len)].concat());
        file.extend_from_slice(frame);
    }
    file
}

fn next_generation(frames: &[Vec<u8>]) -> Vec<u8> {
    let word = u32::to_le_bytes;
    let mut file = [word(0x0A0D_0D0A), word(28), word(0x1A2B_3C4D), word(1), word(!0), word(!0), word(28)].concat();
    file.extend([word(1), word(20), word(1), word(0), word(20)].concat());
    for frame in frames {
        let padded = frame.len().next_multiple_of(4);
        let (len, total) = (frame.len() as u32, padded as u32 + 32);
        file.extend([word(6), word(total), word(0), word(0), word(9), word(len), word(len)].concat());
        file.extend_from_slice(frame);
        file.resize(file.len() + padded - frame.len(), 0);
        file.extend(word(total));
    }
    file
}

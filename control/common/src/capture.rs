//! Frames out of pcap and pcapng files, one at a time: a capture may be larger than memory. What a file claims costs no more
//! memory than it has octets. Files that gzip or zstd have compressed are unpacked on the way.

mod classic;
mod compressed;
mod link;
mod octets;
mod pcapng;
mod source;
mod time;
mod tunnel;
mod write;
pub mod write_ng;

pub use link::{LinkType, ipv6_offset};
pub use tunnel::{Packet, Packets, ipv6_packets};
pub use write::Writer;

use classic::Classic;
use compressed::Compression;
use pcapng::Pcapng;
use source::{Got, Source};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use thiserror::Error;
use time::Resolution;

/// Octets of a record at most, more than any tool writes: what goes beyond is a length that was overwritten.
const MAX_RECORD: u64 = 1 << 26;

/// Why a capture cannot be read, or not further.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The file system refuses.
    #[error("{0}: cannot read the capture: {1}")]
    Io(PathBuf, io::Error),
    /// Another kind of file.
    #[error("{0}: not a pcap or pcapng file; {1}")]
    NotACapture(PathBuf, &'static str),
    /// What it is compressed with does not unpack it further.
    #[error(
        "{path}: the {compression} in it cannot be unpacked behind frame {behind}, octet {at} of what is in it: {why}; \
         '{test}' says more; copy the file again, or go on with the frames before it"
    )]
    Compressed {
        /// The file.
        path: PathBuf,
        /// Which compression.
        compression: &'static str,
        /// What says more.
        test: &'static str,
        /// Octets unpacked before.
        at: u64,
        /// Frames before.
        behind: u64,
        /// What the unpacking says.
        why: io::Error,
    },
    /// It ends early.
    #[error("{path}: cut off at octet {at}, within the record behind frame {behind}; {REMEDY}")]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Its octets.
        at: u64,
        /// Frames before.
        behind: u64,
    },
    /// A record contradicts itself, or what is before it.
    #[error("{path}: broken at octet {at}, in the record behind frame {behind}: {what}; {REMEDY}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        at: u64,
        /// Frames before.
        behind: u64,
        /// What is wrong.
        what: Cow<'static, str>,
    },
}

const REMEDY: &str = "capture again, or go on with the frames before it";

/// What is wrong in a file, without the file.
#[derive(Debug)]
enum Fault {
    Io(io::Error),
    CutOff,
    Broken { at: u64, what: Cow<'static, str> },
}

impl Fault {
    fn broken(at: u64, what: impl Into<Cow<'static, str>>) -> Self {
        Self::Broken { at, what: what.into() }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Source {
    /// Fills `into`, or the file is cut off.
    fn whole(&mut self, into: &mut [u8]) -> Result<(), Fault> {
        match self.fill(into)? {
            Got::All => Ok(()),
            Got::Part | Got::Nothing => Err(Fault::CutOff),
        }
    }
}

/// One frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'c> {
    /// Its place in the capture, from 1, as Wireshark counts.
    pub number: u64,
    /// Nanoseconds since 1970; `None` when the record has no time.
    pub time_ns: Option<u64>,
    /// Whether the clock that this is from has ticks shorter than a microsecond.
    pub is_fine: bool,
    /// What `data` starts with.
    pub link: LinkType,
    /// The octets captured, without check sequence.
    pub data: &'c [u8],
    /// The octets on the wire, without check sequence; more than captured when the frame was snapped.
    pub original_len: usize,
    /// Octets of check sequence behind the frame, which the capture says are there, and which were taken off as a NIC does.
    pub check_sequence: usize,
}

impl Frame<'_> {
    /// Octets that were not captured.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.original_len - self.data.len()
    }
}

/// What the frames of one interface have in common.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    resolution: Resolution,
    /// Seconds to be added to every time.
    offset_s: i64,
    /// Octets captured per frame at most; 0: no limit.
    snaplen: u32,
    /// Octets of check sequence behind every frame.
    check_sequence: usize,
}

/// A frame in the buffer that it was read into.
struct FrameAt {
    interface: Interface,
    ticks: Option<u64>,
    data: Range<usize>,
    original_len: usize,
    /// The packet's own word on its check sequence.
    check_sequence: Option<usize>,
}

impl FrameAt {
    fn frame<'c>(&self, number: u64, buffer: &'c [u8]) -> Frame<'c> {
        let Interface { link, resolution, offset_s, check_sequence, .. } = self.interface;
        let data = buffer.get(self.data.clone()).unwrap_or_default();
        let on_wire = self.original_len.max(data.len());
        // A frame that is no longer than that has none.
        let check_sequence = Some(self.check_sequence.unwrap_or(check_sequence)).filter(|&n| n < on_wire).unwrap_or(0);
        let original_len = on_wire - check_sequence;
        Frame {
            number,
            time_ns: self.ticks.and_then(|ticks| resolution.time_ns(ticks, offset_s)),
            is_fine: resolution.is_finer_than_microseconds(),
            link,
            data: data.get(..original_len).unwrap_or(data),
            original_len,
            check_sequence,
        }
    }
}

/// The two kinds of file.
enum Format {
    Classic(Classic),
    Pcapng(Pcapng),
}

/// A capture that is being read.
pub struct Capture {
    path: PathBuf,
    compression: Option<Compression>,
    source: Source,
    format: Format,
    number: u64,
    /// What the last record was read into.
    buffer: Vec<u8>,
}

impl Capture {
    /// Opens a capture; `-` is what comes in at standard input.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        if path == Path::new("-") {
            return Self::read(Path::new("standard input"), Box::new(io::stdin()));
        }
        let file = File::open(path).map_err(|e| CaptureError::Io(path.to_owned(), e))?;
        Self::read(path, Box::new(file))
    }

    /// A capture from elsewhere; errors name it `path`.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn read(path: &Path, reader: Box<dyn Read + Send>) -> Result<Self, CaptureError> {
        let unpacked = compressed::unpacked(reader);
        let (reader, compression) = unpacked.map_err(|e| CaptureError::Io(path.to_owned(), e))?;
        let mut source = Source::new(reader);
        let opened = open(&mut source);
        let format = match opened {
            Ok(Ok(format)) => format,
            Ok(Err(remedy)) => return Err(CaptureError::NotACapture(path.to_owned(), remedy)),
            Err(fault) => return Err(named(path, compression, source.at(), 0, fault)),
        };
        Ok(Self { path: path.to_owned(), compression, source, format, number: 0, buffer: Vec::new() })
    }

    /// The next frame; `None`: that was all.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let next = match &mut self.format {
            Format::Classic(classic) => classic.next(&mut self.source, &mut self.buffer),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.source, &mut self.buffer),
        };
        match next {
            Ok(Some(at)) => {
                self.number += 1;
                Ok(Some(at.frame(self.number, &self.buffer)))
            }
            Ok(None) => Ok(None),
            Err(fault) => Err(named(&self.path, self.compression, self.source.at(), self.number, fault)),
        }
    }

    /// Calls `each` for every frame until it returns `Ok(false)`.
    ///
    /// # Errors
    /// [`CaptureError`] when the capture cannot be read further, and what `each` returns.
    pub fn for_each<E: From<CaptureError>>(
        &mut self,
        mut each: impl FnMut(Frame<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        while let Some(frame) = self.next_frame()? {
            if !each(frame)? {
                break;
            }
        }
        Ok(())
    }
}

/// Finds out what kind of file it is; a remedy if it is none.
fn open(source: &mut Source) -> Result<Result<Format, &'static str>, Fault> {
    let mut magic = [0; 4];
    if source.fill(&mut magic)? == Got::All {
        if magic == pcapng::SECTION {
            return Ok(Ok(Format::Pcapng(Pcapng::new())));
        }
        if let Some(kind) = Classic::recognise(magic) {
            return Ok(Ok(Format::Classic(Classic::open(kind, source)?)));
        }
    }
    Ok(Err(match magic {
        [0x1F, 0x8B, ..] | [0x28, 0xB5, 0x2F, 0xFD] => "it is compressed twice: unpack it once first",
        [0x04, 0x22, 0x4D, 0x18] => "it is compressed: unlz4 it first",
        [0xFD, b'7', b'z', b'X'] => "it is compressed: unxz it first",
        _ => "name a capture as tcpdump or Wireshark write it",
    }))
}

fn named(path: &Path, compression: Option<Compression>, at: u64, behind: u64, fault: Fault) -> CaptureError {
    let path = path.to_owned();
    match fault {
        // What the system says has a number; what unpacks has none.
        Fault::Io(why) if compression.is_some() && why.raw_os_error().is_none() => {
            let (compression, test) = compression.map_or(("", ""), Compression::name_and_test);
            CaptureError::Compressed { path, compression, test, at, behind, why }
        }
        Fault::Io(error) => CaptureError::Io(path, error),
        Fault::CutOff => CaptureError::CutOff { path, at, behind },
        Fault::Broken { at, what } => CaptureError::Broken { path, at, behind, what },
    }
}

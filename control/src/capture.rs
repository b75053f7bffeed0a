//! Frames out of pcap and pcapng files, one at a time: a capture may be larger than memory.

use pcap_parser::pcapng::Block;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Octets of a file that are looked at together, at first and at most: a record has to fit.
const WINDOW: usize = 1 << 18;
const MAX_WINDOW: usize = 1 << 26;
const NANOS: u64 = 1_000_000_000;

/// Why a capture cannot be read, or not further.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The file system refuses.
    #[error("{0}: cannot read the capture: {1}")]
    Io(PathBuf, io::Error),
    /// Another kind of file.
    #[error("{0}: not a pcap or pcapng file; name a capture as tcpdump or Wireshark write it")]
    NotACapture(PathBuf),
    /// It ends early.
    #[error("{0}: cut off within the record behind frame {1}; capture again, or go on with the frames before it")]
    CutOff(PathBuf, u64),
    /// A record contradicts itself.
    #[error("{0}: broken in the record behind frame {1}; capture again, or go on with the frames before it")]
    Broken(PathBuf, u64),
}

/// One frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'c> {
    /// Its place in the capture, from 1, as Wireshark counts.
    pub number: u64,
    /// Nanoseconds since 1970; `None` when the record has no time.
    pub time_ns: Option<u64>,
    /// What `data` starts with.
    pub link: Linktype,
    /// The octets captured.
    pub data: &'c [u8],
    /// The octets on the wire; more than captured when the frame was snapped.
    pub original_len: usize,
}

/// A capture that is being read.
pub struct Capture {
    path: PathBuf,
    reader: Box<dyn PcapReaderIterator + Send>,
    window: usize,
    number: u64,
    interfaces: Vec<Interface>,
}

/// What the frames of one interface have in common.
#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Ticks per second.
    resolution: u64,
    /// Seconds.
    offset: i64,
    /// Octets captured per frame at most; 0: no limit.
    snap: u32,
}

impl Interface {
    fn time_ns(&self, ticks: u64) -> Option<u64> {
        let nanos = u128::from(ticks) * u128::from(NANOS) / u128::from(self.resolution.max(1));
        u64::try_from(i128::try_from(nanos).ok()? + i128::from(self.offset) * i128::from(NANOS)).ok()
    }
}

impl Capture {
    /// Opens a capture.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let path = path.to_owned();
        let file = File::open(&path).map_err(|e| CaptureError::Io(path.clone(), e))?;
        match create_reader(WINDOW, file) {
            Ok(reader) => Ok(Self { path, reader, window: WINDOW, number: 0, interfaces: Vec::new() }),
            Err(PcapError::ReadError) => Err(CaptureError::Io(path, io::Error::other("read error"))),
            Err(_) => Err(CaptureError::NotACapture(path)),
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
        loop {
            let len = match self.reader.next() {
                Ok((len, block)) => {
                    if let Some(frame) = frame(block, &mut self.interfaces, &mut self.number)
                        && !each(frame)?
                    {
                        return Ok(());
                    }
                    len
                }
                Err(PcapError::Eof) => return Ok(()),
                Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall) => {
                    self.refill()?;
                    continue;
                }
                Err(PcapError::UnexpectedEof) => {
                    return Err(CaptureError::CutOff(self.path.clone(), self.number).into());
                }
                Err(_) => return Err(CaptureError::Broken(self.path.clone(), self.number).into()),
            };
            self.reader.consume(len);
        }
    }

    /// Reads on; widens the window when a record fills it.
    fn refill(&mut self) -> Result<(), CaptureError> {
        let before = self.reader.data().len();
        let refilled = self.reader.refill().is_ok();
        if !refilled {
            return Err(CaptureError::Io(self.path.clone(), io::Error::other("read error")));
        }
        if self.reader.data().len() > before || self.reader.reader_exhausted() {
            return Ok(());
        }
        self.window *= 2;
        if self.window > MAX_WINDOW || !self.reader.grow(self.window) {
            return Err(CaptureError::Broken(self.path.clone(), self.number));
        }
        Ok(())
    }
}

/// The frame in a block, if it is one; notes headers and interfaces.
fn frame<'b>(block: PcapBlockOwned<'b>, interfaces: &mut Vec<Interface>, number: &mut u64) -> Option<Frame<'b>> {
    let (interface, ticks, data, original_len) = match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let resolution = if header.is_nanosecond_precision() { NANOS } else { 1_000_000 };
            interfaces.push(Interface { link: header.network, resolution, offset: 0, snap: 0 });
            return None;
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            return None;
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
            let resolution = block.ts_resolution().unwrap_or(1_000_000);
            let (link, offset, snap) = (block.linktype, block.if_tsoffset, block.snaplen);
            interfaces.push(Interface { link, resolution, offset, snap });
            return None;
        }
        PcapBlockOwned::Legacy(block) => {
            *number += 1;
            let interface = *interfaces.first()?;
            let ticks = u64::from(block.ts_sec) * interface.resolution + u64::from(block.ts_usec);
            (interface, Some(ticks), block.data, block.origlen)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
            *number += 1;
            let interface = *interfaces.get(block.if_id as usize)?;
            let ticks = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
            (interface, Some(ticks), block.data.get(..block.caplen as usize)?, block.origlen)
        }
        PcapBlockOwned::NG(Block::SimplePacket(block)) => {
            *number += 1;
            let interface = *interfaces.first()?;
            let captured = if interface.snap == 0 { block.origlen } else { block.origlen.min(interface.snap) };
            (interface, None, block.data.get(..captured as usize)?, block.origlen)
        }
        PcapBlockOwned::NG(_) => return None,
    };
    Some(Frame {
        number: *number,
        time_ns: ticks.and_then(|t| interface.time_ns(t)),
        link: interface.link,
        data,
        original_len: (original_len as usize).max(data.len()),
    })
}

/// Where the IPv6 header starts in a frame of this link type: behind the link header and VLAN tags. `None` when there
/// is none, or the link type is not one of Ethernet, raw IP, Linux cooked (both), and BSD loopback.
#[must_use]
pub fn ipv6_offset(link: Linktype, data: &[u8]) -> Option<usize> {
    const IPV6: u16 = 0x86DD;
    const TAGS: [u16; 3] = [0x8100, 0x88A8, 0x9100];
    let word = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
    let tagged = |mut at: usize| {
        while TAGS.contains(&word(at)?) {
            at += 4;
        }
        (word(at)? == IPV6).then_some(at + 2)
    };
    let offset = match link {
        Linktype::ETHERNET => tagged(12)?,
        Linktype::LINUX_SLL => tagged(14)?,
        // The protocol stands first, the header has 20 octets.
        Linktype::LINUX_SLL2 => (word(0)? == IPV6).then_some(20)?,
        // 12 and 14: what raw IP is called on some systems.
        Linktype::RAW | Linktype::IPV6 | Linktype(12 | 14) => 0,
        Linktype::NULL | Linktype::LOOP => 4,
        _ => return None,
    };
    (data.get(offset)? >> 4 == 6).then_some(offset)
}

//! pcap, as libpcap writes it: a header, then records.

use super::octets::Order;
use super::source::{Got, Source};
use super::time::Resolution;
use super::{Fault, FrameAt, Interface, LinkType, MAX_RECORD};

/// Octets of the file's header, the magic number included.
const HEADER: usize = 24;
/// Octets of a record's header.
const RECORD: usize = 16;

/// Kinds of file by their magic number: what a tick is, and whether records have the longer header of a patch to libpcap
/// (Kuznetzov's: interface, protocol and packet type behind it).
const MAGICS: [(u32, Resolution, bool); 3] = [
    (0xA1B2_C3D4, Resolution::MICROSECONDS, false),
    (0xA1B2_3C4D, Resolution::NANOSECONDS, false),
    (0xA1B2_CD34, Resolution::MICROSECONDS, true),
];

/// In which order a record gives its two lengths: it was the other way in the first files.
#[derive(Clone, Copy, Debug)]
enum Lengths {
    CapturedFirst,
    CapturedLast,
    /// The smaller is what was captured.
    Either,
}

/// A file of this kind, its header read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Classic {
    order: Order,
    lengths: Lengths,
    /// Octets of a record's header.
    record: usize,
    interface: Interface,
}

impl Classic {
    /// Whether the file's first four octets are those of a capture of this kind.
    pub(super) fn recognise(magic: [u8; 4]) -> Option<(Order, Resolution, bool)> {
        Order::BOTH.into_iter().find_map(|order| {
            let number = order.u32(&magic)?;
            let &(_, resolution, patched) = MAGICS.iter().find(|(of, ..)| *of == number)?;
            Some((order, resolution, patched))
        })
    }

    /// Reads the header's rest.
    pub(super) fn open(
        (order, resolution, patched): (Order, Resolution, bool),
        source: &mut Source,
    ) -> Result<Self, Fault> {
        let mut rest = [0; HEADER - 4];
        source.whole(&mut rest)?;
        let contradicts = || Fault::broken(0, "a header that is none");
        let (major, minor) =
            (order.u16(&rest).ok_or_else(contradicts)?, order.u16(&rest[2..]).ok_or_else(contradicts)?);
        let (_, fields) = order.words::<3>(&rest).ok_or_else(contradicts)?; // version, and two that nobody uses
        let ([_snaplen, link], _) = order.words(fields).ok_or_else(contradicts)?;
        let lengths = match (major, minor) {
            (0 | 1, _) => {
                return Err(Fault::broken(0, format!("pcap of version {major}.{minor}, which nothing reads")));
            }
            (2, 0..=2) | (543, _) => Lengths::CapturedLast,
            (2, 3) => Lengths::Either,
            _ => Lengths::CapturedFirst,
        };
        // Bit 26 says that bits 28 to 31 count the 16-bit words of a check sequence behind each frame. The other ones
        // above the link type are to be ignored.
        let check_sequence = if link & 1 << 26 == 0 { 0 } else { 2 * (link >> 28) as usize };
        let interface = Interface {
            link: LinkType((link & 0xFFFF) as u16),
            resolution,
            offset_s: 0,
            // More than it in a record: the record is right, it has the octets.
            snaplen: 0,
            check_sequence,
        };
        Ok(Self { order, lengths, record: if patched { RECORD + 8 } else { RECORD }, interface })
    }

    /// Reads the next record into `data`. `None`: there is none.
    pub(super) fn next(&self, source: &mut Source, data: &mut Vec<u8>) -> Result<Option<FrameAt>, Fault> {
        let start = source.at();
        let mut header = [0; RECORD + 8];
        match source.fill(&mut header[..self.record])? {
            Got::Nothing => return Ok(None),
            Got::Part => return Err(Fault::CutOff),
            Got::All => {}
        }
        let contradicts = || Fault::broken(start, "a record without its header");
        let ([seconds, fraction, first, last], _) = self.order.words(&header).ok_or_else(contradicts)?;
        let (captured, original) = match self.lengths {
            Lengths::CapturedFirst => (first, last),
            Lengths::CapturedLast => (last, first),
            Lengths::Either => (first.min(last), first.max(last)),
        };
        if u64::from(captured) > MAX_RECORD {
            return Err(Fault::broken(start, format!("a record that claims {captured} octets")));
        }
        if source.take(data, u64::from(captured))? == Got::Part {
            return Err(Fault::CutOff);
        }
        let per_second = if self.interface.resolution == Resolution::NANOSECONDS { 1_000_000_000 } else { 1_000_000 };
        Ok(Some(FrameAt {
            interface: self.interface,
            ticks: Some(u64::from(seconds) * per_second + u64::from(fraction)),
            data: 0..data.len(),
            original_len: original as usize,
            check_sequence: None,
        }))
    }
}

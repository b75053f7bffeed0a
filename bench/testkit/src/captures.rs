//! Capture files. Those that are as they should be come from the crate `pcap-file`, whose writer knows nothing of our
//! reader; what no writer makes, [`by_hand`] does.

pub mod by_hand;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// Link type of Ethernet.
pub const ETHERNET: u32 = 1;
/// As much of a frame as a capture may hold; tcpdump's own bound.
const SNAPLEN: u32 = 262_144;

/// A frame, as a capture holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// When it came.
    pub time: Duration,
    /// What is kept of it.
    pub data: &'a [u8],
    /// Its length on the wire.
    pub len: usize,
}

impl<'a> Record<'a> {
    /// A frame that is kept whole, one second after 1970.
    #[must_use]
    pub const fn whole(data: &'a [u8]) -> Self {
        Self { time: Duration::from_secs(1), data, len: data.len() }
    }

    /// A frame of which this much is kept.
    #[must_use]
    pub const fn cut(data: &'a [u8], len: usize) -> Self {
        Self { len, ..Self::whole(data) }
    }
}

/// A pcap file that grows: little-endian, in microseconds.
#[derive(Debug)]
pub struct Pcap<W: Write>(PcapWriter<W>);

impl<W: Write> Pcap<W> {
    /// Writes its header. `link`: the link type, and above it what else the word says.
    ///
    /// # Errors
    /// Of the writer beneath.
    pub fn new(to: W, link: u32) -> io::Result<Self> {
        let header = PcapHeader {
            snaplen: SNAPLEN,
            datalink: DataLink::from(link),
            ts_resolution: TsResolution::MicroSecond,
            endianness: Endianness::Little,
            ..PcapHeader::default()
        };
        PcapWriter::with_header(to, header).map(Self).map_err(io_error)
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// Of the writer beneath, or the record holds more than was on the wire, or than a capture may hold.
    pub fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        let packet = PcapPacket::new(record.time, record.len as u32, record.data);
        self.0.write_packet(&packet).map(drop).map_err(io_error)
    }

    /// Everything has been written, and no more is to come.
    ///
    /// # Errors
    /// Of the writer beneath, when it is flushed.
    pub fn finish(self) -> io::Result<W> {
        let mut to = self.0.into_writer();
        to.flush().map(|()| to)
    }
}

fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

/// The octets of a pcap file.
///
/// # Panics
/// A record holds more than was on the wire, or than a capture may hold.
pub fn pcap<'a>(link: u32, records: impl IntoIterator<Item = Record<'a>>) -> Vec<u8> {
    let mut pcap = Pcap::new(Vec::new(), link).expect("a header in memory");
    for record in records {
        pcap.record(&record).expect("a record that a capture can hold");
    }
    pcap.finish().expect("nothing to flush")
}

/// Writes a pcap file of whole frames of Ethernet.
///
/// # Panics
/// The file cannot be written.
pub fn write_ethernet(path: &Path, frames: &[Vec<u8>]) {
    let octets = pcap(ETHERNET, frames.iter().map(|frame| Record::whole(frame)));
    std::fs::write(path, octets).expect("a capture file");
}

/// The frames of a pcap file.
///
/// # Panics
/// It cannot be read to its end.
#[must_use]
pub fn frames(path: &Path) -> Vec<Vec<u8>> {
    let file = std::fs::File::open(path).expect("a capture file");
    let mut pcap = PcapReader::new(std::io::BufReader::new(file)).expect("a pcap header");
    let mut frames = Vec::new();
    while let Some(packet) = pcap.next_packet() {
        frames.push(packet.expect("a record").data.into_owned());
    }
    frames
}

/// The octets of a pcapng file of one interface with a clock of nanoseconds, little-endian.
///
/// # Panics
/// The link type has more than 16 bits.
pub fn pcapng<'a>(link: u16, records: impl IntoIterator<Item = Record<'a>>) -> Vec<u8> {
    /// `if_tsresol`: the negative power of ten of a tick.
    const NANOSECONDS: u8 = 9;
    let mut ng = PcapNgWriter::with_endianness(Vec::new(), Endianness::Little).expect("a header in memory");
    let options = vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)];
    let interface = InterfaceDescriptionBlock { linktype: DataLink::from(u32::from(link)), snaplen: 0, options };
    ng.write_pcapng_block(interface).expect("an interface in memory");
    for Record { time, data, len } in records {
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: time,
            original_len: len as u32,
            data: data.into(),
            options: Vec::new(),
        };
        ng.write_pcapng_block(block).expect("a frame of the one interface");
    }
    ng.into_inner()
}

#[cfg(test)]
mod tests {
    use super::by_hand::{self, MICRO, Order};
    use super::*;

    fn records() -> [Record<'static>; 3] {
        let time = |micros| Duration::from_secs(1_700_000_000) + Duration::from_micros(micros);
        let cut = Record { time: time(7), ..Record::cut(&[1, 2, 3], 9) };
        [Record { time: time(999_999), ..Record::whole(&[4; 60]) }, cut, Record { time: time(0), ..Record::whole(&[]) }]
    }

    /// Octet by octet as the formats say, which is what the other writer does.
    #[test]
    fn both_writers_agree() {
        let mut pcap = by_hand::Pcap::new(Order::Little, MICRO, SNAPLEN, 0x1400_0001);
        let mut ng = by_hand::Pcapng::new(Order::Little);
        ng.interface(229, 0, &[(9, &[9])]);
        for r in records() {
            let lengths = [r.data.len() as u32, r.len as u32];
            pcap.record(r.time.as_secs() as u32, r.time.subsec_micros(), lengths, r.data);
            ng.cut(0, r.time.as_nanos() as u64, r.data, r.len);
        }
        assert_eq!(super::pcap(0x1400_0001, records()), pcap.file);
        assert_eq!(super::pcapng(229, records()), ng.file);
    }

    #[test]
    fn a_record_longer_than_its_frame_is_refused() {
        let mut pcap = Pcap::new(Vec::new(), ETHERNET).expect("a header");
        assert!(pcap.record(&Record::cut(&[0; 3], 2)).is_err());
    }
}

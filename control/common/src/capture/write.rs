//! Captures that are written: pcap, which every tool reads.

use super::LinkType;
use std::io::{self, Write};

/// What tools take for 'no limit'.
const SNAPLEN: u32 = 262_144;
const NANOS: u64 = 1_000_000_000;

/// A pcap file that is being written.
pub struct Writer<W> {
    out: W,
    nanoseconds: bool,
}

impl<W: Write> Writer<W> {
    /// Writes the header of a file of this link type. Times are to the nanosecond or to the microsecond. `longest`: octets
    /// of the longest frame there will be.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(mut out: W, link: LinkType, nanoseconds: bool, longest: usize) -> io::Result<Self> {
        let magic = if nanoseconds { 0xA1B2_3C4D } else { 0xA1B2_C3D4 };
        let snaplen = u32::try_from(longest).unwrap_or(u32::MAX).max(SNAPLEN);
        // Version 2.4; no zone, no accuracy.
        for word in [magic, 0x0004_0002, 0, 0, snaplen, u32::from(link.0)] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { out, nanoseconds })
    }

    /// Writes a frame; `missing`: octets of it that were not captured. Without a time it is of 1970.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, time_ns: Option<u64>, data: &[u8], missing: usize) -> io::Result<()> {
        let time = time_ns.unwrap_or(0);
        let (seconds, nanos) = (u32::try_from(time / NANOS).unwrap_or(u32::MAX), (time % NANOS) as u32);
        let fraction = if self.nanoseconds { nanos } else { nanos / 1000 };
        let len = |n: usize| u32::try_from(n).map_err(|_| io::Error::other("a frame of more than 4 GiB"));
        for word in [seconds, fraction, len(data.len())?, len(data.len() + missing)?] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(data)
    }

    /// What is still held back goes to the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

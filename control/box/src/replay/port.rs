//! A port of a box that is replayed through: it receives what a capture holds, and what it sends goes to another one.

use crate::observe::counts::{PortCounts, PortLink};
use anyhow::Context;
use arrayvec::ArrayVec;
use common::capture::{Capture, CaptureError, Writer};
use pipeline::packet::buffer::{PacketBuf, VecBuf};
use pipeline::ports::{BURST, PortQueue};
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

/// A frame of a capture on its way through the box.
pub struct Packet {
    buffer: VecBuf,
    time_ns: Option<u64>,
    /// Octets that were not captured.
    missing: usize,
}

impl PacketBuf for Packet {
    fn data(&self) -> &[u8] {
        self.buffer.data()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.buffer.data_mut()
    }

    fn frame_len(&self) -> usize {
        self.buffer.frame_len()
    }

    fn headroom(&self) -> usize {
        self.buffer.headroom()
    }

    fn prepend(&mut self, n: usize) -> bool {
        self.buffer.prepend(n)
    }

    fn trim_front(&mut self, n: usize) -> bool {
        self.buffer.trim_front(n)
    }

    fn truncate(&mut self, len: usize) -> bool {
        self.buffer.truncate(len)
    }
}

/// A port between two captures.
pub struct CapturePort {
    /// `None`: everything that arrives here has arrived.
    input: Option<Capture>,
    output: Writer<BufWriter<File>>,
    output_path: PathBuf,
    burst: usize,
    counts: PortCounts,
    failed: Option<anyhow::Error>,
}

impl CapturePort {
    /// Receives what `input` holds, at most `burst` frames at once.
    pub fn new(input: Option<Capture>, output: Writer<BufWriter<File>>, output_path: PathBuf, burst: usize) -> Self {
        let link = PortLink { link_up: true, ..PortLink::default() };
        let counts = PortCounts { link, ..PortCounts::default() };
        Self { input, output, output_path, burst: burst.clamp(1, BURST), counts, failed: None }
    }

    /// Whether everything has arrived.
    pub fn is_through(&self) -> bool {
        self.input.is_none()
    }

    /// What went wrong in a burst.
    ///
    /// # Errors
    /// That, once.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Writes what is still held back; gives what was received and sent.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> anyhow::Result<PortCounts> {
        self.output.finish().with_context(|| format!("cannot write {}", self.output_path.display()))?;
        Ok(self.counts)
    }

    fn read(&mut self) -> Result<Option<Packet>, CaptureError> {
        let Some(input) = &mut self.input else { return Ok(None) };
        let frame = input.next_frame()?;
        let packet = frame.map(|frame| Packet {
            buffer: VecBuf::new(frame.data),
            time_ns: frame.time_ns,
            missing: frame.missing(),
        });
        if packet.is_none() {
            self.input = None;
        }
        Ok(packet)
    }
}

impl PortQueue for CapturePort {
    type Packet = Packet;

    fn receive(&mut self, into: &mut ArrayVec<Packet, BURST>) {
        while into.len() < self.burst {
            match self.read() {
                Ok(Some(packet)) => {
                    self.counts.rx_packets += 1;
                    self.counts.rx_octets += packet.buffer.data().len() as u64;
                    into.push(packet);
                }
                Ok(None) => return,
                Err(error) => {
                    self.input = None;
                    self.failed = Some(error.into());
                    return;
                }
            }
        }
    }

    /// Takes all. Where the file cannot be written, [`Self::check`] says so: the replay is over then.
    fn transmit(&mut self, packets: &mut ArrayVec<Packet, BURST>) {
        for packet in packets.drain(..) {
            let data = packet.buffer.data();
            match self.output.write(packet.time_ns, data, packet.missing) {
                Ok(()) => {
                    self.counts.tx_packets += 1;
                    self.counts.tx_octets += data.len() as u64;
                }
                Err(error) => {
                    let place = format!("cannot write {}", self.output_path.display());
                    if self.failed.is_none() {
                        self.failed = Some(anyhow::Error::new(error).context(place));
                    }
                }
            }
        }
    }
}

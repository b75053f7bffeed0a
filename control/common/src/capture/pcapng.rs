//! pcapng (draft-ietf-opsawg-pcapng): blocks that say their kind and length, in sections that describe their interfaces.

use super::octets::Order;
use super::source::{Got, Source};
use super::time::Resolution;
use super::{Fault, FrameAt, Interface, LinkType, MAX_RECORD};
use std::ops::Range;

/// A section header's block type, the same in both byte orders.
pub(super) const SECTION: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];
const INTERFACE: u32 = 1;
/// Obsolete: what was before the Enhanced Packet Block.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// A section header's number that says in which byte order the section is.
const BYTE_ORDER: u32 = 0x1A2B_3C4D;
/// Octets of a block around its body: type, length, and the length again.
const FRAME: u64 = 12;
/// Interfaces of one section that are remembered; no machine has as many.
const MAX_INTERFACES: usize = 1 << 16;

/// Options that are looked at.
mod option {
    pub const END: u16 = 0;
    pub const TIME_RESOLUTION: u16 = 9;
    pub const CHECK_SEQUENCE: u16 = 13;
    pub const TIME_OFFSET: u16 = 14;
    /// Of a packet.
    pub const FLAGS: u16 = 2;
}

/// A file of this kind, at the place of its reader.
#[derive(Debug)]
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
    /// The file's first block type was read before this was made.
    at_first: bool,
}

impl Pcapng {
    /// A file whose first block type has been read, and is [`SECTION`].
    pub(super) fn new() -> Self {
        Self { order: Order::Little, interfaces: Vec::new(), at_first: true }
    }

    /// Reads on to the next packet, into `body`. `None`: there is none.
    pub(super) fn next(&mut self, source: &mut Source, body: &mut Vec<u8>) -> Result<Option<FrameAt>, Fault> {
        loop {
            let mut kind = SECTION;
            let start = if core::mem::take(&mut self.at_first) {
                0
            } else {
                let start = source.at();
                match source.fill(&mut kind)? {
                    Got::Nothing => return Ok(None),
                    Got::Part => return Err(Fault::CutOff),
                    Got::All => start,
                }
            };
            if kind == SECTION {
                self.section(start, source)?;
                continue;
            }
            let kind = self.order.u32(&kind).unwrap_or_default();
            let len = self.number(source)?;
            let body_len = padded(len).checked_sub(FRAME).ok_or_else(|| too_short(start, len))?;
            if !matches!(kind, INTERFACE | PACKET | SIMPLE_PACKET | ENHANCED_PACKET) {
                step_over(source, body_len)?;
                self.trailer(start, len, source)?;
                continue;
            }
            if body_len > MAX_RECORD {
                return Err(Fault::broken(start, format!("a block that claims {len} octets")));
            }
            if source.take(body, body_len)? == Got::Part {
                return Err(Fault::CutOff);
            }
            self.trailer(start, len, source)?;
            if kind == INTERFACE {
                self.describe(start, body)?;
                continue;
            }
            return self.packet(kind, start, body).map(Some);
        }
    }

    fn number(&self, source: &mut Source) -> Result<u32, Fault> {
        let mut octets = [0; 4];
        source.whole(&mut octets)?;
        Ok(self.order.u32(&octets).unwrap_or_default())
    }

    /// A new section: a byte order of its own, and no interfaces yet.
    fn section(&mut self, start: u64, source: &mut Source) -> Result<(), Fault> {
        let mut octets = [0; 8]; // the length, in an order that only what follows says
        source.whole(&mut octets)?;
        let (len, magic) = octets.split_at(4);
        let order = Order::BOTH.into_iter().find(|order| order.u32(magic) == Some(BYTE_ORDER));
        self.order = order.ok_or_else(|| Fault::broken(start, "a section header without a byte order"))?;
        self.interfaces.clear();
        let len = self.order.u32(len).unwrap_or_default();
        // Version and section length follow the byte order, in any case.
        let rest = padded(len).checked_sub(FRAME + 16).ok_or_else(|| too_short(start, len))?;
        let mut version = [0; 12];
        source.whole(&mut version)?;
        let major = self.order.u16(&version).unwrap_or_default();
        if major != 1 {
            return Err(Fault::broken(start, format!("a section of pcapng version {major}, and only 1 is known")));
        }
        step_over(source, rest)?;
        self.trailer(start, len, source)
    }

    /// The length again, behind the block, for those who read backwards.
    fn trailer(&self, start: u64, len: u32, source: &mut Source) -> Result<(), Fault> {
        let again = self.number(source)?;
        if again == len {
            Ok(())
        } else {
            Err(Fault::broken(start, format!("a block that claims {len} octets at its front and {again} at its end")))
        }
    }

    fn describe(&mut self, start: u64, body: &[u8]) -> Result<(), Fault> {
        let order = self.order;
        let what = "an interface that is not described to the end";
        let short = || Fault::broken(start, what);
        let link = LinkType(order.u16(body).ok_or_else(short)?);
        let ([_link, snaplen], options) = order.words(body).ok_or_else(short)?;
        let mut interface =
            Interface { link, resolution: Resolution::MICROSECONDS, offset_s: 0, snaplen, check_sequence: 0 };
        for option in Options::new(order, options) {
            // To go on without an option would give wrong times, and nobody would notice.
            let (code, value) =
                option.ok_or_else(|| Fault::broken(start, "an option that goes on behind its block"))?;
            match (code, value) {
                (option::TIME_RESOLUTION, &[value]) => interface.resolution = Resolution::from_option(value),
                (option::TIME_OFFSET, value) if value.len() == 8 => {
                    interface.offset_s = order.i64(value).unwrap_or_default();
                }
                // In bits; some say octets. No check sequence has fewer than 8 bits, nor more than 7 octets.
                (option::CHECK_SEQUENCE, &[value]) => {
                    interface.check_sequence = usize::from(if value < 8 { value } else { value / 8 });
                }
                _ => {}
            }
        }
        if self.interfaces.len() == MAX_INTERFACES {
            return Err(Fault::broken(start, format!("a section of more than {MAX_INTERFACES} interfaces")));
        }
        self.interfaces.push(interface);
        Ok(())
    }

    fn interface(&self, start: u64, number: u32) -> Result<Interface, Fault> {
        self.interfaces.get(number as usize).copied().ok_or_else(|| {
            let what = match self.interfaces.len() {
                0 => format!("a packet of interface {number}, and its section has described none"),
                1 => format!("a packet of interface {number}, and its section has described interface 0 only"),
                n => format!(
                    "a packet of interface {number}, and its section has described interfaces 0 to {} only",
                    n - 1
                ),
            };
            Fault::broken(start, what)
        })
    }

    fn packet(&self, kind: u32, start: u64, body: &[u8]) -> Result<FrameAt, Fault> {
        let short = || Fault::broken(start, "a packet without its header");
        let order = self.order;
        if kind == SIMPLE_PACKET {
            let ([original], data) = order.words(body).ok_or_else(short)?;
            let interface = self.interface(start, 0)?;
            let captured = simple_len(original, interface.snaplen, data.len()).ok_or_else(|| {
                Fault::broken(start, format!("a packet of {original} octets in a block with room for {}", data.len()))
            })?;
            return Ok(FrameAt {
                interface,
                ticks: None,
                data: 4..4 + captured,
                original_len: original as usize,
                check_sequence: None,
            });
        }
        let ([number, high, low, captured, original], data) = order.words(body).ok_or_else(short)?;
        // Half of the first word is the count of drops in the older block.
        let number = if kind == PACKET { u32::from(order.u16(body).ok_or_else(short)?) } else { number };
        let interface = self.interface(start, number)?;
        let captured_len = captured as usize;
        if captured_len > data.len() {
            let what = format!("a packet with {captured} octets captured in a block with room for {}", data.len());
            return Err(Fault::broken(start, what));
        }
        let at = body.len() - data.len();
        let options = data.get(captured_len.next_multiple_of(4)..).unwrap_or_default();
        Ok(FrameAt {
            interface,
            ticks: Some(u64::from(high) << 32 | u64::from(low)),
            data: Range { start: at, end: at + captured_len },
            original_len: original as usize,
            check_sequence: flags(order, options),
        })
    }
}

/// Octets of the check sequence behind a packet, if its own options say. One that is broken says nothing: the packet itself
/// is whole.
fn flags(order: Order, options: &[u8]) -> Option<usize> {
    let (_, value) = Options::new(order, options).map_while(|o| o).find(|(code, _)| *code == option::FLAGS)?;
    let octets = order.u32(value)? >> 5 & 0xF;
    (octets > 0).then_some(octets as usize)
}

/// Octets captured of a packet in a block that does not say so: as many as the interface allows, or all when there are all.
fn simple_len(original: u32, snaplen: u32, room: usize) -> Option<usize> {
    let original = original as usize;
    let allowed = if snaplen == 0 { original } else { original.min(snaplen as usize) };
    if allowed.next_multiple_of(4) == room.next_multiple_of(4) && allowed <= room {
        Some(allowed)
    } else if original <= room {
        Some(original)
    } else {
        (allowed <= room).then_some(allowed)
    }
}

/// Options, until their end; `None` for one that goes on behind it.
struct Options<'b> {
    order: Order,
    rest: &'b [u8],
}

impl<'b> Options<'b> {
    fn new(order: Order, rest: &'b [u8]) -> Self {
        Self { order, rest }
    }

    fn read(&self) -> Option<(u16, &'b [u8], &'b [u8])> {
        let (code, len) = (self.order.u16(self.rest)?, usize::from(self.order.u16(self.rest.get(2..)?)?));
        let behind = self.rest.get(4..)?;
        Some((code, behind.get(..len)?, behind.get(len.next_multiple_of(4)..).unwrap_or_default()))
    }
}

impl<'b> Iterator for Options<'b> {
    type Item = Option<(u16, &'b [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((code, value, rest)) = self.read() else {
            self.rest = &[];
            return Some(None);
        };
        self.rest = rest;
        (code != option::END).then_some(Some((code, value)))
    }
}

/// The octets of a block that claims `len`. They have to be a multiple of four; some writers leave the padding out of the
/// count, and write it.
fn padded(len: u32) -> u64 {
    u64::from(len).next_multiple_of(4)
}

fn too_short(start: u64, len: u32) -> Fault {
    Fault::broken(start, format!("a block that claims {len} octets, which is less than what every block has"))
}

fn step_over(source: &mut Source, len: u64) -> Result<(), Fault> {
    match source.skip(len)? {
        Got::All => Ok(()),
        Got::Part | Got::Nothing => Err(Fault::CutOff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_captured_of_a_simple_packet() {
        // Original length, snaplen, room in the block.
        for (original, snaplen, room, expected) in [
            (102, 0, 104, Some(102)),
            (102, 65_535, 104, Some(102)),
            (102, 64, 64, Some(64)),
            (102, 62, 64, Some(62)),
            (64, 62, 64, Some(62)),
            // More than the interface allows, and there.
            (102, 64, 104, Some(102)),
            (102, 64, 84, Some(64)),
            (102, 0, 100, None),
            (102, 80, 64, None),
            (0, 0, 0, Some(0)),
            (u32::MAX, 0, 104, None),
        ] {
            assert_eq!(simple_len(original, snaplen, room), expected, "{original} {snaplen} {room}");
        }
    }

    #[test]
    fn options_end_where_their_block_does() {
        let all = |octets: &[u8]| -> Vec<Option<(u16, Vec<u8>)>> {
            Options::new(Order::Big, octets).map(|o| o.map(|(c, v)| (c, v.to_vec()))).collect()
        };
        assert!(all(&[]).is_empty());
        let two = all(&[0, 9, 0, 1, 6, 0, 0, 0, 0, 14, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1]);
        assert_eq!(two, [Some((9, vec![6])), Some((14, vec![]))], "nothing behind the end");
        // The padding of the last one may be missing.
        assert_eq!(all(&[0, 9, 0, 1, 6]), [Some((9, vec![6]))]);
        for broken in [&[0u8][..], &[0, 9, 0], &[0, 9, 0, 2, 6], &[0, 9, 0xFF, 0xFF, 1, 2, 3, 4]] {
            assert_eq!(all(broken), [None], "{broken:?}");
        }
    }
}

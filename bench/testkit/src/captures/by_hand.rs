//! Captures, written octet by octet: any byte order, clock and kind of record, and files that claim what is not so. No
//! writer makes those, since it would have to lie: lengths that are none, snap lengths below what is there, interfaces that
//! nobody described, records of kernels long gone. A reader's tests need them all.

/// Which octet of a number stands first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The least.
    Little,
    /// The greatest.
    Big,
}

/// Both.
pub const ORDERS: [Order; 2] = [Order::Little, Order::Big];

impl Order {
    /// A number of two octets.
    #[must_use]
    pub fn u16(self, n: u16) -> [u8; 2] {
        if self == Self::Little { n.to_le_bytes() } else { n.to_be_bytes() }
    }

    /// A number of four octets.
    #[must_use]
    pub fn u32(self, n: u32) -> [u8; 4] {
        if self == Self::Little { n.to_le_bytes() } else { n.to_be_bytes() }
    }

    /// A number of eight octets.
    #[must_use]
    pub fn u64(self, n: u64) -> [u8; 8] {
        if self == Self::Little { n.to_le_bytes() } else { n.to_be_bytes() }
    }
}

/// What a pcap file begins with whose clock counts microseconds.
pub const MICRO: u32 = 0xA1B2_C3D4;
/// Nanoseconds.
pub const NANO: u32 = 0xA1B2_3C4D;
/// Microseconds, and more fields in each record: a kernel patch of the nineties.
pub const PATCHED: u32 = 0xA1B2_CD34;

/// A pcap file that grows.
#[derive(Clone, Debug)]
pub struct Pcap {
    order: Order,
    magic: u32,
    /// Its octets so far.
    pub file: Vec<u8>,
}

impl Pcap {
    /// `link`: the whole word, with whatever stands above the link type.
    #[must_use]
    pub fn new(order: Order, magic: u32, snaplen: u32, link: u32) -> Self {
        Self::of_version(order, magic, [2, 4], snaplen, link)
    }

    /// Of a version other than 2.4.
    #[must_use]
    pub fn of_version(order: Order, magic: u32, version: [u16; 2], snaplen: u32, link: u32) -> Self {
        let mut file = order.u32(magic).to_vec();
        version.iter().for_each(|&n| file.extend(order.u16(n)));
        [0, 0, snaplen, link].iter().for_each(|&n| file.extend(order.u32(n)));
        Self { order, magic, file }
    }

    /// A record whose header says what it is told to.
    pub fn record(&mut self, seconds: u32, fraction: u32, lengths: [u32; 2], data: &[u8]) -> &mut Self {
        [seconds, fraction, lengths[0], lengths[1]].iter().for_each(|&n| self.file.extend(self.order.u32(n)));
        if self.magic == PATCHED {
            // Interface, protocol, packet type, and one of padding.
            self.file.extend([0, 0, 0, 2, 0x86, 0xDD, 4, 0]);
        }
        self.file.extend(data);
        self
    }

    /// A frame that is kept whole.
    pub fn whole(&mut self, seconds: u32, fraction: u32, data: &[u8]) -> &mut Self {
        self.record(seconds, fraction, [data.len() as u32; 2], data)
    }
}

/// An option of a pcapng block.
pub type Opt<'a> = (u16, &'a [u8]);

/// A pcapng file that grows.
#[derive(Clone, Debug)]
pub struct Pcapng {
    /// That of the section.
    pub order: Order,
    /// Its octets so far.
    pub file: Vec<u8>,
}

impl Pcapng {
    /// With a first section.
    #[must_use]
    pub fn new(order: Order) -> Self {
        let mut this = Self { order, file: Vec::new() };
        this.section(order);
        this
    }

    /// A new section, and a new byte order.
    pub fn section(&mut self, order: Order) -> &mut Self {
        self.order = order;
        let version = [order.u16(1), order.u16(0)].concat();
        let body = [&order.u32(0x1A2B_3C4D)[..], &version, &order.u64(u64::MAX)].concat();
        self.block(0x0A0D_0D0A, &body)
    }

    /// Any block; its body is padded.
    pub fn block(&mut self, kind: u32, body: &[u8]) -> &mut Self {
        let padded = body.len().next_multiple_of(4);
        let len = (padded + 12) as u32;
        self.lying(kind, len, body, len)
    }

    /// A block that says of its length what it is told to.
    pub fn lying(&mut self, kind: u32, len: u32, body: &[u8], again: u32) -> &mut Self {
        let padding = body.len().next_multiple_of(4) - body.len();
        self.file.extend(self.order.u32(kind));
        self.file.extend(self.order.u32(len));
        self.file.extend(body);
        self.file.extend(vec![0; padding]);
        self.file.extend(self.order.u32(again));
        self
    }

    fn options(&self, options: &[Opt<'_>]) -> Vec<u8> {
        let mut octets = Vec::new();
        for (code, value) in options {
            octets.extend(self.order.u16(*code));
            octets.extend(self.order.u16(value.len() as u16));
            octets.extend(*value);
            octets.resize(octets.len().next_multiple_of(4), 0);
        }
        if !options.is_empty() {
            octets.extend([0; 4]);
        }
        octets
    }

    /// An interface, by link type.
    pub fn interface(&mut self, link: u16, snaplen: u32, options: &[Opt<'_>]) -> &mut Self {
        let head = [&self.order.u16(link)[..], &[0, 0], &self.order.u32(snaplen)].concat();
        let body = [head, self.options(options)].concat();
        self.block(1, &body)
    }

    /// The body of an Enhanced Packet Block.
    #[must_use]
    pub fn enhanced_body(
        &self,
        interface: u32,
        ticks: u64,
        data: &[u8],
        lengths: [u32; 2],
        options: &[Opt<'_>],
    ) -> Vec<u8> {
        let words = [interface, (ticks >> 32) as u32, ticks as u32, lengths[0], lengths[1]];
        let mut body: Vec<u8> = words.iter().flat_map(|&n| self.order.u32(n)).collect();
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(self.options(options));
        body
    }

    /// An Enhanced Packet Block of a whole frame.
    pub fn enhanced(&mut self, interface: u32, ticks: u64, data: &[u8]) -> &mut Self {
        self.cut(interface, ticks, data, data.len())
    }

    /// The same of a frame that was longer on the wire.
    pub fn cut(&mut self, interface: u32, ticks: u64, data: &[u8], original: usize) -> &mut Self {
        let body = self.enhanced_body(interface, ticks, data, [data.len() as u32, original as u32], &[]);
        self.block(6, &body)
    }

    /// The obsolete Packet Block; it counts drops.
    pub fn packet(&mut self, interface: u16, ticks: u64, data: &[u8]) -> &mut Self {
        let len = data.len() as u32;
        let mut body = self.enhanced_body(0, ticks, data, [len; 2], &[]);
        body[..2].copy_from_slice(&self.order.u16(interface));
        body[2..4].copy_from_slice(&self.order.u16(7));
        self.block(2, &body)
    }

    /// A Simple Packet Block: no interface, no time, no captured length.
    pub fn simple(&mut self, data: &[u8], original: usize) -> &mut Self {
        let body = [&self.order.u32(original as u32)[..], data].concat();
        self.block(3, &body)
    }
}

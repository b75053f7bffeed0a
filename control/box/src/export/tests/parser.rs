//! Reads IPFIX messages, by RFC 7011 and by nothing of the encoder.

use std::collections::{BTreeMap, HashMap};

/// A record's values: by enterprise number (0: IANA's) and element.
pub type Fields = BTreeMap<(u32, u16), Vec<u8>>;

/// A message.
#[derive(Debug)]
pub struct Message {
    pub octets: usize,
    pub export_time: u32,
    pub sequence: u32,
    pub domain: u32,
    /// Templates in it.
    pub templates: usize,
    pub records: Vec<Fields>,
}

/// One side of a connection, or a file, or whoever gets datagrams: it knows the templates that came.
#[derive(Debug, Default)]
pub struct Collector {
    templates: HashMap<u16, Vec<(u32, u16, u16)>>,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(n).expect("octets are missing");
        self.0 = rest;
        taken
    }

    fn number(&mut self, n: usize) -> u32 {
        self.take(n).iter().fold(0, |number, &octet| number << 8 | u32::from(octet))
    }

    fn short(&mut self) -> u16 {
        self.number(2) as u16
    }
}

impl Collector {
    /// All messages of a file or stream.
    pub fn all(&mut self, mut octets: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        while !octets.is_empty() {
            let length = usize::from(u16::from_be_bytes([octets[2], octets[3]]));
            messages.push(self.message(&octets[..length]));
            octets = &octets[length..];
        }
        messages
    }

    /// One message, no octet more.
    pub fn message(&mut self, octets: &[u8]) -> Message {
        let mut reader = Reader(octets);
        assert_eq!(reader.short(), 10, "version");
        assert_eq!(usize::from(reader.short()), octets.len(), "length");
        let [export_time, sequence, domain] = std::array::from_fn(|_| reader.number(4));
        let mut message =
            Message { octets: octets.len(), export_time, sequence, domain, templates: 0, records: Vec::new() };
        while !reader.0.is_empty() {
            let (set, length) = (reader.short(), usize::from(reader.short()));
            assert!(length > 4, "an empty set");
            let mut set_reader = Reader(reader.take(length - 4));
            match set {
                2 => {
                    self.templates(&mut set_reader);
                    message.templates += 1;
                }
                256.. => {
                    let template = self.templates.get(&set).expect("its template came before");
                    while !set_reader.0.is_empty() {
                        message.records.push(record(template, &mut set_reader));
                    }
                }
                _ => panic!("a set of number {set}"),
            }
        }
        message
    }

    fn templates(&mut self, reader: &mut Reader<'_>) {
        while !reader.0.is_empty() {
            let (id, count) = (reader.short(), reader.short());
            assert!(id >= 256 && count > 0);
            let fields = (0..count).map(|_| {
                let (element, length) = (reader.short(), reader.short());
                let enterprise = if element >> 15 == 1 { reader.number(4) } else { 0 };
                (enterprise, element & 0x7FFF, length)
            });
            let fields = fields.collect();
            self.templates.insert(id, fields);
        }
    }
}

fn record(template: &[(u32, u16, u16)], reader: &mut Reader<'_>) -> Fields {
    let mut fields = Fields::new();
    for &(enterprise, element, length) in template {
        let length = match length {
            65535 => match reader.number(1) {
                255 => reader.number(2),
                short => short,
            },
            fixed => fixed.into(),
        };
        let value = reader.take(length as usize).to_vec();
        assert!(fields.insert((enterprise, element), value).is_none(), "element {element} twice");
    }
    fields
}

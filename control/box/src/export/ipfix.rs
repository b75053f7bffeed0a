//! IPFIX messages (RFC 7011): one template, and records by it.

use super::elements::{ELEMENTS, Element, Kind, Value};
use super::format::Format;
use super::record::FlowRecord;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Octets of a message, at most: over UDP it fits a path of 1,500 octets in one packet, tunnels allowed for.
pub const LIMIT: usize = 1400;
/// The template's number.
pub const TEMPLATE: u16 = 256;

const VERSION: u16 = 10;
const HEADER: usize = 16;
const SET_HEADER: usize = 4;
const TEMPLATE_SET: u16 = 2;
/// Over UDP the template is sent again after this, and after so many messages (RFC 7011 section 8.4).
const REPEAT_AFTER: Duration = Duration::from_secs(600);
const REPEAT_MESSAGES: u32 = 64;
/// Octets of a string, at most: behind this its length is written in another form.
const LONGEST_TEXT: usize = 254;

/// Puts messages together.
#[derive(Debug)]
pub struct Encoder {
    domain: u32,
    enterprise: Option<u32>,
    /// Whether the template is repeated.
    repeats: bool,
    /// Records in the messages so far, of this connection or file.
    sequence: u32,
    message: Vec<u8>,
    records: u32,
    /// Where the records' set begins in the message.
    set: usize,
    /// When the template was sent, and the messages since. `None`: it has to be.
    template: Option<(Instant, u32)>,
}

impl Encoder {
    /// For this observation domain. Without an enterprise number only standard elements are sent. `repeats`: messages may get
    /// lost, so the template is sent again.
    #[must_use]
    pub fn new(domain: u32, enterprise: Option<u32>, repeats: bool) -> Self {
        Self {
            domain,
            enterprise,
            repeats,
            sequence: 0,
            message: Vec::with_capacity(LIMIT),
            records: 0,
            set: 0,
            template: None,
        }
    }

    fn elements(&self) -> impl Iterator<Item = &'static Element> + use<> {
        let all = self.enterprise.is_some();
        ELEMENTS.into_iter().flatten().filter(move |element| all || !element.ours)
    }

    fn put(&mut self, number: u16) {
        self.message.extend(number.to_be_bytes());
    }

    /// Begins a message: room for its header, the template if it is due, and the head of the records' set.
    fn start(&mut self, now: Instant) {
        self.message.resize(HEADER, 0);
        let is_due = |(sent, messages): (Instant, u32)| {
            messages >= REPEAT_MESSAGES || now.saturating_duration_since(sent) >= REPEAT_AFTER
        };
        self.template = match self.template {
            Some(known) if !self.repeats || !is_due(known) => Some((known.0, known.1.saturating_add(1))),
            _ => {
                self.put_template();
                Some((now, 1))
            }
        };
        self.set = self.message.len();
        self.put(TEMPLATE);
        self.put(0);
    }

    fn put_template(&mut self) {
        let at = self.message.len();
        let fields = self.elements().count() as u16;
        for number in [TEMPLATE_SET, 0, TEMPLATE, fields] {
            self.put(number);
        }
        for element in self.elements() {
            let enterprise = self.enterprise.filter(|_| element.ours);
            self.put(element.id | if enterprise.is_some() { 1 << 15 } else { 0 });
            self.put(element.kind.length());
            self.message.extend(enterprise.into_iter().flat_map(u32::to_be_bytes));
        }
        self.close(at);
    }

    /// Writes the length of the set that begins there and ends here.
    fn close(&mut self, at: usize) {
        let length = (self.message.len() - at) as u16;
        self.write(at + 2, &length.to_be_bytes());
    }

    fn write(&mut self, at: usize, octets: &[u8]) {
        if let Some(place) = self.message.get_mut(at..at + octets.len()) {
            place.copy_from_slice(octets);
        }
    }

    fn put_record(&mut self, record: &FlowRecord) {
        for element in self.elements() {
            match ((element.value)(record), element.kind) {
                (Value::Number(n), Kind::Unsigned8) => self.message.push(n as u8),
                (Value::Number(n), Kind::Unsigned16) => self.put(n as u16),
                (Value::Number(n), _) => self.message.extend(n.to_be_bytes()),
                (Value::Address(address), _) => self.message.extend(address),
                (Value::Text(text), _) => {
                    let text = shortened(text);
                    self.message.push(text.len() as u8);
                    self.message.extend(text.as_bytes());
                }
            }
        }
    }
}

/// As much of it as fits a string whose length is one octet.
fn shortened(text: &str) -> &str {
    let end = (0..=LONGEST_TEXT.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

impl Format for Encoder {
    fn begin(&mut self) {
        self.clear();
        (self.sequence, self.template) = (0, None);
    }

    fn repeat(&mut self) {
        self.template = self.template.filter(|_| !self.repeats);
    }

    fn add(&mut self, record: &FlowRecord, now: Instant) -> bool {
        if self.message.is_empty() {
            self.start(now);
        }
        let before = self.message.len();
        self.put_record(record);
        // A record alone always fits, behind a template too.
        if self.message.len() > LIMIT && self.records > 0 {
            self.message.truncate(before);
            return false;
        }
        self.records += 1;
        true
    }

    fn records(&self) -> u64 {
        self.records.into()
    }

    fn finish(&mut self, now: SystemTime) -> &[u8] {
        if self.records == 0 {
            return &[];
        }
        debug_assert!(self.message.len() > self.set + SET_HEADER);
        self.close(self.set);
        // The export time runs around in 2106, as RFC 7011 has it.
        let time = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32);
        let [version, length] = [VERSION, self.message.len() as u16].map(u16::to_be_bytes);
        let [time, sequence, domain] = [time, self.sequence, self.domain].map(u32::to_be_bytes);
        let header = [version.as_slice(), &length, &time, &sequence, &domain].concat();
        self.write(0, &header);
        &self.message
    }

    fn clear(&mut self) {
        // What was given up counts too: so the collector sees that it is missing.
        self.sequence = self.sequence.wrapping_add(self.records);
        self.records = 0;
        self.message.clear();
    }
}

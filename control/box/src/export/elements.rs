//! The information elements of a record. `docs/ipfix.md` has the same table, and a test compares them. Numbers and types of
//! standard ones: IANA's registry, <https://www.iana.org/assignments/ipfix>.
// A table: one row for each element, in the order in which a record has them.

use super::record::FlowRecord;
use std::fmt::Write;

/// The abstract data type (RFC 7012 section 3.1), in which a value is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One octet.
    Unsigned8,
    /// Two.
    Unsigned16,
    /// Eight.
    Unsigned64,
    /// Eight: milliseconds since 1970.
    Milliseconds,
    /// Sixteen.
    Ipv6Address,
    /// Of variable length, UTF-8.
    Text,
}

impl Kind {
    /// The type's name in the registry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsigned8 => "unsigned8",
            Self::Unsigned16 => "unsigned16",
            Self::Unsigned64 => "unsigned64",
            Self::Milliseconds => "dateTimeMilliseconds",
            Self::Ipv6Address => "ipv6Address",
            Self::Text => "string",
        }
    }

    /// The length that a template gives.
    #[must_use]
    pub const fn length(self) -> u16 {
        match self {
            Self::Unsigned8 => 1,
            Self::Unsigned16 => 2,
            Self::Unsigned64 | Self::Milliseconds => 8,
            Self::Ipv6Address => 16,
            Self::Text => 65535,
        }
    }
}

/// A value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    Number(u64),
    Address([u8; 16]),
    Text(&'a str),
}

/// An information element.
#[derive(Debug)]
pub struct Element {
    /// Its number: IANA's, or, if it is `ours`, under the configured enterprise number.
    pub id: u16,
    /// Whether it has no standard number.
    pub ours: bool,
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it is.
    pub help: &'static str,
    pub(super) value: for<'a> fn(&'a FlowRecord) -> Value<'a>,
}

type Read = for<'a> fn(&'a FlowRecord) -> Value<'a>;

const fn standard(id: u16, name: &'static str, kind: Kind, help: &'static str, value: Read) -> Element {
    Element { id, ours: false, name, kind, help, value }
}

const fn count(id: u16, name: &'static str, help: &'static str, value: Read) -> Element {
    Element { id, ours: true, name, kind: Kind::Unsigned64, help, value }
}

/// The five figures of one kind of time.
macro_rules! times {
    ($id:literal, $name:literal, $what:literal, $field:ident) => {
        [
            count($id, concat!($name, "Samples"), concat!("how many times were measured of ", $what), |r| {
                Value::Number(r.figures.$field.samples)
            }),
            count($id + 1, concat!($name, "Last"), concat!("the last of ", $what, ", ns"), |r| {
                Value::Number(r.figures.$field.last_ns)
            }),
            count(
                $id + 2,
                concat!($name, "Smoothed"),
                concat!("the mean of ", $what, " in which the last ones count most, ns"),
                |r| Value::Number(r.figures.$field.smoothed_ns),
            ),
            count($id + 3, concat!($name, "Least"), concat!("the least of ", $what, ", ns"), |r| {
                Value::Number(r.figures.$field.least_ns)
            }),
            count($id + 4, concat!($name, "Greatest"), concat!("the greatest of ", $what, ", ns"), |r| {
                Value::Number(r.figures.$field.greatest_ns)
            }),
        ]
    };
}

const STANDARD: [Element; 10] = [
    standard(27, "sourceIPv6Address", Kind::Ipv6Address, "the far end", |r| Value::Address(r.tuple.src)),
    standard(28, "destinationIPv6Address", Kind::Ipv6Address, "the end behind the box", |r| {
        Value::Address(r.tuple.dst)
    }),
    standard(7, "sourceTransportPort", Kind::Unsigned16, "the far end's; of an ICMPv6 echo its Identifier", |r| {
        Value::Number(r.tuple.sport.into())
    }),
    standard(11, "destinationTransportPort", Kind::Unsigned16, "the port behind the box", |r| {
        Value::Number(r.tuple.dport.into())
    }),
    standard(4, "protocolIdentifier", Kind::Unsigned8, "the upper-layer protocol", |r| {
        Value::Number(r.tuple.protocol.into())
    }),
    standard(60, "ipVersion", Kind::Unsigned8, "always 6", |_| Value::Number(6)),
    standard(152, "flowStartMilliseconds", Kind::Milliseconds, "when the flow came into the table", |r| {
        Value::Number(r.start_ms)
    }),
    standard(153, "flowEndMilliseconds", Kind::Milliseconds, "its last packet of either direction", |r| {
        Value::Number(r.end_ms)
    }),
    standard(136, "flowEndReason", Kind::Unsigned8, "1: idle; 2: it goes on; 4: the box stops", |r| {
        Value::Number(r.reason as u64)
    }),
    standard(
        2,
        "packetDeltaCount",
        Kind::Unsigned64,
        "packets with a good option that came since the flow's last record, copies not counted",
        |r| Value::Number(r.packets),
    ),
];

const COUNTS: [Element; 7] = [
    Element {
        id: 1,
        ours: true,
        name: "pdmPolicy",
        kind: Kind::Text,
        help: "the name of the policy",
        value: |r| Value::Text(&r.policy),
    },
    count(2, "pdmReceived", "packets with a good option since the start, copies not counted", |r| {
        Value::Number(r.figures.received)
    }),
    count(3, "pdmLost", "numbers that never came since the start", |r| Value::Number(r.figures.lost)),
    count(4, "pdmDuplicates", "packets that came again since the start", |r| Value::Number(r.figures.duplicates)),
    count(5, "pdmLate", "packets that came behind a later one since the start", |r| Value::Number(r.figures.late)),
    count(6, "pdmFailed", "options that did not verify since the start", |r| Value::Number(r.figures.failed)),
    count(7, "pdmPeerPacketsPerSecond", "packets a second of the other box, all flows together; 0: not known", |r| {
        Value::Number(r.figures.peer_packets_per_second.unwrap_or(0))
    }),
];

const ROUND_TRIP: [Element; 5] =
    times!(16, "pdmRoundTrip", "the round trips between the boxes, without the far side's delay", round_trip);
const SERVER_DELAY: [Element; 5] = times!(24, "pdmServerDelay", "the far side's delays", server_delay);
const END_TO_END: [Element; 5] = times!(32, "pdmEndToEnd", "the times end to end: both together", end_to_end);
const TOLD: [Element; 5] =
    times!(40, "pdmToldEndToEnd", "the times end to end that the far side has measured", told_end_to_end);

/// All of them, in parts; in the order in which a record has them.
pub const ELEMENTS: [&[Element]; 6] = [&STANDARD, &COUNTS, &ROUND_TRIP, &SERVER_DELAY, &END_TO_END, &TOLD];

/// As they stand in `docs/ipfix.md`.
#[must_use]
pub fn table() -> String {
    let mut text = "| number | name | type | |\n|---|---|---|---|\n".to_owned();
    for Element { id, ours, name, kind, help, .. } in ELEMENTS.into_iter().flatten() {
        let number = if *ours { format!("E.{id}") } else { id.to_string() };
        let _ = writeln!(text, "| {number} | `{name}` | {} | {help} |", kind.name()); // into a String
    }
    text
}

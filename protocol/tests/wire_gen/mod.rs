//! Valid IPv6 packets of every kind the walk takes, with what it must find in them, made without the code under test.

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::wire::option::Form;

pub const FORMS: [Form; 3] = [Form::Pdm, Form::Clear, Form::Encrypted];

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DEST_OPTS: u8 = 60;

/// An option, padding included, as octets.
pub type Tlv = Vec<u8>;

#[derive(Clone, Debug)]
pub enum Header {
    Options {
        kind: u8,
        options: Vec<Tlv>,
        fill: Fill,
    },
    /// The header behind its first two octets, and the destination it names when segments are left.
    Routing {
        body: Vec<u8>,
        last: Option<LastHop>,
    },
}

/// The last address of a source route: this many octets of it are those of the destination.
#[derive(Clone, Copy, Debug)]
pub struct LastHop {
    pub address: [u8; 16],
    pub shared: usize,
}

/// How the end of an options header is filled to a multiple of eight.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    PadN,
    Pad1s,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub start: [u8; 40],
    pub headers: Vec<Header>,
    pub protocol: u8,
    pub upper: Vec<u8>,
    pub trailing: Vec<u8>,
}

impl Header {
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Options { kind, .. } => *kind,
            Self::Routing { .. } => ROUTING,
        }
    }

    pub const fn is_dest_opts(&self) -> bool {
        self.kind() == DEST_OPTS
    }

    /// Its octets, naming `next`.
    pub fn emit(&self, next: u8) -> Vec<u8> {
        let mut octets = vec![next, 0];
        match self {
            Self::Options { options, fill, .. } => {
                octets.extend(options.concat());
                let missing = (8 - octets.len() % 8) % 8;
                match fill {
                    Fill::PadN if missing > 1 => {
                        octets.extend([1, missing as u8 - 2]);
                        octets.resize(octets.len() + missing - 2, 0);
                    }
                    _ => octets.resize(octets.len() + missing, 0),
                }
            }
            Self::Routing { body, .. } => octets.extend(body),
        }
        octets[1] = (octets.len() / 8 - 1) as u8;
        octets
    }
}

impl Model {
    /// The packet.
    pub fn emit(&self) -> Vec<u8> {
        let mut octets = self.start.to_vec();
        let mut kinds = self.headers.iter().map(Header::kind).chain([self.protocol]);
        octets[0] = 0x60 | octets[0] & 0x0F;
        octets[6] = kinds.next().expect("at least the protocol");
        for (header, next) in self.headers.iter().zip(kinds) {
            octets.extend(header.emit(next));
        }
        octets.extend(&self.upper);
        let payload = (octets.len() - 40) as u16;
        octets[4..6].copy_from_slice(&payload.to_be_bytes());
        octets.extend(&self.trailing);
        octets
    }

    /// `SrcIP || SrcPort || DstIP || DstPort || Protocol`.
    pub fn five_tuple(&self) -> Vec<u8> {
        let (source, mut destination) = (&self.start[8..24], self.start[24..40].to_vec());
        for header in &self.headers {
            if let Header::Routing { last: Some(last), .. } = header {
                destination[last.shared..].copy_from_slice(&last.address[last.shared..]);
            }
        }
        let ports: [&[u8]; 2] = match self.protocol {
            6 | 17 | 33 | 132 | 136 => [&self.upper[..2], &self.upper[2..4]],
            58 if self.upper[0] | 1 == 129 => [&self.upper[4..6]; 2],
            _ => [&[0, 0]; 2],
        };
        [source, ports[0], &destination, ports[1], &[self.protocol]].concat()
    }

    pub fn ends_in_dest_opts(&self) -> bool {
        self.headers.last().is_some_and(Header::is_dest_opts)
    }
}

fn padding() -> impl Strategy<Value = Tlv> {
    prop_oneof![
        Just(vec![0]),
        (0u8..9).prop_map(|n| [vec![1, n], vec![0; n.into()]].concat()),
        vec(any::<u8>(), 0..12).prop_map(|data| [vec![1, data.len() as u8], data].concat()),
    ]
}

fn other_option() -> impl Strategy<Value = Tlv> {
    let kind = any::<u8>().prop_map(|k| if matches!(k, 0 | 1 | 0x0F | 0xC2) { 0x1E } else { k });
    let len = prop_oneof![8 => 0usize..14, 1 => 0usize..256];
    (kind, len.prop_flat_map(|n| vec(any::<u8>(), n))).prop_map(|(k, data)| [vec![k, data.len() as u8], data].concat())
}

fn options() -> impl Strategy<Value = Vec<Tlv>> {
    vec(prop_oneof![padding(), other_option()], 0..6)
}

fn fill() -> impl Strategy<Value = Fill> {
    prop_oneof![Just(Fill::PadN), Just(Fill::Pad1s)]
}

fn options_header(kind: u8) -> impl Strategy<Value = Header> {
    (options(), fill()).prop_map(move |(options, fill)| Header::Options { kind, options, fill })
}

/// A Routing header without segments left: its type and content do not matter.
fn passed_route() -> impl Strategy<Value = Header> {
    (any::<u8>(), 0usize..8, any::<u64>()).prop_map(|(kind, units, seed)| {
        let mut body = vec![kind, 0];
        body.extend((0..4 + units * 8).map(|i| seed.rotate_left(i as u32) as u8));
        Header::Routing { body, last: None }
    })
}

/// A Routing header with segments left, of a type whose destination is known.
fn route() -> impl Strategy<Value = Header> {
    let addresses = || vec(any::<[u8; 16]>(), 1..5);
    let within = |n: usize, left: prop::sample::Index| left.index(n) as u8 + 1;
    prop_oneof![
        (addresses(), any::<prop::sample::Index>()).prop_map(move |(a, left)| {
            let last = Some(LastHop { address: a[a.len() - 1], shared: 0 });
            Header::Routing { body: [&[0, within(a.len(), left), 0, 0, 0, 0][..], &a.concat()].concat(), last }
        }),
        any::<[u8; 16]>().prop_map(|address| {
            let last = Some(LastHop { address, shared: 0 });
            Header::Routing { body: [&[2, 1, 0, 0, 0, 0][..], &address].concat(), last }
        }),
        (addresses(), 0usize..16, 0usize..16, any::<prop::sample::Index>()).prop_map(move |(a, i, e, left)| {
            let last = Some(LastHop { address: a[a.len() - 1], shared: e });
            let mut list: Vec<u8> = a[..a.len() - 1].iter().flat_map(|a| a[i..].to_vec()).collect();
            list.extend(&a[a.len() - 1][e..]);
            let pad = (8 - list.len() % 8) % 8;
            list.resize(list.len() + pad, 0);
            let start = [3, within(a.len(), left), (i << 4 | e) as u8, (pad << 4) as u8, 0, 0];
            Header::Routing { body: [&start[..], &list].concat(), last }
        }),
        (addresses(), any::<prop::sample::Index>(), 0usize..3).prop_map(move |(a, left, tlvs)| {
            let last = Some(LastHop { address: a[0], shared: 0 });
            let start = [4, within(a.len(), left), a.len() as u8 - 1, 0, 0, 0];
            Header::Routing { body: [&start[..], &a.concat(), &vec![4; tlvs * 8]].concat(), last }
        }),
    ]
}

/// Protocol and upper layer.
fn upper() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let with_ports = prop::sample::select(vec![6u8, 17, 33, 132, 136]);
    let others = any::<u8>().prop_map(|p| match p {
        0 | 43 | 44 | 51 | 60 | 6 | 17 | 33 | 132 | 136 | 58 => 59,
        p => p,
    });
    prop_oneof![
        4 => (with_ports, vec(any::<u8>(), 4..100)),
        1 => (Just(58), (128u8..130, vec(any::<u8>(), 5..60)).prop_map(|(kind, rest)| [vec![kind], rest].concat())),
        1 => (Just(58), (0u8..128, vec(any::<u8>(), 0..60)).prop_map(|(kind, rest)| [vec![kind], rest].concat())),
        2 => (Just(50), vec(any::<u8>(), 0..100)),
        1 => (others, vec(any::<u8>(), 0..20)),
        1 => (Just(59), Just(Vec::new())),
    ]
}

/// Any valid packet without a PDM option that may get one.
pub fn packets() -> impl Strategy<Value = Model> {
    let later = vec(prop_oneof![2 => options_header(DEST_OPTS), 1 => passed_route(), 1 => route()], 0..6);
    let headers = (proptest::option::of(options_header(HOP_BY_HOP)), later)
        .prop_map(|(first, later)| first.into_iter().chain(later).collect());
    (prop::array::uniform32(any::<u8>()), any::<[u8; 8]>(), headers, upper(), vec(any::<u8>(), 0..10)).prop_map(
        |(addresses, first, headers, (protocol, upper), trailing)| {
            let mut start = [0; 40];
            start[..8].copy_from_slice(&first);
            start[8..].copy_from_slice(&addresses);
            Model { start, headers, protocol, upper, trailing }
        },
    )
}

/// A PDM option of a form, with arbitrary content.
pub fn pdm_option(form: Form) -> impl Strategy<Value = Tlv> {
    vec(any::<u8>(), usize::from(form.data_len())).prop_map(move |mut data| {
        if form != Form::Pdm {
            data[0] = 0x20 | data[0] & 0x0F;
        }
        [vec![0x0F, form.data_len()], data].concat()
    })
}

/// A packet that carries an option as another sender might have put it: in any Destination Options header, in any place
/// among its options. Gives the number of that header too.
pub fn foreign_packets() -> impl Strategy<Value = (Model, usize, Tlv)> {
    let form = prop::sample::select(FORMS.to_vec());
    let own = (options(), options(), form.prop_flat_map(pdm_option), fill());
    (packets(), own, any::<prop::sample::Index>()).prop_map(|(mut model, (before, after, option, fill), place)| {
        let options = before.into_iter().chain([option.clone()]).chain(after).collect();
        let first = usize::from(model.headers.first().is_some_and(|h| h.kind() == HOP_BY_HOP));
        let place = first + place.index(model.headers.len() + 1 - first);
        model.headers.insert(place, Header::Options { kind: DEST_OPTS, options, fill });
        (model, place, option)
    })
}

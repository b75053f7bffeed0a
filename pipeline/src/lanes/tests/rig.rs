//! A table of flows as the slow way would leave it, and bursts of frames of all shapes.

use crate::flow::hash::FlowHash;
use crate::flow::hash::HashKey;
use crate::flow::index::{Bucket, FlowIndex};
use crate::flow::record::words::{flags, held, seen, vouched};
use crate::lanes::{Record, View};
use crate::packet::buffer::VecBuf;
use proptest::prelude::*;
use protocol::aead::KeyState;
use protocol::five_tuple::FiveTuple;
use protocol::meter::next_word;
use protocol::prseq::{MasterKey, PrseqKey};
use protocol::suite::Aead;
use protocol::wire::option::Form;
use std::sync::atomic::Ordering;

pub const FLOWS: usize = 40;
pub const NAME: u32 = 0x8000_0007;
pub const ME: u16 = 3;
/// The longest IPv6 packet that gets the option.
pub const LIMIT: u16 = 1460;

/// The forms that packets have that stay in the lanes.
pub const FORMS: [Form; 3] = [Form::Encrypted, Form::Clear, Form::Pdm];

/// What is the matter with a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing.
    Fine,
    /// Nothing; F is set.
    FineF,
    /// It is not in the table.
    Unknown,
    /// It has no name, or an old one.
    Unnamed,
    OldName,
    /// Another worker holds it.
    NotMine,
    /// Its option is another one.
    Clear,
    ClearF,
    Pdm,
    /// Its key is not the next number's; another worker has handed its last packets over.
    Unkeyed,
    Noted,
    /// Its bucket has another flow's tag where it would stand.
    Impostor,
}

pub const STATES: [State; 12] = [
    State::Fine,
    State::FineF,
    State::Unknown,
    State::Unnamed,
    State::OldName,
    State::NotMine,
    State::Clear,
    State::ClearF,
    State::Pdm,
    State::Unkeyed,
    State::Noted,
    State::Impostor,
];

/// One flow as a test wants it.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub state: State,
    pub index: u16,
    pub psntp: u16,
}

/// The flow of this number.
pub fn tuple(flow: usize) -> FiveTuple {
    let mut tuple = FiveTuple { src: [0x20; 16], dst: [0xFD; 16], sport: 1024, dport: 443, protocol: 17 };
    tuple.src[14..].copy_from_slice(&(flow as u16).to_be_bytes());
    tuple.sport += flow as u16 % 1000;
    if flow % 3 == 1 {
        tuple.protocol = 6;
    }
    tuple
}

/// The session key and base nonce of a flow, and its order.
pub fn keys(flow: usize) -> ([u8; 32], [u8; 12], PrseqKey) {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&(0x1234_5678_9ABC_DEF0_1122_3344_5566_7788_u128 ^ (flow as u128) << 40).to_le_bytes());
    let nonce = core::array::from_fn(|i| (i * 37 + flow * 11) as u8);
    (key, nonce, PrseqKey::derive(&MasterKey::new([0x5C; 32]), flow as u128, 1, 0))
}

pub struct World {
    pub key: HashKey,
    pub index: FlowIndex,
    pub records: Vec<Record>,
}

impl World {
    pub fn new(specs: &[Spec]) -> Self {
        let records = specs.iter().map(|_| Record::default()).collect();
        let world = Self { key: HashKey::new(&[9; 16]), index: FlowIndex::new(specs.len()), records };
        specs.iter().enumerate().for_each(|(flow, spec)| world.enter(flow, spec));
        world
    }

    pub fn view(&self, form: Form, now_ns: u64) -> View<'_> {
        View { key: &self.key, index: &self.index, records: &self.records, name: NAME, me: ME, form, now_ns }
    }

    fn enter(&self, flow: usize, spec: &Spec) {
        let record = &self.records[flow];
        let print = self.key.fingerprint(&tuple(flow).words());
        let set = |words: &[protocol::sync::AtomicU64], values: &[u64]| {
            words.iter().zip(values).for_each(|(word, &value)| word.store(value, Ordering::Relaxed));
        };
        set(&record.fingerprint, &[print.lo, print.hi]);
        let (key, base_nonce, order) = keys(flow);
        record.key.store(&KeyState::new(Aead::Aes128Gcm, &key));
        let long = |at: usize| core::array::from_fn(|i| base_nonce.get(at + i).copied().unwrap_or(0));
        set(core::slice::from_ref(&record.nonce), &[u64::from_le_bytes(long(0))]);
        set(core::slice::from_ref(&record.nonce_end), &[u64::from_le_bytes(long(8)) | 77 << 32]);
        set(&record.order, &order.to_words());
        let name = match spec.state {
            State::Unnamed => 0,
            State::OldName => NAME - 1,
            _ => NAME,
        };
        let set_flags = match spec.state {
            State::FineF => flags::F,
            State::Clear => flags::CLEAR,
            State::ClearF => flags::CLEAR | flags::F,
            State::Pdm => flags::PDM,
            State::Unkeyed => flags::UNKEYED,
            State::Noted => flags::NOTED,
            _ => 0,
        };
        let owner = if spec.state == State::NotMine { ME + 1 } else { ME };
        set(core::slice::from_ref(&record.vouched), &[vouched(name, LIMIT, flow as u16)]);
        set(core::slice::from_ref(&record.held), &[held(owner, set_flags, seen(0))]);
        set(core::slice::from_ref(&record.meter.next), &[next_word(0, spec.index, spec.psntp)]);
        match spec.state {
            State::Unknown => {}
            State::Impostor => self.put(FlowHash(print.lo), (flow as u32 + 1) % self.records.len() as u32),
            _ => self.put(FlowHash(print.lo), flow as u32),
        }
    }

    /// Into the flow's first bucket unless that is nearly full, else into the emptiest.
    fn put(&self, hash: FlowHash, record: u32) {
        let buckets = self.index.buckets();
        let first = &buckets[hash.0 as usize & (buckets.len() - 1)];
        let room = |bucket: &Bucket| bucket.0.iter().filter(|word| word.load(Ordering::Relaxed) == 0).count();
        let others = self.index.other_buckets(hash).into_iter().max_by_key(|bucket| room(bucket));
        let bucket = others.filter(|other| room(first) < 2 && room(other) > room(first)).unwrap_or(first);
        let word = bucket.0.iter().find(|word| word.load(Ordering::Relaxed) == 0).expect("room");
        word.store(u64::from(FlowIndex::live_half(hash)) << 32 | u64::from(record), Ordering::Release);
    }
}

/// How a packet differs from a plain one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    Plain,
    Tagged([u8; 2]),
    TwoTags,
    /// Has octets behind what the IPv6 header says.
    Padded,
    Syn,
    Version,
    Type,
    OtherProtocol,
    /// Ends before the IPv6 header says.
    Cut,
    /// Has no whole UDP header.
    TooShort,
    /// Has no whole IPv6 header.
    Stub,
}

impl Shape {
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Plain | Self::Tagged(_) | Self::Padded)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub flow: usize,
    pub shape: Shape,
    /// Octets behind the IPv6 header.
    pub payload: usize,
}

impl Packet {
    pub fn frame(&self) -> Vec<u8> {
        let tuple = tuple(self.flow);
        let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x86, 0xDD, 0x6A, 0xBC, 0xDE, 0xF1];
        frame.extend_from_slice(&(self.payload as u16).to_be_bytes());
        frame.extend_from_slice(&[tuple.protocol, 64]);
        frame.extend_from_slice(&tuple.src);
        frame.extend_from_slice(&tuple.dst);
        frame.extend((0..self.payload).map(|i| i as u8 ^ 0xA0));
        frame[54..56].copy_from_slice(&tuple.sport.to_be_bytes());
        frame[56..58].copy_from_slice(&tuple.dport.to_be_bytes());
        if let Some(flags) = frame.get_mut(67) {
            *flags = if self.shape == Shape::Syn { 0x02 } else { 0x10 };
        }
        match self.shape {
            Shape::Plain | Shape::Syn => {}
            Shape::Tagged(kind) => drop(frame.splice(12..12, [kind[0], kind[1], 0, 7])),
            Shape::TwoTags => drop(frame.splice(12..12, [0x88, 0xA8, 0, 7, 0x81, 0, 0, 5])),
            Shape::Padded => frame.extend_from_slice(&[0; 6]),
            Shape::Version => frame[14] = 0x45,
            Shape::Type => frame[12] = 0x08,
            Shape::OtherProtocol => frame[20] = 50,
            Shape::Cut => frame.truncate(frame.len() - 1),
            Shape::TooShort => {
                frame[18..20].copy_from_slice(&7u16.to_be_bytes());
                frame.truncate(61);
            }
            Shape::Stub => frame.truncate(30),
        }
        frame
    }
}

pub fn buffers(packets: &[Packet]) -> Vec<VecBuf> {
    packets.iter().map(|packet| VecBuf::new(&packet.frame())).collect()
}

/// One burst, and what happens before it.
#[derive(Clone, Debug)]
pub struct Step {
    pub packets: Vec<Packet>,
    /// Time since the burst before.
    pub pause_ns: u64,
    /// Packets that come back: flow, their PSNTP and PSNLR, and when, before the burst.
    pub back: Vec<(usize, u16, u16, u64)>,
    pub pointer: u32,
}

fn specs() -> impl Strategy<Value = Vec<Spec>> {
    let state = prop_oneof![3 => Just(State::Fine), 2 => Just(State::FineF), 2 => Just(State::Clear), 1 => prop::sample::select(&STATES[..])];
    let index = prop_oneof![3 => 0u16..32767, 1 => 32700u16..32767, 1 => Just(0)];
    let psntp = prop_oneof![3 => any::<u16>(), 1 => 65_500u16..=65_535];
    let spec = (state, index, psntp).prop_map(|(state, index, psntp)| Spec { state, index, psntp });
    prop::collection::vec(spec, FLOWS)
}

fn packet() -> impl Strategy<Value = Packet> {
    let shape = prop_oneof![
        12 => Just(Shape::Plain),
        2 => prop::sample::select(&[[0x81, 0], [0x88, 0xA8], [0x91, 0], [0x92, 0]][..]).prop_map(Shape::Tagged),
        1 => Just(Shape::Padded),
        1 => prop::sample::select(&[
            Shape::TwoTags, Shape::Syn, Shape::Version, Shape::Type, Shape::OtherProtocol, Shape::Cut, Shape::TooShort,
            Shape::Stub,
        ][..]),
    ];
    // Few flows, so that they come several times in a burst.
    let flow = prop_oneof![2 => 0usize..5, 2 => 0usize..FLOWS];
    let payload = prop_oneof![4 => 14usize..100, 1 => 8usize..20, 1 => 1400usize..1440];
    (flow, shape, payload).prop_map(|(flow, shape, payload)| {
        // Of TCP the flags have to be there.
        let least = if tuple(flow).protocol == 6 || shape == Shape::Syn { 14 } else { 8 };
        // Only TCP has a SYN.
        let flow = if shape == Shape::Syn { flow / 3 * 3 + 1 } else { flow } % FLOWS;
        let flow = if shape == Shape::Syn && tuple(flow).protocol != 6 { 1 } else { flow };
        Packet { flow, shape, payload: payload.max(least) }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let packets = prop_oneof![1 => prop::collection::vec(packet(), 1..=32), 1 => prop::collection::vec(packet(), 32)];
    let pause = prop_oneof![
        3 => 0u64..100_000,
        1 => 0u64..10_000_000_000,
        // Hours, up to the edge of what is kept of a time.
        1 => 0u64..1 << 48,
        1 => (1u64 << 46) - 3..(1 << 46) + 3,
        1 => (1u64 << 47) - 3..(1 << 47) + 3,
        1 => (1u64 << 32) - 3..(1 << 32) + 3,
    ];
    let back = prop::collection::vec((0usize..FLOWS, any::<u16>(), any::<u16>(), 0u64..2_000), 0..12);
    (packets, pause, back, any::<u32>()).prop_map(|(packets, pause_ns, back, pointer)| Step {
        packets,
        pause_ns,
        back,
        pointer,
    })
}

/// Flows, and the bursts that come of them.
pub fn run() -> impl Strategy<Value = (Vec<Spec>, Vec<Step>)> {
    (specs(), prop::collection::vec(step(), 1..6))
}

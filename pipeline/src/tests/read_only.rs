//! Tests of packets whose buffers may not be written to: memory of the device's, or shared with somebody.

use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf, Writable};
use crate::state::policies::{Mode, OnFailure, Policy};
use crate::state::rules::{Oversize, PathConfig};
use crate::state::worker::Worker;
use crate::testing::{self, SMALL, back, frame, frame_between, out};
use protocol::wire::option::Form;

/// As an mbuf with external memory (mlx5 with `mprq_en`), or one that is shared, is to the path.
#[derive(Clone)]
struct ReadOnly {
    octets: VecBuf,
    /// Whether there are buffers to copy it into.
    copies: bool,
    writable: bool,
}

impl ReadOnly {
    fn new(octets: VecBuf, copies: bool) -> Self {
        Self { octets, copies, writable: false }
    }
}

impl PacketBuf for ReadOnly {
    fn data(&self) -> &[u8] {
        self.octets.data()
    }
    fn data_mut(&mut self) -> &mut [u8] {
        if self.writable { self.octets.data_mut() } else { &mut [] }
    }
    fn make_writable(&mut self) -> Writable {
        match (self.writable, self.copies) {
            (true, _) => Writable::Yes,
            (false, true) => {
                self.writable = true;
                Writable::Copied
            }
            (false, false) => Writable::No,
        }
    }
    fn frame_len(&self) -> usize {
        self.octets.frame_len()
    }
    fn headroom(&self) -> usize {
        if self.writable { self.octets.headroom() } else { 0 }
    }
    fn prepend(&mut self, n: usize) -> bool {
        self.writable && self.octets.prepend(n)
    }
    fn trim_front(&mut self, n: usize) -> bool {
        self.octets.trim_front(n)
    }
    fn truncate(&mut self, len: usize) -> bool {
        self.octets.truncate(len)
    }
}

/// One that does not even know that it is: what the path asks of it shows that.
struct Unaware(VecBuf);

impl PacketBuf for Unaware {
    fn data(&self) -> &[u8] {
        self.0.data()
    }
    fn data_mut(&mut self) -> &mut [u8] {
        &mut []
    }
    fn frame_len(&self) -> usize {
        self.0.frame_len()
    }
    fn headroom(&self) -> usize {
        self.0.headroom()
    }
    fn prepend(&mut self, n: usize) -> bool {
        self.0.prepend(n)
    }
    fn trim_front(&mut self, n: usize) -> bool {
        self.0.trim_front(n)
    }
    fn truncate(&mut self, len: usize) -> bool {
        self.0.truncate(len)
    }
}

const FORMS: [(Mode, Form); 3] =
    [(Mode::Pdm, Form::Pdm), (Mode::Clear, Form::Clear), (Mode::Encrypted, Form::Encrypted)];

fn worker(is_a: bool, config: PathConfig) -> Worker {
    Worker::new(testing::side(config, testing::ring(is_a, 1, 1), SMALL, 1).shared, 0)
}

fn config(mode: Mode) -> PathConfig {
    testing::config(vec![testing::policy(mode)])
}

/// Plain ones, and one of each shape that is not: tagged, with a header of its own, of the flow's first packet.
fn frames() -> Vec<Vec<u8>> {
    let mut tagged = frame(1, 30);
    tagged.splice(12..12, [0x88, 0xA8, 0, 7, 0x81, 0, 0, 5]);
    let mut with_header = frame(1, 30);
    with_header[20] = 60;
    with_header.splice(54..54, [17, 0, 1, 4, 0, 0, 0, 0]);
    with_header[18..20].copy_from_slice(&46u16.to_be_bytes());
    vec![frame(1, 30), frame(1, 30), tagged, with_header, frame(1, 30)]
}

#[test]
fn what_has_to_be_changed_is_copied() {
    for (mode, form) in FORMS {
        let (mut a, mut b) = (worker(true, config(mode)), worker(false, config(mode)));
        let originals = frames();
        for (i, original) in originals.iter().enumerate() {
            let mut packet = ReadOnly::new(VecBuf::new(original), true);
            assert_eq!(out(&mut a, &mut packet, 5), Outcome::Added(form), "{form:?}, frame {i}");
            let mut packet = ReadOnly::new(packet.octets, true);
            assert_eq!(back(&mut b, &mut packet, 5), Outcome::Removed(form), "{form:?}, frame {i}");
            assert_eq!(packet.data(), &original[..]);
        }
        let copied = originals.len() as u64;
        assert_eq!((a.counters.copied.get(), b.counters.copied.get()), (copied, copied));
    }
}

#[test]
fn what_cannot_be_copied_passes_as_it_came_and_is_counted() {
    for (mode, form) in FORMS {
        let (mut a, mut b) = (worker(true, config(mode)), worker(false, config(mode)));
        let passed = Outcome::Passed(Reason::ReadOnly);
        for original in frames() {
            let mut packet = ReadOnly::new(VecBuf::new(&original), false);
            assert_eq!(out(&mut a, &mut packet, 5), passed);
            assert_eq!(packet.data(), &original[..]);
            let mut packet = VecBuf::new(&original);
            assert_eq!(out(&mut a, &mut packet, 5), Outcome::Added(form));
            let sealed = packet.clone();
            let mut packet = ReadOnly::new(packet, false);
            assert_eq!(back(&mut b, &mut packet, 5), passed);
            assert_eq!(packet.data(), sealed.data());
        }
        assert_eq!((a.counters.copied.get(), b.counters.copied.get()), (0, 0));
    }
}

/// Whatever a buffer says of itself, a worker lives, and counts what it has done and nothing else.
#[test]
fn a_buffer_that_is_read_only_unawares_passes_too() {
    for (mode, form) in FORMS {
        let (mut a, mut b) = (worker(true, config(mode)), worker(false, config(mode)));
        for original in frames() {
            let mut packet = Unaware(VecBuf::new(&original));
            assert!(matches!(out(&mut a, &mut packet, 5), Outcome::Passed(_)));
            assert_eq!(packet.data(), &original[..]);
            assert!(!crate::outbound::too_big::answer(&mut packet, |_| 1500));
            assert_eq!(packet.data(), &original[..]);
            let mut packet = VecBuf::new(&original);
            assert_eq!(out(&mut a, &mut packet, 5), Outcome::Added(form));
            let sealed = packet.clone();
            let mut packet = Unaware(packet);
            assert_eq!(back(&mut b, &mut packet, 5), Outcome::Passed(Reason::ReadOnly));
            assert_eq!(packet.data(), sealed.data());
        }
    }
}

#[test]
fn what_does_not_verify_is_stripped_from_a_copy_or_passes() {
    for copies in [true, false] {
        let rule = Policy { on_failure: OnFailure::Strip, ..testing::policy(Mode::Encrypted) };
        let (mut a, mut b) = (worker(true, config(Mode::Encrypted)), worker(false, testing::config(vec![rule])));
        let original = frame(1000, 10);
        let mut packet = VecBuf::new(&original);
        assert_eq!(out(&mut a, &mut packet, 5), Outcome::Added(Form::Encrypted));
        packet.data_mut()[14 + 40 + 30] ^= 1;
        // A source of no peer is refused before any key is looked for.
        let mut stranger = packet.clone();
        stranger.data_mut()[14 + 8..14 + 24].copy_from_slice(&[0x20; 16]);
        for (packet, reason) in [(packet, Reason::BadTag), (stranger, Reason::UnknownPeer)] {
            let before = packet.clone();
            let mut packet = ReadOnly::new(packet, copies);
            let outcome = back(&mut b, &mut packet, 1);
            if copies {
                assert_eq!((outcome, packet.frame_len()), (Outcome::Stripped(reason), original.len()));
            } else {
                assert_eq!((outcome, packet.data()), (Outcome::Passed(Reason::ReadOnly), before.data()));
            }
        }
        assert_eq!(b.counters.copied.get(), if copies { 2 } else { 0 });
    }
}

/// A SYN with an MSS of 8,940, which is too much for the option to go beside it.
fn syn() -> Vec<u8> {
    let mut f = frame_between(testing::A, testing::B, 1000, 443, 16);
    (f[20], f[54 + 12], f[54 + 13]) = (6, 6 << 4, 2);
    f[54 + 20..54 + 24].copy_from_slice(&[2, 4, 0x22, 0xEC]);
    f
}

#[test]
fn a_syn_is_clamped_in_a_copy_or_passes() {
    for mode in [Mode::Encrypted, Mode::Clear] {
        for copies in [true, false] {
            let mut worker = worker(true, PathConfig { mss_clamp: true, ..config(mode) });
            let mut packet = ReadOnly::new(VecBuf::new(&syn()), copies);
            let outcome = out(&mut worker, &mut packet, 1);
            let expected =
                if copies { Outcome::Added(mode.form().expect("a form")) } else { Outcome::Passed(Reason::ReadOnly) };
            assert_eq!(outcome, expected);
            assert_eq!(worker.counters.mss_clamped.get(), u64::from(copies));
            assert_eq!(worker.counters.copied.get(), u64::from(copies), "once, for both changes");
            if !copies {
                assert_eq!(packet.data(), &syn()[..]);
            }
        }
    }
}

#[test]
fn too_long_a_packet_is_answered_in_a_copy_or_passes() {
    for copies in [true, false] {
        let settings = PathConfig { oversize: Oversize::PacketTooBig, outside_mtu: 1500, ..config(Mode::Encrypted) };
        let mut worker = worker(true, settings);
        let original = frame(1000, 1452);
        let mut packet = ReadOnly::new(VecBuf::new(&original), copies);
        let expected = if copies { Outcome::TooBig } else { Outcome::Passed(Reason::Oversize) };
        assert_eq!(out(&mut worker, &mut packet, 1), expected);
        assert_eq!(worker.counters.copied.get(), u64::from(copies));
        if !copies {
            assert_eq!(packet.data(), &original[..]);
        }
    }
}

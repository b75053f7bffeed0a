//! The sieve against the rules that it is made of.

use super::*;
use crate::packet::buffer::VecBuf;
use crate::packet::parse;
use crate::state::rules::{PathConfig, Rules};
use crate::testing;
use proptest::prelude::*;
use protocol::five_tuple::FiveTuple;

/// Prefixes and addresses that meet often: the same few bits, at both ends.
fn address() -> impl Strategy<Value = u128> {
    (0u8..8, 0u8..4).prop_map(|(high, low)| u128::from(high) << 125 | u128::from(low))
}

fn prefix() -> impl Strategy<Value = Prefix> {
    (address(), prop_oneof![0u8..=4, 125u8..=128])
        .prop_map(|(address, len)| Prefix::new(address.to_be_bytes(), len).expect("a length"))
}

/// Short lists nearly always, since an empty one matches everything, and long ones now and then.
fn list<S: Strategy<Value: Clone>>(of: impl Fn() -> S) -> impl Strategy<Value = Vec<S::Value>> {
    prop_oneof![3 => prop::collection::vec(of(), 0..=RANGES), 1 => prop::collection::vec(of(), 1..=12)]
}

fn policy() -> impl Strategy<Value = Policy> {
    let ports = || (0u16..6, 0u16..3).prop_map(|(lo, more)| (lo * 100, lo * 100 + more * 50));
    let protocol = prop_oneof![Just(ProtocolMatch::Any), (6u8..8).prop_map(ProtocolMatch::Number)];
    let mode = prop_oneof![Just(Mode::Off), Just(Mode::Clear), Just(Mode::Encrypted)];
    (list(prefix), list(prefix), list(ports), protocol, mode).prop_map(|(inside, outside, ports, protocol, mode)| {
        Policy { inside, outside, protocol, ports, ..Policy::everything(mode) }
    })
}

fn tuple() -> impl Strategy<Value = FiveTuple> {
    let port = || prop_oneof![0u16..700, Just(u16::MAX)];
    (address(), address(), port(), port(), 5u8..9).prop_map(|(src, dst, sport, dport, protocol)| FiveTuple {
        src: src.to_be_bytes(),
        dst: dst.to_be_bytes(),
        sport,
        dport,
        protocol,
    })
}

fn rules(policies: Vec<Policy>) -> Rules {
    Rules::default().followed_by(PathConfig { policies, ..PathConfig::default() }, 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Both directions: a packet coming back has the 5-tuple turned round, and is asked about by the outbound one.
    #[test]
    fn its_no_is_that_of_the_rules(
        policies in prop::collection::vec(policy(), 0..14),
        tuples in prop::collection::vec(tuple(), 64),
    ) {
        let exact = policies.len() < TESTS && policies.iter().all(Test::is_exact);
        let rules = rules(policies);
        for tuple in tuples {
            for words in [tuple.words(), tuple.reversed().words()] {
                let (may, does) = (rules.sieve.may_match(&words), rules.classify(&words).is_some());
                prop_assert!(may || !does, "{tuple} is measured: {:?}", rules.sieve);
                prop_assert!(!exact || may == does, "{tuple} is not: {:?}", rules.sieve);
            }
        }
    }
}

#[test]
fn whether_to_ask_is_known_beforehand() {
    let frames = [VecBuf::new(&[]), VecBuf::new(&[1; 80]), VecBuf::new(&testing::frame(1, 20))];
    let sift = |sieve: &Sieve, sifting| {
        let mut outcomes = ArrayVec::new();
        let off = sieve.sift(sifting, &frames, parse::plain, &mut outcomes);
        assert_eq!(outcomes.len(), if off.is_none() { frames.len() } else { 0 });
        assert!(outcomes.iter().all(|&outcome| outcome == Outcome::Passed(Reason::Off)));
        off
    };
    let closed = |sieve: &Sieve| sift(sieve, false).is_none() && sift(sieve, true).is_none();
    let of = |modes: &[Mode]| rules(modes.iter().map(|&mode| Policy::everything(mode)).collect()).sieve;
    assert!(closed(&of(&[])) && closed(&of(&[Mode::Off, Mode::Off])));
    assert!(matches!(of(&[Mode::Clear, Mode::Off]), Sieve::Everything));
    // What is off comes first, and leaves nothing.
    let off = of(&[Mode::Off, Mode::Clear]);
    assert_eq!((sift(&off, false), sift(&off, true)), (Some(0), Some(0b100)), "only of what is plain it can tell");
    assert_eq!((sift(&Sieve::Everything, false), sift(&Sieve::Everything, true)), (Some(0), Some(0)));
    let outcomes = |n| (0..32).map(move |i| Outcome::Passed(if i < n { Reason::Off } else { Reason::NoKey }));
    let worth = |sieve: &Sieve, n| sieve.is_worth_it(&outcomes(n).collect::<Vec<_>>());
    assert!(worth(&off, 4) && !worth(&off, 3) && !worth(&Sieve::Everything, 32));
    assert!(!of(&[Mode::Off, Mode::Clear]).may_match(&FiveTuple::default().words()));
    assert!(closed(&Sieve::default()) && !closed(&of(&[Mode::Off, Mode::Clear])));
}

#[test]
fn a_long_list_is_cut_where_it_hurts_least() {
    // Twelve networks of two neighbourhoods.
    let near = |high: u128, i: u128| Prefix::new((high << 112 | i << 64).to_be_bytes(), 64).expect("a prefix");
    let listed: Vec<_> = (0..6).flat_map(|i| [near(0x2001, i), near(0xFD00, i)]).collect();
    let policy = Policy { inside: listed.clone(), ..Policy::everything(Mode::Clear) };
    let sieve = rules(vec![policy]).sieve;
    let ask = |src: u128| {
        let src = src.to_be_bytes();
        sieve.may_match(&FiveTuple { src, ..FiveTuple::default() }.words())
    };
    assert!(listed.iter().all(|prefix| ask(prefix.first_bits()) && ask(prefix.last_bits())));
    assert!(!ask(0x2002 << 112) && !ask(0x2001_0001 << 96) && !ask(0xFD01 << 112) && !ask(0));
}

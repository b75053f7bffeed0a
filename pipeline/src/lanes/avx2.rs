//! The [portable](super::portable) stages once more, compiled for CPUs with AVX2, BMI and instructions for AES, which nearly all
//! have: the compiler makes what it can of them, and a fingerprint's rounds come to stand in the loop. The AEAD is the batch
//! kernel's, on as many bits as the CPU has.

use super::inbound;
use super::record::Record;
use super::scratch::Scratch;
use super::{Head, View, portable};
use crate::packet::buffer::PacketBuf;
use crate::ports::BURST;

macro_rules! stages {
    ($($name:ident$(<$of:lifetime>)?($($arg:ident: $type:ty),*) $(-> $result:ty)?;)+) => {$(
        /// The portable stage of this name.
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,aes")]
        pub(super) fn $name$(<$of>)?($($arg: $type,)* s: &mut Scratch) $(-> $result)? {
            portable::$name($($arg,)* s)
        }
    )+};
}

stages! {
    front<'a>(view: &View<'a>, heads: &[&Head; BURST], records: &mut [&'a Record; BURST]) -> u32;
    back(records: &[&Record; BURST], sent_ns: u64);
}

#[cfg(test)]
stages! {
    parse(key: &crate::flow::hash::HashKey, heads: &[&Head; BURST]);
    find<'a>(view: &View<'a>, records: &mut [&'a Record; BURST]);
    check(view: &View<'_>, records: &[&Record; BURST]) -> u32;
    times(records: &[&Record; BURST], sent_ns: u64);
    seal(records: &[&Record; BURST]);
}

/// The portable stage of this name.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,aes")]
pub(super) fn place<B: PacketBuf>(packets: &mut [B], s: &Scratch) -> u32 {
    portable::place(packets, s)
}

/// Of packets that come back.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,aes")]
pub(super) fn known<'a>(
    view: &inbound::View<'a>,
    heads: &[&inbound::Head; BURST],
    records: &mut [&'a Record; BURST],
    s: &mut inbound::Scratch,
) -> u32 {
    inbound::portable::front(view, heads, records, s)
}

//! Which twin of the stages works: chosen once, by what the CPU has.
#![allow(unsafe_code, reason = "calls of functions for CPU features, which are known to be there")]

use super::record::Record;
use super::scratch::Scratch;
use super::{Head, View, inbound, portable};
use crate::flow::record::FlowBack;
use crate::packet::buffer::PacketBuf;
use crate::ports::BURST;
use protocol::aead::Path;

/// A twin that this CPU can run: there is no other way to get one than by [`Set::best`] and [`Set::available`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Set(Twin);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Twin {
    Portable,
    #[cfg(target_arch = "x86_64")]
    AesNi,
    #[cfg(target_arch = "x86_64")]
    Vaes256,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Set {
    /// Plain Rust.
    pub const PORTABLE: Self = Self(Twin::Portable);

    /// All that this CPU can, the fastest last.
    pub fn available() -> impl Iterator<Item = Self> {
        let others: &[Twin] = &[
            #[cfg(target_arch = "x86_64")]
            Twin::AesNi,
            #[cfg(target_arch = "x86_64")]
            Twin::Vaes256,
            #[cfg(target_arch = "x86_64")]
            Twin::Avx512,
        ];
        core::iter::once(Self::PORTABLE).chain(others.iter().copied().filter(|twin| twin.detect()).map(Self))
    }

    /// The fastest that this CPU can, unless the AEAD was told to do with less ([`Path::force`]).
    #[must_use]
    pub fn best() -> Self {
        let fits = |set: &Self| match set.0 {
            Twin::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Twin::AesNi => Path::best() != Path::Portable,
            #[cfg(target_arch = "x86_64")]
            Twin::Vaes256 => matches!(Path::best(), Path::Vaes256 | Path::Vaes512),
            #[cfg(target_arch = "x86_64")]
            Twin::Avx512 => Path::best() == Path::Vaes512,
        };
        Self::available().filter(fits).last().unwrap_or(Self::PORTABLE)
    }

    /// Its name in logs and benchmarks.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Twin::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Twin::AesNi => "avx2 with aes-ni",
            #[cfg(target_arch = "x86_64")]
            Twin::Vaes256 => "avx2 with vaes",
            #[cfg(target_arch = "x86_64")]
            Twin::Avx512 => "avx-512",
        }
    }

    /// Stages parse, find and check.
    #[inline]
    pub(super) fn front<'a>(
        self,
        view: &View<'a>,
        heads: &[&Head; BURST],
        records: &mut [&'a Record; BURST],
        s: &mut Scratch,
    ) -> u32 {
        match self.0 {
            Twin::Portable => portable::front(view, heads, records, s),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the type's invariant: the CPU has the features.
            Twin::AesNi => unsafe { super::aesni::front(view, heads, records, s) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the type's invariant: the CPU has the features.
            Twin::Vaes256 => unsafe { super::vaes256::front(view, heads, records, s) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the type's invariant: the CPU has the features.
            Twin::Avx512 => unsafe { super::avx512::front(view, heads, records, s) },
        }
    }

    /// Stages parse, find and check of packets that come back.
    #[inline]
    pub(super) fn known<'a>(
        self,
        view: &inbound::View<'a>,
        heads: &[&inbound::Head; BURST],
        backs: &mut [&'a FlowBack; BURST],
        s: &mut inbound::Scratch,
    ) -> u32 {
        match self.0 {
            Twin::Portable => inbound::portable::front(view, heads, backs, s),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the type's invariant: the CPU has the features.
            Twin::AesNi => unsafe { super::aesni::inbound::front(view, heads, backs, s) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the type's invariant: the CPU has the features.
            Twin::Vaes256 => unsafe { super::vaes256::inbound::front(view, heads, backs, s) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the type's invariant: the CPU has the features.
            Twin::Avx512 => unsafe { super::avx512::inbound::front(view, heads, backs, s) },
        }
    }

    /// Stages times, seal and place.
    #[inline]
    pub(super) fn back<B: PacketBuf>(
        self,
        records: &[&Record; BURST],
        packets: &mut [B],
        sent_ns: u64,
        s: &mut Scratch,
    ) -> u32 {
        match self.0 {
            Twin::Portable => {
                portable::back(records, sent_ns, s);
                portable::place(packets, s)
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the type's invariant: the CPU has the features.
            Twin::AesNi => unsafe {
                super::aesni::back(records, sent_ns, s);
                super::aesni::place(packets, s)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the type's invariant: the CPU has the features.
            Twin::Vaes256 => unsafe {
                super::vaes256::back(records, sent_ns, s);
                super::vaes256::place(packets, s)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the type's invariant: the CPU has the features.
            Twin::Avx512 => unsafe {
                super::avx512::back(records, sent_ns, s);
                super::avx512::place(packets, s)
            },
        }
    }
}

impl Twin {
    /// Whether this CPU can.
    fn detect(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::AesNi => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("aes")
                    && is_x86_feature_detected!("pclmulqdq")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("bmi2")
                    && is_x86_feature_detected!("lzcnt")
                    && is_x86_feature_detected!("popcnt")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Vaes256 => {
                Self::AesNi.detect() && is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512cd")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("vaes")
                    && is_x86_feature_detected!("vpclmulqdq")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("bmi2")
                    && is_x86_feature_detected!("lzcnt")
                    && is_x86_feature_detected!("popcnt")
            }
        }
    }
}

/// Stage by stage, for the tests. What a stage needs, those before it have left.
#[cfg(test)]
macro_rules! stages {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)+) => {
        impl Set {$(
            pub(super) fn $name<'a>(self, $($arg: $type,)* s: &mut Scratch) $(-> $result)? {
                match self.0 {
                    Twin::Portable => portable::$name($($arg,)* s),
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: the type's invariant: the CPU has the features.
                    Twin::AesNi => unsafe { super::aesni::$name($($arg,)* s) },
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: the type's invariant: the CPU has the features.
                    Twin::Vaes256 => unsafe { super::vaes256::$name($($arg,)* s) },
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: the type's invariant: the CPU has the features.
                    Twin::Avx512 => unsafe { super::avx512::$name($($arg,)* s) },
                }
            }
        )+}
    };
}

#[cfg(test)]
stages! {
    parse(key: &'a crate::flow::hash::HashKey, index: &'a crate::flow::index::FlowIndex, heads: &[&'a Head; BURST]);
    find(view: &View<'a>, records: &mut [&'a Record; BURST]);
    check(view: &View<'a>, records: &[&'a Record; BURST]) -> u32;
    times(records: &[&'a Record; BURST], sent_ns: u64);
    seal(records: &[&'a Record; BURST]);
}

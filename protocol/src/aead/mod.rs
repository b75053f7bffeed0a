//! Sealing and opening batches of options: 14 octets of text, 6 of additional data, a 16-octet tag, each slot under a key
//! of its own.
//!
//! Three paths, one of which is chosen once, by what the CPU has: VAES and VPCLMULQDQ on 512 bits, AES-NI and PCLMULQDQ,
//! and the portable one, which is the oracle for the others. ChaCha20Poly1305 always takes the portable path.

#[cfg(target_arch = "x86_64")]
mod aesni;
#[cfg(target_arch = "x86_64")]
mod kernel;
mod portable;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vaes;

use crate::suite::Aead;
use std::sync::OnceLock;
use zeroize::Zeroize;

/// Slots per call, at most.
pub const BATCH: usize = 32;

/// One option's share of a batch.
#[derive(Clone)]
pub struct Slot {
    /// The first Nk octets are the key.
    pub key: [u8; 32],
    /// Never used twice with the same key.
    pub nonce: [u8; 12],
    /// The first six octets of the option as sent.
    pub aad: [u8; 6],
    /// Metrics, or their ciphertext.
    pub text: [u8; 14],
    /// Written by [`seal`], checked by [`open`].
    pub tag: [u8; 16],
}

impl Slot {
    /// An empty slot.
    pub const ZERO: Self = Self { key: [0; 32], nonce: [0; 12], aad: [0; 6], text: [0; 14], tag: [0; 16] };
}

impl core::fmt::Debug for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Slot").field("aad", &self.aad).field("tag", &self.tag).finish_non_exhaustive()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.key.zeroize();
        self.text.zeroize();
    }
}

/// An implementation for the two AES-GCM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// The `aes-gcm` crate, slot by slot.
    Portable,
    /// AES-NI and PCLMULQDQ.
    AesNi,
    /// VAES and VPCLMULQDQ on 512 bits.
    Vaes,
}

impl Path {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Portable, Self::AesNi, Self::Vaes];

    /// Whether this CPU can.
    #[must_use]
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let aes = is_x86_feature_detected!("aes")
                && is_x86_feature_detected!("pclmulqdq")
                && is_x86_feature_detected!("ssse3")
                && is_x86_feature_detected!("sse4.1");
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("vaes")
                && is_x86_feature_detected!("vpclmulqdq");
            match self {
                Self::Portable => true,
                Self::AesNi => aes,
                Self::Vaes => aes && wide,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }

    /// The fastest that this CPU can, found out once.
    #[must_use]
    pub fn best() -> Self {
        static BEST: OnceLock<Path> = OnceLock::new();
        *BEST.get_or_init(|| Self::ALL.into_iter().rev().find(|p| p.is_available()).unwrap_or(Self::Portable))
    }

    /// Its name in logs and benchmarks.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::AesNi => "aes-ni",
            Self::Vaes => "vaes-512",
        }
    }
}

/// Seals every slot in place: `text` becomes the ciphertext, `tag` is set.
#[inline]
pub fn seal(aead: Aead, slots: &mut [Slot]) {
    seal_by(Path::best(), aead, slots);
}

/// Opens every slot in place: bit i is set when slot i's tag verifies, and `text` is then in clear; where it does not
/// verify, `text` is all zeros. Looks at [`BATCH`] slots at most.
#[inline]
#[must_use]
pub fn open(aead: Aead, slots: &mut [Slot]) -> u32 {
    open_by(Path::best(), aead, slots)
}

/// [`seal`] by one path; by the portable one if this CPU has not what it takes.
pub fn seal_by(path: Path, aead: Aead, slots: &mut [Slot]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = Kernel::of(path, aead) {
        return kernel.seal(slots);
    }
    let _ = path;
    portable::seal(aead, slots);
}

/// [`open`] by one path; by the portable one if this CPU has not what it takes.
#[must_use]
pub fn open_by(path: Path, aead: Aead, slots: &mut [Slot]) -> u32 {
    debug_assert!(slots.len() <= BATCH);
    let most = slots.len().min(BATCH);
    let slots = &mut slots[..most];
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = Kernel::of(path, aead) {
        return kernel.open(slots);
    }
    let _ = path;
    portable::open(aead, slots)
}

/// A kernel that this CPU has the features for, and its key length.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Kernel {
    wide: bool,
    aes256: bool,
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
impl Kernel {
    fn of(path: Path, aead: Aead) -> Option<Self> {
        let aes256 = match aead {
            Aead::Aes128Gcm => false,
            Aead::Aes256Gcm => true,
            Aead::ChaCha20Poly1305 => return None,
        };
        // Made only where the features are: what the calls below rely on.
        (path != Path::Portable && path.is_available()).then_some(Self { wide: path == Path::Vaes, aes256 })
    }

    fn seal(self, slots: &mut [Slot]) {
        if self.wide {
            // SAFETY: `of` has found this kernel's features.
            groups(slots, |group| unsafe { vaes::seal(group, self.aes256) });
        } else {
            // SAFETY: as above.
            groups(slots, |group| unsafe { aesni::seal(group, self.aes256) });
        }
    }

    fn open(self, slots: &mut [Slot]) -> u32 {
        let (mut verified, mut at) = (0u64, 0);
        if self.wide {
            groups(slots, |group| {
                // SAFETY: as above.
                verified |= u64::from(unsafe { vaes::open(group, self.aes256) }) << at;
                at += vaes::GROUP;
            });
        } else {
            groups(slots, |group| {
                // SAFETY: as above.
                verified |= u64::from(unsafe { aesni::open(group, self.aes256) }) << at;
                at += aesni::GROUP;
            });
        }
        // The last group may have been filled up.
        (verified & ((1 << slots.len()) - 1)) as u32
    }
}

/// Works through the slots in groups; the last one is filled up with empty slots, which are thrown away.
#[cfg(target_arch = "x86_64")]
#[inline]
fn groups<const GROUP: usize>(slots: &mut [Slot], mut work: impl FnMut(&mut [Slot; GROUP])) {
    let mut groups = slots.chunks_exact_mut(GROUP);
    for group in &mut groups {
        if let Ok(group) = group.try_into() {
            work(group);
        }
    }
    let rest = groups.into_remainder();
    if !rest.is_empty() {
        let mut group = [const { Slot::ZERO }; GROUP];
        group[..rest.len()].clone_from_slice(rest);
        work(&mut group);
        rest.clone_from_slice(&group[..rest.len()]);
    }
}

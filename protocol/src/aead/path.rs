//! Which implementation seals and opens: chosen once, by what the CPU has.

use std::sync::OnceLock;

/// An implementation for the two AES-GCM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// The `aes-gcm` crate, slot by slot.
    Portable,
    /// AES-NI and PCLMULQDQ.
    AesNi,
    /// VAES and VPCLMULQDQ on 256 bits.
    Vaes256,
    /// VAES and VPCLMULQDQ on 512 bits.
    Vaes512,
}

impl Path {
    /// All of them, the fastest last.
    pub const ALL: [Self; 4] = [Self::Portable, Self::AesNi, Self::Vaes256, Self::Vaes512];

    /// Whether this CPU can. Found out once: it is asked for each batch.
    #[inline]
    #[must_use]
    pub fn is_available(self) -> bool {
        static AVAILABLE: OnceLock<[bool; 4]> = OnceLock::new();
        AVAILABLE.get_or_init(|| Path::ALL.map(Self::detect))[self as usize]
    }

    #[cfg(target_arch = "x86_64")]
    fn detect(self) -> bool {
        let aes = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        let vector = aes && is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq");
        match self {
            Self::Portable => true,
            Self::AesNi => aes,
            Self::Vaes256 => vector && is_x86_feature_detected!("avx2"),
            Self::Vaes512 => vector && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect(self) -> bool {
        self == Self::Portable
    }

    /// The fastest that this CPU can, found out once.
    #[inline]
    #[must_use]
    pub fn best() -> Self {
        *Self::chosen().get_or_init(|| Self::ALL.into_iter().rev().find(|p| p.is_available()).unwrap_or(Self::Portable))
    }

    /// Makes this path [`Path::best`] for the rest of the process, for benchmarks and tests. `false`: this CPU cannot, or
    /// another one has been chosen before.
    pub fn force(self) -> bool {
        self.is_available() && *Self::chosen().get_or_init(|| self) == self
    }

    fn chosen() -> &'static OnceLock<Self> {
        static CHOSEN: OnceLock<Path> = OnceLock::new();
        &CHOSEN
    }

    /// Its name in logs and benchmarks.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::AesNi => "aes-ni",
            Self::Vaes256 => "vaes-256",
            Self::Vaes512 => "vaes-512",
        }
    }
}

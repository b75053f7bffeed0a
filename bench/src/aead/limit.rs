//! The limit by operation count: how long the instructions that the kernel cannot do without take on this CPU when nothing
//! else has to be waited for.
#![allow(unsafe_code, reason = "the measured instructions are written one by one, as intrinsics")]

use protocol::aead::Path;
use protocol::suite::Aead;

/// Instructions that only a few units of a CPU can execute, for four packets: the key schedule runs across four.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operations {
    /// AES rounds: two blocks per packet, and one per round key for all four.
    pub aes: usize,
    /// Carry-less multiplications: GHASH with its reductions.
    pub carryless: usize,
    /// Shuffles of octets and words: key schedule, byte order, halves of products.
    pub shuffles: usize,
}

/// Four words of four packets turned into four packets' words, or back.
const TRANSPOSE: usize = 8;
/// AES-128: 2 blocks of 10 rounds. The schedule makes 10 keys, and 11 are transposed. GHASH: half a product for the additional
/// data, one for the text, one reduction of 2; the product of the lengths is in the key state. Three changes of byte order.
const AES_128: Operations =
    Operations { aes: 4 * 2 * 10 + 10, carryless: 4 * (2 + 4 + 2), shuffles: 10 + 11 * TRANSPOSE + 4 * (3 + 2) };
/// AES-256: 2 blocks of 14 rounds. The schedule makes 13 keys, and 15 are transposed. GHASH: the powers that do not fit the
/// line cost another reduction, and the lengths another product.
const AES_256: Operations = Operations {
    aes: 4 * 2 * 14 + 13,
    carryless: 4 * (2 + 2 + 4 + 4 + 2),
    shuffles: 13 + 15 * TRANSPOSE + 4 * (3 + 2 * 2),
};

/// What four packets of an AEAD take.
#[must_use]
pub fn operations(aead: Aead) -> Option<Operations> {
    match aead {
        Aead::Aes128Gcm => Some(AES_128),
        Aead::Aes256Gcm => Some(AES_256),
        Aead::ChaCha20Poly1305 => None,
    }
}

/// A line for each of the two AEADs, by our best path.
#[must_use]
pub fn notes() -> Vec<String> {
    let path = Path::best();
    let mut lines = Vec::new();
    for aead in [Aead::Aes128Gcm, Aead::Aes256Gcm] {
        let (Some(limit), Some(o)) = (nanoseconds(path, aead), operations(aead)) else { continue };
        let (each, hertz) = (imp::lanes(path), imp::tsc_hertz());
        lines.push(format!(
            "Limit by operation count, {} by {}: {} AES rounds, {} carry-less multiplications and {} shuffles per packet, \
             packets per instruction: {each}. These instructions alone, none waiting for another, take {limit:.1} ns here \
             ({:.1} cycles of the TSC's {:.2} GHz).",
            aead.name(),
            path.name(),
            o.aes as f64 / 4.0,
            o.carryless as f64 / 4.0,
            o.shuffles as f64 / 4.0,
            limit * hertz / 1e9,
            hertz / 1e9
        ));
    }
    lines
}

/// What a packet's operations take at least, by a path; `None` for the portable one.
#[must_use]
pub fn nanoseconds(path: Path, aead: Aead) -> Option<f64> {
    imp::nanoseconds(path, aead)
}

#[cfg(target_arch = "x86_64")]
mod imp {
    use super::{AES_128, AES_256};
    use protocol::aead::Path;
    use protocol::suite::Aead;
    use std::arch::x86_64::*;
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    const TIMES: usize = 1024;

    /// Four registers' operations in a row, without a loop: then all chains stay in registers.
    macro_rules! four_packets {
        ($aes:ident, $carryless:ident, $shuffle:ident, $a:ident, $c:ident, $s:ident, $key:ident; $($i:literal)*) => {
            $(four_packets!(@ $aes, $carryless, $shuffle, $a, $c, $s, $key; $i; 0 1 2 3 4 5 6 7 8 9);)*
        };
        (@ $aes:ident, $carryless:ident, $shuffle:ident, $a:ident, $c:ident, $s:ident, $key:ident; $i:literal; $($n:literal)*) => {
            $({
                const AT: usize = $i + $n;
                if AT < SHUFFLES {
                    $s[AT % 2] = $shuffle($s[AT % 2], $key);
                }
                if AT < AES {
                    $a[AT % 8] = $aes($a[AT % 8], $key);
                }
                if AT % 2 == 0 && AT / 2 < CARRYLESS {
                    $c[AT / 2 % 4] = $carryless::<0x10>($c[AT / 2 % 4], $key);
                }
            })*
        };
    }

    /// The operations of `TIMES` groups, spread over as many chains as hide their latencies and fit 16 registers.
    macro_rules! mix {
        ($name:ident, $features:literal, $v:ty, $zero:ident, $xor:ident, $aes:ident, $carryless:ident, $shuffle:ident) => {
            #[target_feature(enable = $features)]
            fn $name<const AES: usize, const CARRYLESS: usize, const SHUFFLES: usize>() -> $v {
                let key = black_box($zero());
                let (mut a, mut c, mut s) = ([key; 8], [key; 4], [key; 2]);
                for _ in 0..TIMES {
                    const { assert!(AES <= 170 && SHUFFLES <= 170 && CARRYLESS <= 85) };
                    four_packets!($aes, $carryless, $shuffle, a, c, s, key;
                        0 10 20 30 40 50 60 70 80 90 100 110 120 130 140 150 160);
                }
                a.into_iter().chain(c).chain(s).fold(key, |all, v| $xor(all, v))
            }
        };
    }

    mix!(
        mix128,
        "aes,pclmulqdq,ssse3",
        __m128i,
        _mm_setzero_si128,
        _mm_xor_si128,
        _mm_aesenc_si128,
        _mm_clmulepi64_si128,
        _mm_shuffle_epi8
    );
    mix!(
        mix256,
        "avx2,vaes,vpclmulqdq",
        __m256i,
        _mm256_setzero_si256,
        _mm256_xor_si256,
        _mm256_aesenc_epi128,
        _mm256_clmulepi64_epi128,
        _mm256_shuffle_epi8
    );
    mix!(
        mix512,
        "avx512f,avx512bw,vaes,vpclmulqdq",
        __m512i,
        _mm512_setzero_si512,
        _mm512_xor_si512,
        _mm512_aesenc_epi128,
        _mm512_clmulepi64_epi128,
        _mm512_shuffle_epi8
    );

    /// Packets that one instruction works on.
    pub(super) fn lanes(path: Path) -> usize {
        match path {
            Path::Portable => 0,
            Path::AesNi => 1,
            Path::Vaes256 => 2,
            Path::Vaes512 => 4,
        }
    }

    /// The shortest of some runs, per packet.
    fn shortest(path: Path, run: impl Fn()) -> f64 {
        let least = (0..40).map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_nanos() as f64
        });
        least.fold(f64::INFINITY, f64::min) / (TIMES * 4 * lanes(path)) as f64
    }

    macro_rules! of {
        ($mix:ident, $path:expr, $aead:expr) => {
            match $aead {
                Aead::Aes128Gcm => Some(shortest($path, || {
                    // SAFETY: the path is available, which means that the CPU has these features.
                    black_box(unsafe { $mix::<{ AES_128.aes }, { AES_128.carryless }, { AES_128.shuffles }>() });
                })),
                Aead::Aes256Gcm => Some(shortest($path, || {
                    // SAFETY: as above.
                    black_box(unsafe { $mix::<{ AES_256.aes }, { AES_256.carryless }, { AES_256.shuffles }>() });
                })),
                Aead::ChaCha20Poly1305 => None,
            }
        };
    }

    pub(super) fn nanoseconds(path: Path, aead: Aead) -> Option<f64> {
        if !path.is_available() {
            return None;
        }
        match path {
            Path::Portable => None,
            Path::AesNi => of!(mix128, path, aead),
            Path::Vaes256 => of!(mix256, path, aead),
            Path::Vaes512 => of!(mix512, path, aead),
        }
    }

    /// The time stamp counter's frequency, against the clock.
    pub(super) fn tsc_hertz() -> f64 {
        // SAFETY: every x86-64 has it, and reading it changes nothing.
        let now = || unsafe { _rdtsc() };
        let (start, from) = (Instant::now(), now());
        while start.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        (now() - from) as f64 / start.elapsed().as_secs_f64()
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod imp {
    use protocol::aead::Path;
    use protocol::suite::Aead;

    pub(super) fn lanes(_: Path) -> usize {
        0
    }

    pub(super) fn nanoseconds(_: Path, _: Aead) -> Option<f64> {
        None
    }

    pub(super) fn tsc_hertz() -> f64 {
        0.0
    }
}

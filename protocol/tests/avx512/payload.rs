//! The kernels' own source, without an operating system, over cases that the `aes-gcm` crate has made: what
//! `protocol/tests/avx512/run.sh` lets an emulated CPU execute.
#![no_std]

use core::arch::asm;
use core::fmt::{self, Write};

/// What the kernels know of the crate.
#[path = "../../src/aead"]
mod aead {
    pub const BATCH: usize = 32;

    #[derive(Clone, Copy)]
    #[repr(C, align(64))]
    pub struct KeyState(pub(super) [[u8; 16]; 4]);

    impl KeyState {
        pub const ZERO: Self = Self([[0; 16]; 4]);
    }

    #[repr(C, align(64))]
    pub struct Batch {
        pub nonce: [[u8; 16]; BATCH],
        pub aad: [[u8; 16]; BATCH],
        pub text: [[u8; 16]; BATCH],
        pub tag: [[u8; 16]; BATCH],
    }

    pub fn prefetch(_: &KeyState) {}

    pub mod aesni;
    mod kernel;
    pub mod vaes256;
    pub mod vaes512;

    /// As functions that the payload may call.
    macro_rules! paths {
        ($($path:ident)+) => {$(
            impl super::$path {
                pub fn seal<const AES256: bool>(keys: &[&KeyState], batch: &mut Batch) {
                    // SAFETY: the payload has seen that the CPU has all of it.
                    unsafe { $path::seal::<AES256>(keys, &[], batch) }
                }
                pub fn open<const AES256: bool>(keys: &[&KeyState], batch: &mut Batch) -> u32 {
                    // SAFETY: as above.
                    unsafe { $path::open::<AES256>(keys, &[], batch) }
                }
            }
        )+};
    }
    paths!(aesni vaes256 vaes512);

    pub fn key_state<const AES256: bool>(key: &[u8; 32]) -> KeyState {
        // SAFETY: as above.
        unsafe { aesni::key_state::<AES256>(key) }
    }
}

/// How long nonces are, and what is sealed of an option.
#[allow(dead_code, reason = "the kernels need the lengths alone")]
#[path = "../../src/nonce.rs"]
mod nonce;
#[allow(dead_code, reason = "the kernels need the lengths alone")]
#[path = "../../src/wire"]
mod wire {
    pub mod profile;
}

use aead::{BATCH, Batch, KeyState};

#[allow(non_camel_case_types, reason = "stands for a module of the kernel's name")]
struct aesni;
#[allow(non_camel_case_types, reason = "stands for a module of the kernel's name")]
struct vaes256;
#[allow(non_camel_case_types, reason = "stands for a module of the kernel's name")]
struct vaes512;

/// A key, a nonce, additional data, a text, all filled up with what must not count; then what sealing makes of them.
#[derive(Clone, Copy)]
#[repr(C)]
struct Case {
    key: [u8; 32],
    nonce: [u8; 16],
    aad: [u8; 16],
    text: [u8; 16],
    sealed: [u8; 16],
    tag: [u8; 16],
}

const CASES: usize = 1024;
/// AES-128's, then AES-256's.
static MADE: [[Case; CASES]; 2] =
    // SAFETY: both are arrays of octets, of the same size.
    unsafe { core::mem::transmute(*include_bytes!(env!("PDMV2_AEAD_CASES"))) };

fn all<const AES256: bool>(
    seal: impl Fn(&[&KeyState], &mut Batch),
    open: impl Fn(&[&KeyState], &mut Batch) -> u32,
) -> usize {
    let cases = &MADE[usize::from(AES256)];
    let mut packets = 0;
    for round in 0..4 {
        for len in 1..=BATCH {
            let case = |i: usize| &cases[(packets * 7 + round * 131 + i) % CASES];
            let states: [KeyState; BATCH] = core::array::from_fn(|i| aead::key_state::<AES256>(&case(i).key));
            // One place for one key: only then a kernel sees that packets share it.
            let first = |i: usize| (0..i).rev().take_while(|&k| case(k).key == case(i).key).last().unwrap_or(i);
            let keys: [&KeyState; BATCH] = core::array::from_fn(|i| &states[first(i)]);
            let mut batch = Batch {
                nonce: core::array::from_fn(|i| case(i).nonce),
                aad: core::array::from_fn(|i| case(i).aad),
                text: core::array::from_fn(|i| case(i).text),
                tag: [[0xA5; 16]; BATCH],
            };
            seal(&keys[..len], &mut batch);
            for i in 0..len {
                assert_eq!((batch.text[i], batch.tag[i]), (case(i).sealed, case(i).tag), "slot {i} of {len}");
            }
            // Every lane is wrong for itself in the first rounds, then many at once; each in one bit.
            let bad = match round {
                0 => 0,
                1 => 1 << (packets % len),
                2 => 0x5A5A_C33Cu32.rotate_left(packets as u32),
                _ => u32::MAX,
            };
            for i in 0..len {
                batch.tag[i][(i + len) % 16] ^= ((bad >> i & 1) as u8) << (i % 8);
                batch.text[i][14] = 0xEE;
            }
            let wanted = !bad & ((1u64 << len) - 1) as u32;
            let verified = open(&keys[..len], &mut batch) & ((1u64 << len) - 1) as u32;
            assert_eq!(verified, wanted, "{len} slots");
            for i in 0..len {
                let mut text = [0; 16];
                if bad >> i & 1 == 0 {
                    text[..14].copy_from_slice(&case(i).text[..14]);
                }
                assert_eq!(batch.text[i], text, "slot {i} of {len}");
            }
            packets += len;
        }
    }
    packets
}

/// The port that Bochs copies to its standard output.
struct Console;

fn out(port: u16, octet: u8) {
    // SAFETY: nothing else is there to be disturbed.
    unsafe { asm!("out dx, al", in("dx") port, in("al") octet, options(nomem, nostack)) }
}

impl Write for Console {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        s.bytes().for_each(|octet| out(0xE9, octet));
        Ok(())
    }
}

/// Tells the emulator to end.
fn end() -> ! {
    b"Shutdown".iter().for_each(|&octet| out(0x8900, octet));
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Console, "FAILED: {info}");
    end()
}

/// Entered from boot.S.
#[unsafe(no_mangle)]
extern "C" fn run() -> ! {
    #[allow(unused_unsafe, reason = "newer compilers know that this is safe")]
    // SAFETY: every x86-64 has the instruction.
    let leaf = unsafe { core::arch::x86_64::__cpuid_count(7, 0) };
    let (f, bw, vaes, vpclmulqdq) = (leaf.ebx >> 16 & 1, leaf.ebx >> 30 & 1, leaf.ecx >> 9 & 1, leaf.ecx >> 10 & 1);
    assert_eq!([f, bw, vaes, vpclmulqdq], [1; 4], "AVX512F, AVX512BW, VAES, VPCLMULQDQ");
    macro_rules! try_all {
        ($($path:ident)+) => {$(
            for (bits, packets) in [
                (128, all::<false>($path::seal::<false>, $path::open::<false>)),
                (256, all::<true>($path::seal::<true>, $path::open::<true>)),
            ] {
                let _ = writeln!(Console, "{} aes-{bits}-gcm: {packets} packets", stringify!($path));
            }
        )+};
    }
    try_all!(aesni vaes256 vaes512);
    let _ = writeln!(Console, "ALL PASSED");
    end()
}

/// What compiled code calls where there is no C library.
mod memory {
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { core::arch::asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _) }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, octet: i32, len: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { core::arch::asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("al") octet as u8) }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
        for i in 0..len {
            // SAFETY: as the caller promises; volatile, or this would become a call of itself.
            let (a, b) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
            if a != b {
                return i32::from(a) - i32::from(b);
            }
        }
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
        // SAFETY: as the caller promises.
        unsafe { memcmp(a, b, len) }
    }
}

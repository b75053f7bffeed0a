//! No branch and no address depends on a key, a text or a comparison of tags: under valgrind, secrets are declared
//! uninitialised, and memcheck reports what depends on such. Without valgrind this only seals and opens.
//!
//! valgrind knows no VAES, so this covers the AES-NI path; the others expand the same body, which has no branch but those on
//! the number of keys.
#![allow(unsafe_code, reason = "requests to valgrind are instructions that do nothing")]

use super::super::{BATCH, Batch, KeyState, Path};
use super::{AES, Rng, filled};

/// A request to valgrind; `default` when it is not there.
fn request(code: u64, first: u64, second: u64, default: u64) -> u64 {
    let arguments = [code, first, second, 0, 0, 0];
    let mut result = default;
    // SAFETY: four rotations of rdi by 128 bits in all and an exchange of a register with itself do nothing; valgrind takes
    // them as a call, with arguments and result as given here. It may read what `first` points to, which is ours.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            inout("rdx") result,
            in("rax") arguments.as_ptr(),
            options(nostack),
        );
    }
    result
}

const RUNNING_ON_VALGRIND: u64 = 0x1001;
const COUNT_ERRORS: u64 = 0x1201;
const MAKE_MEM_UNDEFINED: u64 = 0x4D43_0001;
const MAKE_MEM_DEFINED: u64 = 0x4D43_0002;

fn mark<T: ?Sized>(code: u64, what: &mut T) {
    request(code, (&raw mut *what).addr() as u64, size_of_val(what) as u64, 0);
}

fn errors() -> u64 {
    request(COUNT_ERRORS, 0, 0, 0)
}

#[test]
fn nothing_depends_on_secrets() {
    if request(RUNNING_ON_VALGRIND, 0, 0, 0) != 0 {
        // What must be found, is: else the rest would mean nothing.
        println!("valgrind's first report, of a conditional jump in this test, is wanted:");
        let (before, mut secret) = (errors(), 1u8);
        mark(MAKE_MEM_UNDEFINED, &mut secret);
        if core::hint::black_box(secret) == 1 {
            core::hint::black_box(&mut secret);
        }
        assert!(errors() > before, "valgrind does not see a branch on a secret");
    }
    if !Path::AesNi.is_available() {
        println!("no AES-NI here: nothing to check");
        return;
    }
    let before = errors();
    let mut rng = Rng(0xC0257);
    for aead in AES {
        // Keys of their own, and one key for all.
        for (len, step) in [(1, 1), (4, 1), (31, 1), (BATCH, 1), (BATCH, 0)] {
            let mut keys: [[u8; 32]; BATCH] = core::array::from_fn(|_| filled(&mut rng));
            mark(MAKE_MEM_UNDEFINED, &mut keys);
            let states = keys.each_ref().map(|key| KeyState::new(aead, key));
            let mut batch = Batch::new();
            for i in 0..len {
                batch.set(i, &filled(&mut rng), &filled(&mut rng), &filled(&mut rng));
            }
            mark(MAKE_MEM_UNDEFINED, &mut batch.text);
            let refs: [&KeyState; BATCH] = core::array::from_fn(|i| &states[i * step]);
            batch.seal_by(Path::AesNi, aead, &refs[..len]);
            batch.tag[0][0] ^= 1;
            let mut verified = batch.open_by(Path::AesNi, aead, &refs[..len]);
            // Which packets verify is no secret once all has been done.
            mark(MAKE_MEM_DEFINED, &mut verified);
            assert_eq!(verified, super::all(len) & !1);
        }
    }
    assert_eq!(errors(), before, "something depends on a secret: valgrind says where");
}

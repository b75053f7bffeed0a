//! What valgrind's memcheck is asked for: which memory holds secrets, so that it reports what depends on them. Without valgrind
//! these are instructions that do nothing. (`pipeline` has this file too, for its lanes.)
#![allow(unsafe_code, reason = "requests to valgrind are instructions that do nothing")]

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

fn mark<T: ?Sized>(code: u64, what: *const T, len: usize) {
    core::hint::black_box(what);
    request(code, what.addr() as u64, len as u64, 0);
    core::hint::black_box(what);
}

/// From now on, whatever depends on what is there is reported.
pub fn declare_secret<T>(what: *const T) {
    mark(MAKE_MEM_UNDEFINED, what, size_of::<T>());
}

/// What is there is no secret any more.
pub fn declare_public<T>(what: *mut T) {
    mark(MAKE_MEM_DEFINED, what, size_of::<T>());
}

/// Reports so far.
pub fn errors() -> u64 {
    request(COUNT_ERRORS, 0, 0, 0)
}

/// Under valgrind: what must be found, is. Else the rest would mean nothing.
pub fn sees_branches_on_secrets() {
    if request(RUNNING_ON_VALGRIND, 0, 0, 0) == 0 {
        return;
    }
    println!("valgrind's first report, of a conditional jump in this test, is wanted:");
    let (before, mut secret) = (errors(), 1u8);
    declare_secret(&raw mut secret);
    if core::hint::black_box(secret) == 1 {
        core::hint::black_box(&mut secret);
    }
    assert!(errors() > before, "valgrind does not see a branch on a secret");
}

//! A hint to the CPU that a cache line will be read soon: the stages of a burst ask for what the next stage needs.
#![allow(unsafe_code, reason = "the prefetch instruction")]

/// Asks for the line that `at` begins on.
#[inline(always)]
pub fn line<T>(at: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that a program can see and faults at no address; this one is even valid.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(core::ptr::from_ref(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    #[test]
    fn changes_nothing() {
        let words = [1u64, 2, 3];
        words.iter().for_each(super::line);
        assert_eq!(words, [1, 2, 3]);
    }
}

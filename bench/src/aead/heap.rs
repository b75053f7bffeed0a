//! Memory that the C allocator has given out: what a key takes, whoever allocated it.

/// Octets in use; `None` where the C library does not say.
#[must_use]
pub fn in_use() -> Option<usize> {
    imp::in_use()
}

/// Octets per key since `before`. Few keys drown in what else is allocated, so they have none.
#[must_use]
pub fn per_key(before: Option<usize>, keys: usize) -> Option<f64> {
    if keys < 256 {
        return None;
    }
    Some(in_use()?.checked_sub(before?)? as f64 / keys as f64)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "glibc is asked for its figures")]
mod imp {
    /// glibc's `struct mallinfo2`.
    #[repr(C)]
    struct Mallinfo2 {
        arena: usize,
        ordblks: usize,
        smblks: usize,
        hblks: usize,
        hblkhd: usize,
        usmblks: usize,
        fsmblks: usize,
        uordblks: usize,
        fordblks: usize,
        keepcost: usize,
    }

    unsafe extern "C" {
        fn mallinfo2() -> Mallinfo2;
    }

    pub(super) fn in_use() -> Option<usize> {
        // SAFETY: takes nothing, and gives ten numbers (glibc 2.33 and later).
        let info = unsafe { mallinfo2() };
        Some(info.hblkhd + info.uordblks)
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod imp {
    pub(super) fn in_use() -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_small_and_large_allocations() {
        let Some(before) = in_use() else { return };
        let large = vec![1u8; 32 << 20];
        let small: Vec<Box<[u8; 1000]>> = (0..10_000).map(|_| Box::new([1; 1000])).collect();
        let per_key = per_key(Some(before), 10_000).expect("enough keys");
        // Other tests allocate meanwhile, but not this much.
        assert!((per_key - 4372.0).abs() < 600.0, "{per_key}");
        drop((large, small));
    }
}

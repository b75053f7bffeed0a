//! The [stages](super::wide) on AVX-512, VAES and VPCLMULQDQ: four blocks or sixteen words in a register, sixteen packets side by
//! side.

mod ops;

use super::wide::{aead, derived, inbound, outbound};
use ops::*;

derived!("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt");
aead!("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt");
outbound!("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt");

pub(super) mod inbound {
    use super::*;

    inbound!("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,vaes,vpclmulqdq,bmi1,bmi2,lzcnt,popcnt");
}

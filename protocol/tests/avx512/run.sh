#!/bin/sh
# Lets Bochs, a CPU with AVX-512 in software, execute the AEAD kernels as they are compiled: for machines without one.
# Needs: bochs bochsbios vgabios isolinux syslinux-common xorriso binutils, and Rust.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/emulate.sh"
prepare

# The cases, by the aes-gcm crate.
export PDMV2_AEAD_CASES="$work/cases"
(cd "$here/../.." && "${CARGO:-cargo}" test --locked --quiet --lib aead::tests::batch::writes_cases -- --ignored >"$work/log" 2>&1) ||
    { cat "$work/log" >&2; exit 1; }

rustc --edition 2024 --crate-type staticlib -C panic=abort -C opt-level=3 -C relocation-model=static -C codegen-units=1 \
    -o "$work/payload.a" "$here/payload.rs"
as --64 -o "$work/boot.o" "$here/boot.S"
ld -n --no-warn-rwx-segments -z max-page-size=4096 --gc-sections --build-id=none -T "$here/link.ld" -u run -o "$work/payload64" "$work/boot.o" "$work/payload.a"
emulate 64 300
grep -a -E "packets$|FAILED|ALL PASSED|^ *(left|right):" "$work/out" || true
grep -a -q "ALL PASSED" "$work/out" || stopped "the emulated CPU did not come to the end"

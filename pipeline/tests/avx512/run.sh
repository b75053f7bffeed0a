#!/bin/sh
# Lets Bochs, a CPU with AVX-512 in software, execute the tests of the lanes and of the short way as they are compiled: for machines
# without one. The tests are a static program, which is given a kernel of a hundred lines instead of Linux, which would take Bochs
# minutes to start. Needs: bochs bochsbios vgabios isolinux syslinux-common xorriso binutils gcc libc6-dev, and Rust.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
shared=protocol/tests/avx512
. "$shared/emulate.sh"
prepare gcc strip

target=$(rustc -vV | sed -n 's/^host: //p')
tests=$(RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" "${CARGO:-cargo}" test --locked --target "$target" \
    --target-dir "${AVX512_TARGET:-target/static}" -p pipeline --no-default-features --lib --no-run --message-format=json 2>"$work/log" |
    sed -n 's/.*"executable":"\([^"]*pipeline-[^"]*\)".*/\1/p')
[ -n "$tests" ] || { cat "$work/log" >&2; exit 1; }
strip -o "$work/program" "$tests"

gcc -O1 -ffreestanding -mgeneral-regs-only -mno-red-zone -mcmodel=large -fno-pic -fno-stack-protector -fcf-protection=none \
    -DARGUMENTS='"tests\0lanes\0the_short_way_and\0short_way_back\0--test-threads=1\0--nocapture\0--skip\0bursts_of_every_length\0"' \
    -DENVIRONMENT="\"PROPTEST_CASES=${AVX512_CASES:-2}\\0PROPTEST_MAX_SHRINK_ITERS=0\\0RUST_BACKTRACE=0\\0\"" -c -o "$work/kernel.o" "$here/kernel.c"
as --64 -o "$work/boot.o" "$shared/boot.S"
gcc -DPROGRAM="\"$work/program\"" -c -o "$work/syscalls.o" "$here/syscalls.S"
ld -n --no-warn-rwx-segments -z max-page-size=4096 --build-id=none -T "$here/link.ld" -o "$work/payload64" "$work/boot.o" "$work/syscalls.o" "$work/kernel.o"
emulate 1024 600
sed -n '/^running /,/^PROGRAM ENDED/p' "$work/out"
grep -a -q "lanes: this CPU has portable, .*avx-512" "$work/out" && grep -a -q "^PROGRAM ENDED 00000000" "$work/out" ||
    stopped "the tests failed, or the emulated CPU did not come to the end"

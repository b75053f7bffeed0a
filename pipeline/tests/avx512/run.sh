#!/bin/sh
# Lets Bochs, a CPU with AVX-512 in software, execute the tests of the lanes and of the short way as they are compiled: for machines without one. The tests
# are a static program, which is given a kernel of a hundred lines instead of Linux, which would take Bochs minutes to start.
# Needs: bochs bochsbios vgabios isolinux syslinux-common xorriso binutils gcc libc6-dev, and Rust.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
for tool in bochs xorriso gcc ld objcopy strip; do
    command -v $tool >/dev/null || {
        echo "avx512: no $tool here, so nothing was checked. Install: bochs bochsbios vgabios isolinux syslinux-common xorriso binutils" >&2
        exit 77
    }
done
work=$(mktemp -d)
emulator=""
trap '[ -z "$emulator" ] || kill "$emulator" 2>/dev/null; rm -rf "$work"' EXIT INT TERM

cd "$here/../../.."
target=$(rustc -vV | sed -n 's/^host: //p')
tests=$(RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" "${CARGO:-cargo}" test --locked --target "$target" \
    --target-dir "${AVX512_TARGET:-target/static}" -p pipeline --no-default-features --lib --no-run --message-format=json 2>"$work/log" |
    sed -n 's/.*"executable":"\([^"]*pipeline-[^"]*\)".*/\1/p')
[ -n "$tests" ] || { cat "$work/log" >&2; exit 1; }
strip -o "$work/program" "$tests"

gcc -O1 -ffreestanding -mgeneral-regs-only -mno-red-zone -mcmodel=large -fno-pic -fno-stack-protector -fcf-protection=none \
    -DARGUMENTS='"tests\0lanes\0the_short_way_and\0short_way_back\0--test-threads=1\0--nocapture\0"' \
    -DENVIRONMENT="\"PROPTEST_CASES=${AVX512_CASES:-8}\\0PROPTEST_MAX_SHRINK_ITERS=0\\0RUST_BACKTRACE=0\\0\"" -c -o "$work/kernel.o" "$here/kernel.c"
gcc -DPROGRAM="\"$work/program\"" -c -o "$work/boot.o" "$here/boot.S"
ld -n --no-warn-rwx-segments -z max-page-size=4096 --build-id=none -T "$here/link.ld" -o "$work/payload64" "$work/boot.o" "$work/kernel.o"
mkdir -p "$work/iso/isolinux"
objcopy -O elf32-i386 "$work/payload64" "$work/iso/payload"
cp /usr/lib/ISOLINUX/isolinux.bin "$work/iso/isolinux/"
for module in ldlinux mboot libcom32; do cp /usr/lib/syslinux/modules/bios/$module.c32 "$work/iso/isolinux/"; done
printf 'default t\nlabel t\n kernel mboot.c32\n append /payload\n' >"$work/iso/isolinux/isolinux.cfg"
xorriso -as mkisofs -quiet -o "$work/boot.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table "$work/iso" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

cat >"$work/bochsrc" <<EOF
config_interface: textconfig
display_library: rfb, options="timeout=0"
megs: 1024
cpu: model=${AVX512_CPU:-corei7_icelake_u}, reset_on_triple_fault=0
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$work/boot.iso, status=inserted
boot: cdrom
port_e9_hack: enabled=1
plugin_ctrl: speaker=0, parallel=0, gameport=0, iodebug=0
sound: driver=dummy
log: $work/bochs.log
panic: action=fatal
EOF
# Debian's Bochs has a debugger in it, which waits to be told to continue.
echo c >"$work/commands"
timeout "${AVX512_SECONDS:-600}" bochs -q -f "$work/bochsrc" -rc "$work/commands" >"$work/out" 2>&1 </dev/null &
emulator=$!
wait "$emulator" || true
emulator=""
sed -n '/^running /,/^PROGRAM ENDED/p' "$work/out"
grep -a -q "lanes: this CPU has portable, avx-512" "$work/out" && grep -a -q "^PROGRAM ENDED 00000000" "$work/out" || {
    echo "avx512: the tests failed, or the emulated CPU did not come to the end. What Bochs said last:" >&2
    tail -n 5 "$work/bochs.log" "$work/out" >&2 || true
    exit 1
}

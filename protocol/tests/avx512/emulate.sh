# For the scripts beside it and in pipeline/tests/avx512, which read it in: lets Bochs execute a payload, on a CPU with AVX-512 in
# software. Needs: bochs bochsbios vgabios isolinux syslinux-common xorriso binutils, and what its callers name.

# What the emulator needs, and what else the caller names, is there; `$work` is a directory that goes when the script ends.
prepare() {
    for tool in bochs xorriso as ld objcopy "$@"; do
        command -v "$tool" >/dev/null || {
            echo "avx512: no $tool here, so nothing was checked. Install: bochs bochsbios vgabios isolinux syslinux-common xorriso binutils gcc libc6-dev" >&2
            exit 77
        }
    done
    work=$(mktemp -d)
    emulator=""
    trap '[ -z "$emulator" ] || kill "$emulator" 2>/dev/null; rm -rf "$work"' EXIT INT TERM
}

# Executes "$work/payload64", in so many MiB, for so many seconds at most. What it says stands in "$work/out".
emulate() {
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
megs: $1
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
    timeout "${AVX512_SECONDS:-$2}" bochs -q -f "$work/bochsrc" -rc "$work/commands" >"$work/out" 2>&1 </dev/null &
    emulator=$!
    wait "$emulator" || true
    emulator=""
}

# It did not come to the end.
stopped() {
    echo "avx512: $1. What Bochs said last:" >&2
    tail -n 5 "$work/bochs.log" "$work/out" >&2 || true
    exit 1
}

#!/bin/sh
# Builds DPDK's example ipsec-secgw from Debian's source package of the installed DPDK: what somebody who wants packets
# encrypted at line rate would try first, and so the peer that `bench pipeline` compares with. Nothing depends on it.
# Usage: bench/peers/ipsec-secgw.sh [DIRECTORY, target/peers by default]. The system's own apt settings stay as they are.
set -eu

out=${1:-target/peers}
mkdir -p "$out"
out=$(cd "$out" && pwd)
give_up() { echo "ipsec-secgw: $1" >&2; exit 1; }

for tool in apt-get dpkg-query dpkg-source make gcc pkg-config; do
    command -v "$tool" >/dev/null || give_up "$tool is missing (apt install build-essential dpkg-dev pkg-config)"
done
version=$(dpkg-query -W -f='${source:Version}' libdpdk-dev 2>/dev/null) || give_up "libdpdk-dev is not installed"
[ -x "$out/ipsec-secgw" ] && [ "$(cat "$out/ipsec-secgw.version" 2>/dev/null)" = "$version" ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
# The system's sources with deb-src in the place of deb, in a directory of our own.
mkdir -p "$work/lists/partial" "$work/parts"
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    [ -f "$file" ] || continue
    case $file in
        *.sources)
            awk 'BEGIN { RS = ""; ORS = "\n\n" } /debian|ubuntu/ { sub(/Types:[^\n]*/, "Types: deb-src"); print }' "$file" \
                >"$work/parts/${file##*/}" ;;
        *.list) sed -n '/debian\|ubuntu/s/^deb\(-src\)\{0,1\} /deb-src /p' "$file" \
            >"$work/parts/$(basename "$file" .list).list" ;;
    esac
done
apt() {
    apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/parts" -o Dir::State::lists="$work/lists" \
        -o APT::Sandbox::User=root -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "$@"
}
cd "$work"
apt update >"$work/log" 2>&1 || give_up "apt cannot read the lists of sources: $(tail -n 1 "$work/log")"
apt source "dpdk=$version" >"$work/log" 2>&1 || give_up "apt has no source of dpdk $version: $(tail -n 1 "$work/log")"
cd dpdk-*/examples/ipsec-secgw

# It asks every port to check IPv4 checksums of what it receives, which net_pcap cannot; and gives up without.
file=ipsec-secgw.c
grep -q 'RTE_ETH_RX_OFFLOAD_IPV4_CKSUM\|RTE_ETH_RX_OFFLOAD_CHECKSUM' "$file" || give_up "its source is another than expected"
sed -i '/offloads.*RTE_ETH_RX_OFFLOAD_\(IPV4_CKSUM\|CHECKSUM\)/d' "$file"

make shared >"$work/log" 2>&1 || give_up "it does not build: $(grep -m 1 error "$work/log")"
cp -L build/ipsec-secgw "$out/ipsec-secgw"
echo "$version" >"$out/ipsec-secgw.version"
echo "built $out/ipsec-secgw of DPDK $version"

#!/bin/sh
# Installs what building, testing and the demo need beside Rust: Debian 12 or later, Ubuntu 24.04 or later.
# Does nothing when it is all there. Usage: .ci/setup.sh [build|deb|test|bench|page|vm|rpm]
set -eu

what=${1:-test}
build="build-essential pkg-config libdpdk-dev dpdk libclang-dev clang libpcap-dev protobuf-compiler libprotobuf-dev"
run="dpdk-dev iproute2 iputils-ping iperf3 tcpdump tshark ethtool procps kmod python3 lua5.4 etcd-server etcd-client prometheus nfdump pmacct"
# Libraries that the AEAD benchmark compares with, and what counts instructions.
peers="libssl-dev valgrind"
# What the page is looked at with. Debian has it as a package, Ubuntu does not: the tests then take a Chromium that is there.
browser="chromium-headless-shell fonts-dejavu-core"
# What starts virtual machines, and makes their disk.
machines="debhelper dpkg-dev qemu-system-x86 qemu-utils ipxe-qemu mmdebstrap e2fsprogs openssh-client"
[ "$(uname -m)" != x86_64 ] || peers="$peers libipsec-mb-dev"
case $what in
    build) packages=$build ;;
    deb) packages="$build debhelper" ;;
    rpm) packages="$build debhelper rpm" ;;
    bench) packages="$build $run $peers" ;;
    page) packages="$build $run $browser" ;;
    vm) packages="$build $run $machines" ;;
    *) packages="$build $run" ;;
esac

missing=""
for package in $packages; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "These packages are needed, and there is no apt-get here:$missing" >&2
        exit 1
    fi
    sudo=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "Run as root, or install:$missing" >&2; exit 1; }
        sudo="sudo"
    fi
    echo "Installing:$missing"
    $sudo apt-get update -qq
    # Tests start etcd and Prometheus themselves: Debian's services are not wanted here, unless they were there before.
    unwanted=""
    case $missing in *etcd-server*) unwanted="etcd.service" ;; esac
    case $missing in *prometheus*) unwanted="$unwanted prometheus.service" ;; esac
    # tshark asks whether users may capture; the answer does not matter here.
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    if [ -n "$unwanted" ] && [ -d /run/systemd/system ]; then
        $sudo systemctl disable --now --quiet $unwanted || true
    fi
fi

if ! command -v cargo >/dev/null; then
    if [ -f "$HOME/.cargo/env" ]; then
        echo "cargo is not on the PATH; run: . \"\$HOME/.cargo/env\"" >&2
    else
        echo "Rust 1.89 or later is needed: https://rustup.rs, then open a new shell" >&2
    fi
    exit 1
fi
for component in rustfmt clippy; do
    [ "$what" = build ] || [ "$what" = deb ] || cargo "${component#rust}" --version >/dev/null 2>&1 || rustup component add "$component"
done

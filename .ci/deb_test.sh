#!/bin/sh
# The packages, made of programs that are built already, are looked at, and installed, upgraded and purged in a copy of this
# machine that is thrown away (an overlay in a mount namespace of its own): `make deb-test`. Needs root, and some seconds.
# lintian and mandoc take part where they are installed.
#
# Usage: .ci/deb_test.sh BIN
set -eu

here=$(cd "$(dirname "$0")" && pwd)
fail() { echo "deb_test: $*" >&2; exit 1; }

# What is installed is as it is meant to be. In the copy.
installed() {
    pdmv2 --version | grep -q '^pdmv2 ' || fail "pdmv2 does not start"
    # The example's device is not here, and nothing else is wrong with it: keys are made below.
    said=$(pdmv2-middlebox run --config /etc/pdmv2/box.toml --check 2>&1) && fail "the example configuration fits this machine?"
    case $said in *$1*) ;; *) fail "the box says of the example: $said" ;; esac
    for unit in pdmv2-middlebox pdmv2-registrar; do
        [ -f "/lib/systemd/system/$unit.service" ] || fail "$unit.service is not there"
        find /etc/systemd -name "$unit.service" | grep -q . && fail "$unit.service is enabled"
        command -v systemd-analyze >/dev/null || continue
        said=$(systemd-analyze verify --man=no "/lib/systemd/system/$unit.service" 2>&1) || fail "$unit.service: $said"
        [ -z "$said" ] || fail "$unit.service: $said"
    done
    [ "$(getent passwd pdmv2 | cut -d: -f7)" = /usr/sbin/nologin ] || fail "no user pdmv2, or one that may log in"
    getent group pdmv2-operators >/dev/null || fail "no group pdmv2-operators"
    [ "$(stat -c '%U %a' /run/pdmv2 /etc/pdmv2 | sort -u)" = "root 755" ] || fail "/run/pdmv2 or /etc/pdmv2 is not root's, 0755"
}

# As an operator does. In the copy.
inside() {
    export DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    dpkg -i /debs/1/*.deb
    installed pdmv2.keys
    pdmv2 keygen --out /etc/pdmv2/pdmv2.keys --node name=box-a,side=client,prefix=2001:db8:a::/48 \
        --node name=box-b,side=server,prefix=2001:db8:b::/48 >/dev/null
    installed /etc/pdmv2/box.toml:

    echo "--- upgrade: configuration that was changed stays"
    echo '# changed by the operator' >>/etc/pdmv2/box.toml
    install -d -o pdmv2 -m 700 /var/lib/pdmv2
    install -o pdmv2 -m 600 /dev/null /var/lib/pdmv2/west.state
    dpkg --force-confold -i /debs/2/*.deb
    installed /etc/pdmv2/box.toml:
    grep -q '^# changed by the operator' /etc/pdmv2/box.toml || fail "the upgrade has overwritten box.toml"
    grep -q '^# a new default' /etc/pdmv2/box.toml.dpkg-dist || fail "the new example is not beside box.toml"
    [ "$(dpkg-query -W -f '${Version}' pdmv2)" = 2 ] || fail "the upgrade has not come"
    [ -f /var/lib/pdmv2/west.state ] || fail "the upgrade has removed the registrar's state"

    echo "--- removal keeps configuration and state, a purge only what is not the packages'"
    dpkg -r pdmv2 pdmv2-middlebox
    grep -q '^# changed by the operator' /etc/pdmv2/box.toml || fail "removal has removed box.toml"
    [ -f /var/lib/pdmv2/west.state ] || fail "removal has removed the registrar's state"
    install -o pdmv2 -m 600 /dev/null /etc/pdmv2/west.static
    dpkg -P pdmv2 pdmv2-middlebox
    getent passwd pdmv2 >/dev/null || fail "the purge has removed the owner of a private file that is still there"
    [ "$(ls /etc/pdmv2)" = "$(printf 'pdmv2.keys\nwest.static')" ] || fail "left in /etc/pdmv2: $(ls /etc/pdmv2)"

    echo "--- nothing is left"
    rm -r /etc/pdmv2
    dpkg -i /debs/2/*.deb
    dpkg -P pdmv2 pdmv2-middlebox
    rm -rf /debs /deb_test.sh
}

# In a mount namespace of its own: $1 is an empty directory, $2 has the packages.
in_a_copy() {
    mount -t tmpfs -o size=1g tmpfs "$1"
    mkdir "$1/upper" "$1/work" "$1/root"
    mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
    mount -t proc proc "$1/root/proc"
    mount -t sysfs -o ro sysfs "$1/root/sys"
    mount -t tmpfs tmpfs "$1/root/run"
    mount --bind /dev/null "$1/root/dev/null" 2>/dev/null || mount --rbind /dev "$1/root/dev"
    mkdir "$1/root/debs"
    cp -r "$2/1" "$2/2" "$1/root/debs"
    cp "$here/deb_test.sh" "$1/root/deb_test.sh"
    # Of services that a trigger might want to start.
    printf '#!/bin/sh\nexit 101\n' >"$1/root/usr/sbin/policy-rc.d"
    chmod +x "$1/root/usr/sbin/policy-rc.d"
    chroot "$1/root" /bin/sh /deb_test.sh --inside >"$2/log" 2>&1 || { cat "$2/log"; exit 1; }
    # The upper layer has what is not as it was before: new, changed or gone.
    cd "$1/upper"
    find . -mindepth 1 | while read -r path; do
        case $path in
            ./var/lib/dpkg/* | ./var/cache/* | ./var/log/* | ./etc/passwd- | ./etc/group- | ./etc/shadow- | ./etc/gshadow-) continue ;;
            # Of this test; a lock, and what the C library keeps of libraries.
            ./usr/sbin/policy-rc.d | ./etc/.pwd.lock | ./etc/ld.so.cache | ./etc/subuid- | ./etc/subgid-) continue ;;
        esac
        if [ -c "$path" ] && [ "$(stat -c %t:%T "$path")" = 0:0 ]; then
            echo "$path is gone"
        elif [ -d "$path" ]; then
            [ -d "/$path" ] || echo "$path/"
        elif [ -L "$path" ]; then
            [ "$(readlink "$path")" = "$(readlink "/$path")" ] || echo "$path"
        else
            cmp -s "$path" "/$path" || echo "$path"
        fi
    done >"$2/left"
    [ ! -s "$2/left" ] || { cat "$2/log"; fail "left behind by the purge: $(cat "$2/left")"; }
}

contents() {
    for package in pdmv2 pdmv2-middlebox; do
        deb=$(echo "$1/$package"_*.deb)
        dpkg-deb -x "$deb" "$1/$package"
        grep -rl /usr/local "$1/$package/usr/lib" "$1/$package/lib" 2>/dev/null && fail "$package: /usr/local is the administrator's"
    done
    [ "$(dpkg-deb -I "$1"/pdmv2-middlebox_*.deb conffiles)" = /etc/pdmv2/box.toml ] || fail "conffiles of pdmv2-middlebox"
    dpkg-deb -f "$1"/pdmv2-middlebox_*.deb Depends | grep -q 'librte-eal[0-9]*.*librte-meta-net' || fail "pdmv2-middlebox without DPDK"
    dpkg-deb -f "$1"/pdmv2_*.deb Depends | grep -q librte && fail "pdmv2 wants DPDK"
    for file in pdmv2/usr/share/man/man1/pdmv2-policy-start.1.gz pdmv2/usr/share/man/man5/pdmv2-registrar.toml.5.gz \
        pdmv2/usr/share/bash-completion/completions/pdmv2 pdmv2/usr/share/zsh/vendor-completions/_pdmv2 \
        pdmv2-middlebox/usr/share/bash-completion/completions/pdmv2-middlebox \
        pdmv2/usr/share/fish/vendor_completions.d/pdmv2.fish pdmv2/usr/share/pdmv2/wireshark/pdmv2.lua \
        pdmv2/usr/share/pdmv2/grafana/pdmv2.json pdmv2/usr/share/pdmv2/prometheus/pdmv2.rules.yml \
        pdmv2/usr/share/doc/pdmv2/docs/configuration.md pdmv2-middlebox/usr/share/man/man1/pdmv2-middlebox-run.1.gz \
        pdmv2-middlebox/usr/share/man/man5/pdmv2-middlebox.toml.5.gz; do
        [ -s "$1/$file" ] || fail "$file is not in its package"
    done
    if command -v mandoc >/dev/null; then
        # A page has no date, so that the same program makes the same page.
        gunzip -r "$1"/*/usr/share/man
        find "$1"/*/usr/share/man -type f -exec mandoc -T lint -W warning {} + | grep -v 'missing date' && fail "mandoc: see above"
    fi
    if command -v lintian >/dev/null; then
        lintian --allow-root --fail-on error,warning "$1"/*.deb || fail "lintian: see above"
    else
        echo "lintian is not there: left out"
    fi
}

case ${1:-} in
    --inside) inside; exit ;;
    --in-a-copy) in_a_copy "$2" "$3"; exit ;;
    '') sed -n 's/^# \(Usage.*\)/\1/p' "$0" >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || fail "needs root"
dpkg-query -W pdmv2 pdmv2-middlebox >/dev/null 2>&1 && fail "the packages are installed here; use another machine"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
# Symbols for debuggers, and small packages, are most of the time, and nothing that is tested.
export DEB_BUILD_OPTIONS=noautodbgsym DPKG_DEB="-Zgzip -z1"
mkdir "$work/copy"
for build in 1 again; do VERSION=1 "$here/deb.sh" "$1" "$work/$build" >/dev/null; done
for deb in "$work"/1/*.deb; do
    cmp -s "$deb" "$work/again/${deb##*/}" || fail "${deb##*/}: the same programs make another package"
done
mkdir "$work/look"
cp "$work"/1/*.deb "$work/look"
contents "$work/look"
# A later version, whose example differs.
mkdir "$work/2"
for package in pdmv2 pdmv2-middlebox; do
    dpkg-deb -R "$work/1/$package"_*.deb "$work/later"
    sed -i 's/^Version: 1$/Version: 2/' "$work/later/DEBIAN/control"
    [ "$package" = pdmv2 ] || echo '# a new default' >>"$work/later/etc/pdmv2/box.toml"
    dpkg-deb --root-owner-group -Zgzip -z1 -b "$work/later" "$work/2/$package.deb" >/dev/null
    rm -r "$work/later"
done
unshare --mount --propagation private "$here/deb_test.sh" --in-a-copy "$work/copy" "$work"
echo "The packages are as they should be: contents, installation, upgrade, removal, purge."

#!/bin/sh
# Makes rpm packages of the Debian packages' contents: `make rpm`. They are for distributions with DPDK 22.11 and a C library as
# new as the one here; what they hold is looked at, and installed into an empty directory.
#
# Usage: .ci/rpm.sh DEBS OUT     DEBS: directory with the .deb files; OUT: gets the .rpm files
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
fail() { echo "rpm: $*" >&2; exit 1; }
[ $# = 2 ] || { sed -n 's/^# \(Usage.*\)/\1/p' "$0" >&2; exit 2; }
command -v rpmbuild >/dev/null || fail "rpmbuild is not there: apt-get install rpm"
debs=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/tree" "$work/lists"
for package in pdmv2-middlebox pdmv2; do
    deb=$(echo "$debs/$package"_*.deb)
    [ -f "$deb" ] || fail "$deb is not there: make deb"
    one=$work/$package
    dpkg-deb -x "$deb" "$one"
    # Where these distributions have it; Debian's own files about a package are of no use to them.
    [ ! -d "$one/lib" ] || { mkdir -p "$one/usr/lib" && cp -a "$one/lib/." "$one/usr/lib" && rm -rf "$one/lib"; }
    rm -rf "$one/usr/share/lintian" "$one/usr/share/doc/$package/changelog.Debian.gz"
    (cd "$one" && find . \( -type f -o -type l \) ! -path './etc/*' | sed 's|^\.||; s|\(/usr/share/man/.*\)\.gz$|\1*|; s|^/usr/share/doc/|%doc &|') >"$work/lists/$package"
    (cd "$one" && find ./usr/share -mindepth 1 -type d \( -path './usr/share/pdmv2*' -o -path "./usr/share/doc/$package*" \) | sed 's|^\.|%dir |') >>"$work/lists/$package"
    cp -a "$one/." "$work/tree"
done

# A rpm version knows '~' and '+' as Debian's does, and no '-'.
version=$(dpkg-deb -f "$debs"/pdmv2_*.deb Version | tr - _)
sed "s|@VERSION@|$version|" "$root/configs/rpm/pdmv2-middlebox.spec" >"$work/pdmv2-middlebox.spec"
if ! rpmbuild -bb --define "_topdir $work/rpm" --define "tree $work/tree" --define "lists $work/lists" \
    --define "use_source_date_epoch_as_buildtime 1" "$work/pdmv2-middlebox.spec" >"$work/log" 2>&1; then
    cat "$work/log" >&2
    exit 1
fi
rm -f "$out"/*.rpm

# What is in them.
for package in pdmv2-middlebox pdmv2; do
    rpm=$(echo "$work/rpm/RPMS"/*/"$package-$version"-*.rpm)
    rpm -qp --requires "$rpm" 2>/dev/null >"$work/requires"
    case $package in
        pdmv2-middlebox) grep -q '^librte_eal\.so\.23' "$work/requires" || fail "$package does not ask for DPDK's libraries" ;;
        pdmv2) ! grep -q librte "$work/requires" || fail "$package asks for DPDK" ;;
    esac
    cp "$rpm" "$out"
    echo "$out/${rpm##*/}"
done
mkdir "$work/installed"
rpm --root "$work/installed" --initdb
rpm --root "$work/installed" -i --nodeps --noscripts "$out"/*.rpm 2>/dev/null || fail "they do not install"
for program in pdmv2 pdmv2-middlebox; do
    "$work/installed/usr/bin/$program" --version | grep -q "^$program " || fail "$program does not start"
    rpm --root "$work/installed" -V --nodeps --noscripts "$program" 2>/dev/null | grep -v ' /etc/' && fail "$program: not as it was packed"
done
[ "$(rpm --root "$work/installed" -q --configfiles pdmv2-middlebox)" = /etc/pdmv2/box.toml ] || fail "box.toml is no configuration"
[ -f "$work/installed/usr/lib/systemd/system/pdmv2-registrar.service" ] || fail "no unit of the registrar"

#!/bin/sh
# Makes the packages pdmv2-middlebox and pdmv2 of programs that are built already: `make deb`. Nothing is compiled here.
# What they hold is said in configs/debian; the same programs and commit make the same packages.
#
# Usage: .ci/deb.sh BIN OUT     BIN: directory with pdmv2 and pdmv2-middlebox; OUT: gets the .deb files, OUT/dbgsym symbols
#   VERSION      of the packages; default: Cargo.toml's and where in git it is, 0.1.0~git123.abcdef0 before the tag v0.1.0
#   DPKG_DEB     options for dpkg-deb, default: -Zxz
#   MAINTAINER   name and address, default: a place holder
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
[ $# = 2 ] || { sed -n 's/^# \(Usage.*\)/\1/p' "$0" >&2; exit 2; }
bin=$(cd "$1" && pwd)
for program in pdmv2 pdmv2-middlebox; do
    [ -x "$bin/$program" ] || { echo "$bin/$program is not there: make build" >&2; exit 1; }
done
for tool in dh dpkg-buildpackage; do
    command -v "$tool" >/dev/null || { echo "$tool is not there: apt-get install debhelper dpkg-dev" >&2; exit 1; }
done
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$root"

# 0.1.0 is after all that was built on the way to it, and before what is built on the way from it.
release=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
if [ -z "${VERSION:-}" ]; then
    VERSION=$release
    if git rev-parse -q --verify HEAD >/dev/null 2>&1; then
        tag="v$release" hash=$(git rev-parse --short=7 HEAD)
        if ! git rev-parse -q --verify "refs/tags/$tag" >/dev/null; then
            VERSION="$release~git$(git rev-list --count HEAD).$hash"
        elif [ "$(git rev-list --count "$tag..HEAD")" != 0 ]; then
            VERSION="$release+git$(git rev-list --count "$tag..HEAD").$hash"
        fi
    fi
fi
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)
fi
export SOURCE_DATE_EPOCH
maintainer=${MAINTAINER:-PDMv2 middlebox maintainers <maintainers@pdmv2-middlebox.invalid>}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
tree=$work/tree
mkdir -p "$tree/bin" "$tree/etc" "$tree/completions" "$tree/man/pdmv2" "$tree/man/pdmv2-middlebox" "$tree/pdmv2-middlebox.service.d"
umask 022
cp -r configs/debian "$tree/debian"
cp -r configs docs README.md CHANGELOG.md "$tree"
rm -rf "$tree/configs/debian"
chmod -R u=rwX,go=rX "$tree"
install -m 755 "$bin/pdmv2" "$bin/pdmv2-middlebox" "$tree/bin"
cp configs/box-a.toml "$tree/etc/box.toml"
mv "$tree/debian/pdmv2-operators.conf" "$tree/pdmv2-middlebox.service.d/group.conf"

# The units are written for programs that were installed by hand.
for unit in pdmv2-middlebox:pdmv2-middlebox pdmv2.pdmv2-registrar:pdmv2-registrar; do
    sed 's|/usr/local/bin/|/usr/bin/|' "configs/systemd/${unit#*:}.service" >"$tree/debian/${unit%:*}.service"
done

"$bin/pdmv2" man "$tree/man/pdmv2"
"$bin/pdmv2-middlebox" man "$tree/man/pdmv2-middlebox"
mv "$tree/debian/man/pdmv2-middlebox.toml.5" "$tree/man/pdmv2-middlebox"
mv "$tree/debian/man/pdmv2-registrar.toml.5" "$tree/man/pdmv2"
for program in pdmv2 pdmv2-middlebox; do
    "$bin/$program" completions bash >"$tree/completions/$program"
    "$bin/$program" completions zsh >"$tree/completions/_$program"
    "$bin/$program" completions fish >"$tree/completions/$program.fish"
done

sed -i "s|@MAINTAINER@|$maintainer|" "$tree/debian/control"
cat >"$tree/debian/changelog" <<END
pdmv2-middlebox ($VERSION) unstable; urgency=medium

  * What has changed: /usr/share/doc/pdmv2/CHANGELOG.md, in the package pdmv2.

 -- $maintainer  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
END

cd "$tree"
if ! dpkg-buildpackage -b -us -uc >"$work/log" 2>&1; then
    cat "$work/log" >&2
    exit 1
fi
# What dpkg-shlibdeps, dh_missing and the like think is worth saying.
grep -i 'warning' "$work/log" >&2 || true
rm -rf "$out"/pdmv2_*.deb "$out"/pdmv2-middlebox_*.deb "$out/dbgsym"
for package in "$work"/*.deb; do
    to=$out
    # Symbols for debuggers: not what 'apt install *.deb' is to take.
    case $package in *-dbgsym_*) to=$out/dbgsym && mkdir -p "$to" ;; esac
    cp "$package" "$to"
    echo "$to/${package##*/}"
done

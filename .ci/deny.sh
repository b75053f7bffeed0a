#!/bin/sh
# cargo-deny over deny.toml; installed when it is missing, as a program that is run once and not optimized. Advisories
# need RustSec's database: where it cannot be reached, that is said, and is no failure.
set -eu
cd "$(dirname "$0")/.."

version=0.20.2
if ! cargo deny --version >/dev/null 2>&1; then
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked cargo-deny --version "$version" || {
        # 'make deps' has the same but for advisories, and needs nothing.
        echo "cargo-deny cannot be installed: what it checks is NOT checked by it." >&2
        exit 0
    }
fi
cargo deny check bans licenses sources
if timeout 60 cargo deny fetch db >/dev/null 2>&1; then
    cargo deny check advisories
else
    echo "RustSec's database cannot be reached: advisories are NOT checked." >&2
fi

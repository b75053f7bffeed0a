#!/bin/sh
# What no lint of clippy's sees in every file, also in those that this build leaves out: no file above 450 lines, no
# function above 80, no `allow` or `expect` without a reason. Usage: .ci/house.sh [FILE...], all tracked files by default.
#
# Tables are excepted, and say so: a line that begins with `// A table:` and tells of what, as the function's first line,
# or among the first 40 of a file.
set -eu
cd "$(dirname "$0")/.."

# Data, what is generated, and what only grows.
[ $# -gt 0 ] || set -- $(git ls-files | grep -vE '\.(json|svg|lock|pcap|pcapng|png)$|^bench/results/|^CHANGELOG\.md$|^LICENSE$|proptest-regressions')

exec awk -v file_limit=450 -v function_limit=80 '
    function say(line, what) { printf "%s:%d: %s\n", file, line, what; bad = 1 }

    # rustfmt has made these shapes: a body ends with a brace below the first letter of what it belongs to.
    function function_end(first,    at, indent) {
        indent = lines[first]; sub(/[^ ].*/, "", indent)
        if (lines[first] ~ /[;}]$/) return first
        for (at = first; at <= count && lines[at] !~ /\{$/; at++) if (lines[at] ~ /;$/) return first
        for (at++; at <= count && lines[at] != indent "}"; at++) { }
        return at
    }

    function look(    at, end, name, attribute, from) {
        for (at = 1; at <= 40 && at <= count; at++) if (lines[at] ~ /^(\/\/|#) A table: ./) break
        if (count > file_limit && (at > 40 || at > count)) say(1, count " lines, " file_limit " at most")
        if (file !~ /\.rs$/) return
        for (at = 1; at <= count; at++) {
            if (lines[at] ~ /^ *(pub(\([a-z:_ ]+\))? )?(default )?(const )?(async )?(unsafe )?(extern "[^"]*" )?fn [a-z_]/) {
                end = function_end(at)
                name = lines[at]; sub(/.*fn /, "", name); sub(/[^a-zA-Z0-9_].*/, "", name)
                for (from = at; from < end && lines[from] !~ /\{$/; from++) { }
                if (end - at + 1 > function_limit && lines[from + 1] !~ /^ *\/\/ A table: ./)
                    say(at, "fn " name " has " end - at + 1 " lines, " function_limit " at most")
            }
            if (lines[at] ~ /^ *#!?\[(cfg_attr\(.*)?(allow|expect)\(/ || lines[at] ~ /^ *#!?\[cfg_attr\($/) {
                attribute = ""
                for (from = at; from <= count; from++) { attribute = attribute lines[from]; if (lines[from] ~ /\]( *\/\/.*)?$/) break }
                if (attribute ~ /(allow|expect)\(/ && attribute !~ /reason = "/) say(at, "allow without a reason")
            }
        }
    }

    FNR == 1 { if (count) look(); count = 0; file = FILENAME }
    { lines[++count] = $0 }
    END { if (count) look(); exit bad }
' "$@"

#!/usr/bin/env python3
"""Checks the dependencies against deny.toml, with what cargo itself knows: licences, sources, and crates in two
versions. It reads the part of cargo-deny's format that deny.toml uses, and refuses the rest, so that nothing is believed
to be checked that is not. `make deny` has cargo-deny check more.

Also finds dependencies that a package declares and no file of it names, as cargo-machete does.

Usage: .ci/dependencies.py [--metadata FILE] [--config FILE]
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KNOWN = {
    "graph": {"targets", "all-features"},
    "advisories": {"yanked", "unmaintained", "ignore"},
    "licenses": {"allow", "exceptions"},
    "bans": {"multiple-versions", "multiple-versions-include-dev", "wildcards", "allow-wildcard-paths", "skip"},
    "sources": {"unknown-registry", "unknown-git", "allow-registry", "allow-git"},
}


def cargo_metadata(targets):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    for target in targets:
        command += ["--filter-platform", target]
    ran = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE)
    if ran.returncode:
        sys.exit("cargo metadata failed")  # and has said why
    return json.loads(ran.stdout)


def allowed(expression, licences):
    """Whether an SPDX expression can be met by `licences`. Crates of old write OR as a slash."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    at = 0

    def term():
        nonlocal at
        token = tokens[at]
        at += 1
        if token == "(":
            value = either()
            if at >= len(tokens) or tokens[at] != ")":
                raise ValueError(expression)
            at += 1
            return value
        if token in (")", "AND", "OR", "WITH"):
            raise ValueError(expression)
        if tokens[at : at + 1] == ["WITH"]:
            token = " ".join(tokens[at - 1 : at + 2])
            at += 2
        return token in licences

    def both():
        nonlocal at
        value = term()
        while tokens[at : at + 1] == ["AND"]:
            at += 1
            value = term() and value
        return value

    def either():
        nonlocal at
        value = both()
        while tokens[at : at + 1] == ["OR"]:
            at += 1
            value = both() or value
        return value

    try:
        value = either()
    except IndexError:
        raise ValueError(expression) from None
    if at != len(tokens):
        raise ValueError(expression)
    return value


def licences(packages, config):
    for package in packages:
        also = [e["allow"] for e in config.get("exceptions", []) if e["crate"] == package["name"]]
        may = set(config["allow"]).union(*also)
        expression = package["license"]
        try:
            if not expression:
                yield f"{named(package)} names no licence"
            elif not allowed(expression, may):
                yield f"{named(package)} has the licence '{expression}', which deny.toml does not allow"
        except ValueError:
            yield f"{named(package)} has a licence that cannot be read: '{expression}'"


def sources(packages, config):
    registries = {"registry+" + registry for registry in config["allow-registry"]}
    for package in packages:
        source = package["source"]
        if source is None:
            if not os.path.realpath(package["manifest_path"]).startswith(os.path.realpath(ROOT) + os.sep):
                yield f"{named(package)} is outside of this tree: {package['manifest_path']}"
        elif source not in registries and source.removeprefix("git+").split("?")[0] not in config["allow-git"]:
            yield f"{named(package)} comes from {source}, which deny.toml does not allow"


def duplicates(packages, config):
    def skips(package, skip):
        name, _, version = skip["crate"].partition(":")
        return package["name"] == name and (package["version"] + ".").startswith(version + ".")

    versions, used = {}, set()
    for package in packages:
        found = [i for i, skip in enumerate(config["skip"]) if skips(package, skip)]
        used.update(found)
        if not found:
            versions.setdefault(package["name"], set()).add(package["version"])
    for name, all_of_it in sorted(versions.items()):
        if len(all_of_it) > 1:
            yield f"{name} is there in several versions, and deny.toml does not say why: {', '.join(sorted(all_of_it))}"
    for i, skip in enumerate(config["skip"]):
        if not skip.get("reason"):
            yield f"deny.toml skips {skip['crate']} without a reason"
        elif i not in used or skip["crate"].partition(":")[0] not in versions:
            yield f"deny.toml skips {skip['crate']}, of which there are no longer two versions"


def wildcards(members):
    for package in members:
        for dependency in package["dependencies"]:
            if dependency["req"] == "*" and not dependency.get("path"):
                yield f"{package['name']} takes any version of {dependency['name']}"


def unused(members):
    """Dependencies whose name stands in no Rust file of their package. Those that are there for a feature of theirs, or
    for generated code, stand in the package's manifest where cargo-machete looks too."""
    for package in members:
        texts = []
        for target in package["targets"]:
            below = os.path.dirname(target["src_path"])
            if below == os.path.dirname(package["manifest_path"]):
                files = [pathlib.Path(target["src_path"])]  # a build script
            else:
                files = pathlib.Path(below).rglob("*.rs")
            texts += [file.read_text(encoding="utf-8") for file in files]
        text = "\n".join(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE) for text in texts)
        ignored = ((package["metadata"] or {}).get("cargo-machete") or {}).get("ignored", [])
        for dependency in package["dependencies"]:
            name = (dependency["rename"] or dependency["name"]).replace("-", "_")
            is_named = re.search(rf"\b{name}::|\b(?:use|extern crate)\s+{name}\b|\b{name} as\b", text)
            if not is_named and dependency["name"] not in ignored:
                yield f"{package['name']} depends on {dependency['name']} and does not use it"


def named(package):
    return f"{package['name']} {package['version']}"


def check(metadata, config):
    for section, keys in config.items():
        for key in set(keys) - KNOWN.get(section, set()):
            yield f"deny.toml has {section}.{key}, which this check does not know: teach it, or leave it out"
    resolved = {node["id"] for node in metadata["resolve"]["nodes"]}
    packages = [package for package in metadata["packages"] if package["id"] in resolved]
    members = [package for package in packages if package["id"] in set(metadata["workspace_members"])]
    if len(packages) < 50 or not members:
        yield f"only {len(packages)} packages and {len(members)} of our own were seen"
    yield from licences(packages, config["licenses"])
    yield from sources(packages, config["sources"])
    yield from duplicates(packages, config["bans"])
    yield from wildcards(members)
    yield from unused(members)


def main():
    arguments = argparse.ArgumentParser(description="Dependencies against deny.toml")
    arguments.add_argument("--metadata", help="what `cargo metadata` printed, instead of asking it")
    arguments.add_argument("--config", default=os.path.join(ROOT, "deny.toml"))
    chosen = arguments.parse_args()
    with open(chosen.config, "rb") as file:
        config = tomllib.load(file)
    if chosen.metadata:
        with open(chosen.metadata, encoding="utf-8") as file:
            metadata = json.load(file)
    else:
        metadata = cargo_metadata(config["graph"]["targets"])
    wrong = list(check(metadata, config))
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

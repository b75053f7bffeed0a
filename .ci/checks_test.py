#!/usr/bin/env python3
"""The checks of the tree find what they are there to find."""

import copy
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import dependencies  # noqa: E402

CONFIG = {
    "licenses": {"allow": ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"], "exceptions": []},
    "bans": {"multiple-versions": "deny", "skip": []},
    "sources": {"allow-registry": ["https://registry.example/index"], "allow-git": []},
}


def metadata(*more, licence="MIT"):
    """60 crates of a registry and one of our own, which uses the first."""
    ours = {
        "name": "ours", "version": "1.0.0", "id": "ours", "license": "MIT", "source": None, "metadata": None,
        "manifest_path": os.path.join(dependencies.ROOT, "ours/Cargo.toml"), "targets": [],
        "dependencies": [],
    }
    crates = [
        {**ours, "name": f"crate-{i}", "id": f"crate-{i}", "license": licence,
         "source": "registry+https://registry.example/index"} for i in range(60)
    ]
    packages = [ours, *crates, *({**crates[0], **crate} for crate in more)]
    return {
        "packages": packages, "workspace_members": ["ours"],
        "resolve": {"nodes": [{"id": package["id"]} for package in packages]},
    }


class Dependencies(unittest.TestCase):
    def wrong(self, seen, **changes):
        config = copy.deepcopy(CONFIG)
        for section, values in changes.items():
            config[section].update(values)
        return list(dependencies.check(seen, config))

    def test_nothing_is_wrong(self):
        self.assertEqual(self.wrong(metadata()), [])

    def test_licences(self):
        for licence, good in {
            "MIT": True, "MIT/Apache-2.0": True, "GPL-3.0 OR MIT": True, "(MIT OR GPL-3.0) AND Apache-2.0": True,
            "Apache-2.0 WITH LLVM-exception": True, "MIT AND GPL-3.0": False, "GPL-3.0-only": False, None: False,
            "Apache-2.0 WITH other-exception": False, "MIT AND": False, "(MIT": False, "MIT MIT": False,
        }.items():
            found = self.wrong(metadata({"name": "new", "id": "new", "license": licence}))
            self.assertEqual(len(found), 0 if good else 1, f"{licence}: {found}")
        only_there = {"exceptions": [{"crate": "new", "allow": ["GPL-3.0"]}]}
        new = {"name": "new", "id": "new", "license": "GPL-3.0"}
        self.assertEqual(self.wrong(metadata(new), licenses=only_there), [])
        self.assertEqual(len(self.wrong(metadata(new, {**new, "name": "other", "id": "other"}), licenses=only_there)), 1)

    def test_sources(self):
        for source in ("git+https://code.example/new?branch=main#123", "registry+https://elsewhere.example/index"):
            self.assertEqual(len(self.wrong(metadata({"name": "new", "id": "new", "source": source}))), 1, source)
        git = {"name": "new", "id": "new", "source": "git+https://code.example/new?branch=main#123"}
        self.assertEqual(self.wrong(metadata(git), sources={"allow-git": ["https://code.example/new"]}), [])
        outside = {"name": "new", "id": "new", "source": None, "manifest_path": "/elsewhere/Cargo.toml"}
        self.assertEqual(len(self.wrong(metadata(outside))), 1)

    def test_duplicates(self):
        second = {"id": "second", "version": "2.1.0"}
        skip = {"crate": "crate-0:2", "reason": "two who have not met"}
        self.assertEqual(len(self.wrong(metadata(second))), 1)
        self.assertEqual(self.wrong(metadata(second), bans={"skip": [skip]}), [])
        third = {"id": "third", "version": "3.0.0"}
        self.assertEqual(len(self.wrong(metadata(second, third), bans={"skip": [skip]})), 1, "a third version")
        self.assertEqual(len(self.wrong(metadata(second), bans={"skip": [{"crate": "crate-0:2"}]})), 1, "no reason")
        self.assertEqual(len(self.wrong(metadata(), bans={"skip": [skip]})), 1, "a skip that nothing needs")

    def test_what_the_check_does_not_know(self):
        self.assertEqual(len(self.wrong(metadata(), bans={"deny": ["crate-1"]})), 1)

    def test_unused(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "lib.rs"), "w", encoding="utf-8") as file:
                file.write("// use crate_2::Nothing;\nuse crate_0::Thing;\nfn f() { crate_1::g() }\n")
            seen = metadata()
            seen["packages"][0]["targets"] = [{"src_path": file.name}]
            seen["packages"][0]["dependencies"] = [
                {"name": f"crate-{i}", "rename": None, "req": "^1"} for i in range(3)
            ]
            self.assertEqual(self.wrong(seen), ["ours depends on crate-2 and does not use it"])
            seen["packages"][0]["metadata"] = {"cargo-machete": {"ignored": ["crate-2"]}}
            self.assertEqual(self.wrong(seen), [])
            seen["packages"][0]["dependencies"][0]["req"] = "*"
            self.assertEqual(self.wrong(seen), ["ours takes any version of crate-0"])


class House(unittest.TestCase):
    def says(self, text, suffix=".rs"):
        with tempfile.NamedTemporaryFile("w", suffix=suffix, encoding="utf-8") as file:
            file.write(text)
            file.flush()
            house = os.path.join(dependencies.ROOT, ".ci/house.sh")
            ran = subprocess.run([house, file.name], check=False, stdout=subprocess.PIPE, text=True)
        self.assertEqual(ran.returncode != 0, bool(ran.stdout), "what is said is an error")
        return [line.split(":", 1)[1] for line in ran.stdout.splitlines()]

    def test_files(self):
        self.assertEqual(self.says("//\n" * 450), [])
        self.assertEqual(self.says("//\n" * 451), ["1: 451 lines, 450 at most"])
        self.assertEqual(self.says("#\n" * 451, ".toml"), ["1: 451 lines, 450 at most"])
        self.assertEqual(self.says("// A table: of lines.\n" + "//\n" * 450), [])
        self.assertEqual(len(self.says("//\n" * 450 + "// A table: said too late.\n")), 1)

    def test_functions(self):
        def function(lines, first="    let a = 1;\n", head="pub(crate) async fn long() {\n"):
            return "/// Text.\n" + head + first + "\n" * (lines - head.count("\n") - 2) + "}\n"

        self.assertEqual(self.says(function(80)), [])
        self.assertEqual(self.says(function(81)), ["2: fn long has 81 lines, 80 at most"])
        self.assertEqual(self.says(function(81, "    // A table: of cases.\n")), [])
        self.assertEqual(self.says(function(80, head="fn long(\n    a: u8,\n) -> u8 {\n")), [])
        self.assertEqual(len(self.says(function(81, head="fn long(\n    a: u8,\n) -> u8\nwhere\n    u8: Copy,\n{\n"))), 1)
        inner = "impl A {\n    fn first(&self) -> u8;\n    fn second() {}\n    fn third() {\n" + "\n" * 70 + "    }\n}\n"
        self.assertEqual(self.says(inner + "\n" * 90), [])

    def test_reasons(self):
        for text, good in {
            '#[allow(dead_code, reason = "why")]': True, "#[allow(dead_code)]": False, "#![allow(dead_code)]": False,
            "    #[expect(dead_code)] // why": False, "#[cfg_attr(loom, allow(dead_code))]": False,
            '#![allow(\n    dead_code,\n    reason = "why"\n)]': True, "#![allow(\n    dead_code,\n    unused\n)]": False,
            "self.allow(1);": True, "// #[allow(dead_code)]": True,
        }.items():
            self.assertEqual(len(self.says(text + "\nstruct A;\n")), 0 if good else 1, text)


if __name__ == "__main__":
    unittest.main()

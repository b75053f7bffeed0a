#!/usr/bin/env python3
"""An image of .ci/oci.py: digests and sizes are right, and what is in it runs, with nothing else of this machine than /dev,
/proc and /sys: `make oci-test`. Needs root, and some seconds.

Usage: .ci/oci_test.py IMAGE.tar
"""

import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

BOX = """[node]
name = "a"
[ports.inside]
device = "net_null0"
[ports.outside]
device = "net_null1"
[workers]
idle = "sleep"
"""
# In a mount namespace of its own, which goes with it.
RUN = """mount -t proc proc "$1/proc" && mount --rbind /sys "$1/sys" && mount --rbind /dev "$1/dev" && root=$1 && shift &&
exec timeout --signal=TERM --kill-after=20 8 chroot "$root" "$@"
"""


def blob(files, described):
    octets = files["blobs/" + described["digest"].replace(":", "/")]
    assert len(octets) == described["size"], described
    assert "sha256:" + hashlib.sha256(octets).hexdigest() == described["digest"], described
    return octets


def run(root, *words):
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", RUN, "sh", root, *words]
    ran = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return ran.stdout


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.split("\n\n")[-1])
    with tarfile.open(sys.argv[1]) as image:
        files = {entry.name: image.extractfile(entry).read() for entry in image if entry.isfile()}
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    manifest = json.loads(blob(files, json.loads(files["index.json"])["manifests"][0]))
    config = json.loads(blob(files, manifest["config"]))
    layers = [blob(files, layer) for layer in manifest["layers"]]
    with tempfile.TemporaryDirectory() as root:
        for layer, described in zip(layers, config["rootfs"]["diff_ids"], strict=True):
            with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as entries:
                entries.extractall(root)
            plain = subprocess.run(["gzip", "-dc"], input=layer, check=True, stdout=subprocess.PIPE).stdout
            assert "sha256:" + hashlib.sha256(plain).hexdigest() == described
        assert not pathlib.Path(root, "bin/sh").exists() and not pathlib.Path(root, "etc/pdmv2/box.toml").exists()
        said = run(root, "/usr/bin/pdmv2", "--version")
        assert said.startswith("pdmv2 "), said
        pathlib.Path(root, "etc/pdmv2/box.toml").write_text(BOX, encoding="utf-8")
        said = run(root, *config["config"]["Entrypoint"], *config["config"]["Cmd"])
        assert "ready: forwarding between net_null0 and net_null1" in said and "stopping" in said, said
        assert "PANIC" not in said and "Error" not in said, said
    print("The image is as it should be: digests, and a box that forwards.")


if __name__ == "__main__":
    main()

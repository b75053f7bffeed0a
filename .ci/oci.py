#!/usr/bin/env python3
"""Makes an OCI image of the packages, without a daemon and without root: `make oci`. `docs/operations.md` says how it is run.

Two layers: what the programs and DPDK's drivers load of this machine (nothing else of it, no shell), and the packages' files.
So the machine that makes it has to be of the release that the packages were made on. The same files make the same image.

Usage: .ci/oci.py DEBS OUT.tar     DEBS: directory with the packages, from .ci/deb.sh
"""

import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

PROGRAMS = ["usr/bin/pdmv2-middlebox", "usr/bin/pdmv2"]
# Who is root, and how names are looked up: the C library asks.
FILES = {
    "etc/passwd": "root:x:0:0:root:/:/sbin/nologin\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
# To look up names; loaded by name, so that no program tells of them.
BY_NAME = ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"]
# Made without anything in them. A configuration is mounted at the first.
DIRECTORIES = {"etc/pdmv2": 0o755, "run/pdmv2": 0o755, "tmp": 0o1777, "var/lib/pdmv2": 0o700, "proc": 0o555, "sys": 0o555, "dev": 0o755}
# DPDK's own files are in /var/run/dpdk.
LINKS = {"lib": "usr/lib", "lib64": "usr/lib64", "var/run": "../run"}


def loads(path):
    """The libraries that a program or library loads, as the dynamic linker finds them."""
    ran = subprocess.run(["ldd", path], check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if "not found" in ran.stdout:
        sys.exit(f"{path}: {ran.stdout}\nThese libraries are not on this machine; install DPDK's drivers (librte-meta-net)")
    return re.findall(r"(/\S+) \(0x", ran.stdout)


def libraries(programs):
    """Paths in the image, and what is there: octets, or where a link leads."""
    triple = subprocess.run(["dpkg-architecture", "-qDEB_HOST_MULTIARCH"], check=True, stdout=subprocess.PIPE, text=True)
    room = pathlib.Path("/usr/lib", triple.stdout.strip())
    drivers = sorted(room.glob("dpdk/pmds-*/*"))
    if not drivers:
        sys.exit(f"{room}/dpdk: no drivers; apt-get install librte-meta-net librte-meta-bus librte-meta-mempool")
    # What libibverbs loads for mlx4 and mlx5.
    verbs = sorted(room.glob("libibverbs/*")) + sorted(pathlib.Path("/etc/libibverbs.d").glob("*"))
    wanted = [*drivers, *verbs, *(room / name for name in BY_NAME if (room / name).exists())]
    for path in [*programs, *drivers, *verbs]:
        wanted += map(pathlib.Path, loads(path))
    # A link stays one: a library that is there under two names would be loaded twice.
    found = {}
    while wanted:
        path = wanted.pop()
        # /lib is /usr/lib on merged systems; in the image it is a link too.
        path = path.parent.resolve() / path.name
        if path not in found:
            found[path] = os.readlink(path) if path.is_symlink() else path.read_bytes()
            if path.is_symlink():
                wanted.append(path.parent / found[path])
    return {str(path).lstrip("/"): what for path, what in found.items()}


def tar(entries):
    """A layer: `(path, mode, octets or link's target or None)`, in order, with nothing that differs from run to run."""
    octets = io.BytesIO()
    with tarfile.open(fileobj=octets, mode="w", format=tarfile.GNU_FORMAT) as out:
        made = set()
        for path, mode, what in sorted(entries, key=lambda entry: entry[0]):
            parents = [str(parent) for parent in reversed(pathlib.PurePosixPath(path).parents) if str(parent) != "."]
            for parent in [*parents, *([path] if what is None else [])]:
                if parent not in made:
                    made.add(parent)
                    entry = tarfile.TarInfo(parent)
                    entry.type, entry.mode = tarfile.DIRTYPE, mode if parent == path else 0o755
                    out.addfile(entry)
            if what is None:
                continue
            entry = tarfile.TarInfo(path)
            entry.mode = mode
            if isinstance(what, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, what
                out.addfile(entry)
            else:
                entry.size = len(what)
                out.addfile(entry, io.BytesIO(what))
    return octets.getvalue()


def of_packages(tree):
    """What the programs need of the packages: they themselves, and the monitoring files; documents stay in the packages."""
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        if path.is_file() and (name in PROGRAMS or name.startswith(("usr/share/pdmv2/", "etc/pdmv2/"))):
            # The example is no configuration of this machine's: beside what is mounted it would only mislead.
            name = name.replace("etc/pdmv2/box.toml", "usr/share/pdmv2/box.toml")
            yield name, 0o755 if name in PROGRAMS else 0o644, path.read_bytes()


class Layout:
    """An OCI image layout in a tar file."""

    def __init__(self):
        self.blobs = {}

    def blob(self, octets, kind):
        digest = hashlib.sha256(octets).hexdigest()
        self.blobs[f"blobs/sha256/{digest}"] = octets
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(octets)}

    def json(self, value, kind):
        return self.blob(json.dumps(value, sort_keys=True).encode(), kind)

    def write(self, path, manifest, version):
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{**manifest, "annotations": {"org.opencontainers.image.ref.name": version}}],
        }
        files = {**self.blobs, "oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode()}
        pathlib.Path(path).write_bytes(tar((name, 0o644, octets) for name, octets in files.items()))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.split("\n\n")[-1])
    debs = sorted(pathlib.Path(sys.argv[1]).glob("pdmv2*_*.deb"))
    if len(debs) != 2:
        sys.exit(f"{sys.argv[1]}: not the two packages: make deb")
    field = lambda name: subprocess.run(["dpkg-deb", "-f", debs[0], name], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    layout, layers = Layout(), []
    with tempfile.TemporaryDirectory() as scratch:
        tree = pathlib.Path(scratch)
        for deb in debs:
            subprocess.run(["dpkg-deb", "-x", deb, tree], check=True)
        of_machine = [(name, 0o755, what) for name, what in libraries([tree / p for p in PROGRAMS]).items()]
        of_machine += [(name, 0o644, text.encode()) for name, text in FILES.items()]
        of_machine += [(name, mode, None) for name, mode in DIRECTORIES.items()]
        of_machine += [(name, 0o777, target) for name, target in LINKS.items()]
        for entries in (of_machine, of_packages(tree)):
            layers.append(tar(entries))
    # Tags have no '~' and no '+'.
    version = re.sub(r"[^A-Za-z0-9._-]", "-", field("Version"))
    config = layout.json(
        {
            "architecture": field("Architecture"),
            "os": "linux",
            "config": {
                "Entrypoint": ["/usr/bin/pdmv2-middlebox"],
                "Cmd": ["run", "--config", "/etc/pdmv2/box.toml"],
                "StopSignal": "SIGTERM",
                "Labels": {"org.opencontainers.image.title": "pdmv2-middlebox", "org.opencontainers.image.version": field("Version")},
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
        },
        "config.v1+json",
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layout.blob(gzip.compress(layer, 6, mtime=0), "layer.v1.tar+gzip") for layer in layers],
    }
    layout.write(sys.argv[2], layout.json(manifest, "manifest.v1+json"), version)
    print(f"{sys.argv[2]}: {os.path.getsize(sys.argv[2]) >> 20} MiB, {version}")


if __name__ == "__main__":
    main()

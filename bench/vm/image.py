"""The disk of the virtual machines: Debian 12 as an operator finds it, made by mmdebstrap without a daemon and without a boot.

What the packages ask for is not installed in it: it lies in a repository on the disk, so that `apt install` in a machine
that has no network does what it does anywhere, and fails when the packages forget to name something.
"""

import hashlib
import shutil
import subprocess
import time
from pathlib import Path

# A machine that somebody can log in to, and nothing of DPDK's.
BASE = (
    "linux-image-amd64 systemd systemd-sysv udev dbus kmod pciutils iproute2 openssh-server openssh-client sudo procps curl"
    " iputils-ping python3"
).split()
# What the README has the reader install, and what the packages recommend or suggest.
OFFERED = "dpdk librte-meta-net librte-meta-bus librte-meta-mempool driverctl".split()

HOOK = r"""#!/bin/sh
# mmdebstrap calls this with the new root.
set -eu
root=$1 rig=$2
install -d -m 700 "$root/root/.ssh"
install -m 600 "$rig/id.pub" "$root/root/.ssh/authorized_keys"
install -m 600 "$rig/id" "$root/root/.ssh/id_ed25519"
printf 'Host *\n    StrictHostKeyChecking no\n    UserKnownHostsFile /dev/null\n    LogLevel ERROR\n' >"$root/root/.ssh/config"
echo pdmv2 >"$root/etc/hostname"
printf '127.0.0.1 localhost pdmv2\n192.168.77.11 box-a.example.net\n192.168.77.12 box-b.example.net\n' >"$root/etc/hosts"
printf '/dev/vda / ext4 defaults,noatime 0 1\n' >"$root/etc/fstab"
mkdir -p "$root/etc/systemd/network"
# By its PCI slot, which is the same in both machines; the last octet of the MAC address gives the address.
for last in 11 12; do
    printf '[Match]\nMACAddress=52:54:00:77:00:%s\n[Network]\nAddress=192.168.77.%s/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' \
        "$last" "$last" >"$root/etc/systemd/network/10-management-$last.network"
done
printf 'GSSAPIAuthentication no\nUseDNS no\n' >"$root/etc/ssh/sshd_config.d/rig.conf"
mkdir -p "$root/var/log/journal"
chroot "$root" systemctl -q enable systemd-networkd ssh
chroot "$root" systemctl -q disable apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer || true
# As a Debian that was installed has it: what is recommended comes too.
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
# The repository.
install -d "$root/srv/repository"
chroot "$root" apt-get install -y -qq --no-install-recommends --download-only $3 >/dev/null
mv "$root"/var/cache/apt/archives/*.deb "$root/srv/repository"
ls "$root/srv/repository" | grep -q librte || { echo "nothing was fetched for the repository" >&2; exit 1; }
(cd "$root/srv/repository" && dpkg-scanpackages -m . >Packages 2>/dev/null)
rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/*
echo 'deb [trusted=yes] file:/srv/repository ./' >"$root/etc/apt/sources.list"
chroot "$root" apt-get update -qq
# ssh must be quick to answer at the first boot.
chroot "$root" ssh-keygen -q -A
"""


class Image:
    """Kernel, initial disk, root disk and the key to log in with, in a directory; made when it is not there."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.kernel, self.initrd = directory / "vmlinuz", directory / "initrd"
        self.disk, self.key = directory / "root.img", directory / "id"

    def make(self, say) -> float:
        """Makes it, if what it is made from has changed. Gives the seconds that took."""
        recipe = hashlib.sha256(" ".join([HOOK, *BASE, *OFFERED]).encode()).hexdigest()
        stamp = self.directory / "recipe"
        if stamp.exists() and stamp.read_text() == recipe and self.disk.exists():
            return 0.0
        begin = time.monotonic()
        self.directory.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        say("making the image of the machines")
        for old in (self.key, self.key.with_suffix(".pub"), self.disk):
            old.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        hook, root = self.directory / "hook.sh", self.directory / "root"
        hook.write_text(HOOK)
        hook.chmod(0o755)
        shutil.rmtree(root, ignore_errors=True)
        log = self.directory / "image.log"
        command = [
            # The repository's lists stay.
            "mmdebstrap", "--variant=minbase", "--mode=root", "--skip=cleanup/apt/lists", "--include=" + ",".join(BASE),
            '--aptopt=Apt::Install-Recommends "false"',
            f"--customize-hook={hook} \"$1\" {self.directory} '{' '.join(OFFERED)}'",
            "bookworm", root,
        ]  # fmt: skip
        with log.open("w") as out:
            if subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode:
                raise RuntimeError(f"mmdebstrap has failed: {log}\n{log.read_text()[-2000:]}")
        shutil.copy(next(root.glob("boot/vmlinuz-*")), self.kernel)
        shutil.copy(next(root.glob("boot/initrd.img-*")), self.initrd)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, self.disk, "3G"], check=True)
        shutil.rmtree(root)
        stamp.write_text(recipe)
        return time.monotonic() - begin

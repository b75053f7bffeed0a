"""A virtual machine: QEMU with two emulated NICs behind an IOMMU, its monitor, and a shell in it over ssh."""

import ctypes
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from image import Image

# Each kind of NIC: QEMU's device, and what it can here.
#   queues       that QEMU emulates and the driver takes
#   jumbo        the MTU inside and outside that the driver takes for long frames; None: it takes none
#   driver       DPDK's name
#   minimum      the QEMU that has it
MODELS = {
    "vmxnet3": {"device": "vmxnet3", "driver": "net_vmxnet3", "queues": 1, "jumbo": (8960, 9000)},
    "e1000e": {"device": "e1000e", "driver": "net_e1000_em", "queues": 1, "jumbo": (8960, 9000)},
    "e1000": {"device": "e1000-82545em", "driver": "net_e1000_em", "queues": 1, "jumbo": (8960, 9000)},
    "virtio": {"device": "virtio-net-pci", "driver": "net_virtio", "queues": 2, "jumbo": (8960, 9000)},
    "igb": {"device": "igb", "driver": "net_e1000_igb", "queues": 2, "jumbo": (8960, 9000), "minimum": (8, 0)},
}
# PCI addresses in the machine: each NIC behind a root port of its own, so that it can be unplugged.
PCI = {"inside": "0000:01:00.0", "outside": "0000:02:00.0"}
SIDES = ("inside", "outside")


def qemu_version() -> tuple[int, ...]:
    """Of the QEMU that is installed."""
    said = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.split("version ")[1].split()[0].split(".")[:2])


class Failed(Exception):
    """A command in a machine has failed; the text is what it said."""


@dataclass
class Kind:
    """How machines are started: which NICs, with so many queues, by what means."""

    model: str
    queues: int = 1
    accel: str = "tcg"
    memory: int = 2048


class Machine:
    """Machine 'a' or 'b'. Its taps are made in the namespace `where`, by the names that `taps` gives."""

    def __init__(self, name: str, image: Image, directory: Path, where: str, management: str):
        self.name, self.image, self.directory = name, image, directory
        self.where, self.management = where, management
        self.number = {"a": 11, "b": 12}[name]
        self.address = f"192.168.77.{self.number}"
        self.process: subprocess.Popen | None = None
        self.kind: Kind | None = None
        self.console = directory / f"{name}.console"

    @property
    def taps(self) -> dict[str, str]:
        """The taps that QEMU makes, by what they are for."""
        return {side: f"vm-{self.name}-{side[:3]}" for side in (*SIDES, "management")}

    def mac(self, side: str) -> str:
        """Of a port."""
        return f"52:54:00:{self.number}:00:0{SIDES.index(side) + 1}"

    def _device(self, side: str) -> str:
        model, queues = MODELS[self.kind.model], self.kind.queues
        device = model["device"]
        if device.startswith("virtio"):
            # So that the device takes the IOMMU's way, as real ones do; with several queues it hashes as it is told.
            device += ",iommu_platform=on,disable-legacy=on,rx_queue_size=1024"
            if queues > 1:
                device += f",mq=on,vectors={2 * queues + 2},rss=on,hash=on"
        slot = SIDES.index(side) + 1
        return f"{device},id={side},netdev=net-{side},mac={self.mac(side)},bus=port{slot}"

    def _arguments(self) -> list[str]:
        taps, kind = self.taps, self.kind
        # no_timer_check: on a busy host the timer is late, and the kernel would take it for broken.
        arguments = [
            "qemu-system-x86_64", "-name", f"pdmv2-{self.name}", "-machine", "q35,kernel-irqchip=split",
            "-smp", "2", "-m", str(kind.memory), "-display", "none", "-nodefaults",
            "-device", "intel-iommu,intremap=on,caching-mode=on,device-iotlb=on",
            "-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd),
            "-append", "root=/dev/vda rw console=ttyS0 quiet iommu=pt no_timer_check panic=1",
            "-drive", f"id=disk,file={self.disk},if=virtio,format=qcow2,cache=unsafe",
            "-netdev", f"tap,id=management,ifname={taps['management']},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=management,mac=52:54:00:77:00:{self.number},addr=0x8",
            "-serial", f"file:{self.console}", "-qmp", f"unix:{self._monitor},server=on,wait=off",
        ]  # fmt: skip
        if kind.accel == "kvm":
            arguments += ["-accel", "kvm", "-cpu", "host"]
        else:
            arguments += ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max"]
        for slot, side in enumerate(SIDES, 1):
            many = f",queues={kind.queues}" if MODELS[kind.model]["device"].startswith("virtio") and kind.queues > 1 else ""
            arguments += [
                "-netdev", f"tap,id=net-{side},ifname={taps[side]},script=no,downscript=no{many}",
                "-device", f"pcie-root-port,id=port{slot},chassis={slot},slot={slot},bus=pcie.0,addr=0x1{slot}",
                "-device", self._device(side),
            ]  # fmt: skip
        return arguments

    @property
    def disk(self) -> Path:
        """Its own: what it writes is kept beside the image."""
        return self.directory / f"{self.name}.qcow2"

    @property
    def _monitor(self) -> Path:
        return self.directory / f"{self.name}.qmp"

    def freeze(self, file: Path) -> None:
        """Keeps the disk as it is now in `file`, for other machines to begin with."""
        self.run("sync")
        before = self.directory / f"{self.name}-before.qcow2"
        self.monitor("blockdev-snapshot-sync", device="disk", **{"snapshot-file": str(before), "format": "qcow2"})
        # What is written from now on is in the new file, which has the old one below it.
        subprocess.run(["cp", "--sparse=always", self.disk, file], check=True)

    def start(self, kind: Kind, begin: Path | None) -> None:
        """Starts it, with the disk that `begin` has (by `freeze`), or the image's."""
        self.kind = kind
        self.disk.unlink(missing_ok=True)
        below = (begin, "qcow2") if begin else (self.image.disk, "raw")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", below[0], "-F", below[1], self.disk], check=True)
        self._monitor.unlink(missing_ok=True)
        log = (self.directory / f"{self.name}.qemu").open("w")
        inside = ["ip", "netns", "exec", self.where, *os.environ.get("VM_NICE", "").split(), *self._arguments()]
        self.process = subprocess.Popen(
            inside, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, preexec_fn=_end_with_this_process
        )

    def end(self) -> None:
        """Ends it as a power cut does."""
        self.forget_connection()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    # The shell in it.

    @property
    def _ssh(self) -> list[str]:
        options = {
            "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR", "ConnectTimeout": "3",
            "ServerAliveInterval": "5", "ServerAliveCountMax": "6", "ControlMaster": "auto", "ControlPersist": "60",
            "ControlPath": str(self._control), "BatchMode": "yes",
        }  # fmt: skip
        return ["-i", str(self.image.key), *(f"-o{name}={value}" for name, value in options.items())]

    @property
    def _control(self) -> Path:
        return self.directory / f"{self.name}.ssh"

    def forget_connection(self) -> None:
        """After its machine has gone, a shared connection would only be waited for."""
        subprocess.run(["ssh", *self._ssh, "-O", "exit", f"root@{self.address}"], capture_output=True, check=False)
        self._control.unlink(missing_ok=True)

    def run(self, command: str, timeout: float = 120, check: bool = True) -> str:
        """Runs a shell command as root, and gives what it says, both streams.

        Raises `Failed` when it does."""
        line = ["ip", "netns", "exec", self.management, "ssh", *self._ssh, f"root@{self.address}", command]
        try:
            done = subprocess.run(
                line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                timeout=timeout, errors="replace", check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            raise Failed(f"machine {self.name}: '{command}' takes longer than {timeout} s") from late
        if check and done.returncode:
            raise Failed(f"machine {self.name}: '{command}' ends with {done.returncode}:\n{done.stdout[-3000:]}")
        return done.stdout

    def put(self, *files: Path, to: str) -> None:
        """Copies files into it."""
        line = ["ip", "netns", "exec", self.management, "scp", "-q", *self._ssh, *map(str, files), f"root@{self.address}:{to}"]
        subprocess.run(line, check=True, timeout=120)

    def write(self, text: str, to: str) -> None:
        """Makes a file in it."""
        self.run(f"printf %s {shlex.quote(text)} > {shlex.quote(to)}")

    def wait(self, timeout: float) -> float:
        """Waits for its shell. Gives the seconds that took."""
        begin = time.monotonic()
        while True:
            if self.process.poll() is not None:
                raise Failed(f"QEMU has ended: {(self.directory / f'{self.name}.qemu').read_text()[-2000:]}")
            try:
                if self.run("echo here", timeout=10, check=False).strip() == "here":
                    return time.monotonic() - begin
            except Failed:
                pass
            if time.monotonic() - begin > timeout:
                raise Failed(f"machine {self.name} does not answer after {timeout} s; its console is {self.console}")
            time.sleep(0.3)

    # The monitor.

    def monitor(self, execute: str, wait_for: str | None = None, timeout: float = 30, **arguments) -> dict:
        """One QMP command; with `wait_for`, until this event has come."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(self._monitor))
            stream = connection.makefile("rw", encoding="utf-8", newline="\n")
            stream.readline()
            events: set[str] = set()
            answer: dict = {}
            for command in ({"execute": "qmp_capabilities"}, {"execute": execute, "arguments": arguments}):
                stream.write(json.dumps(command) + "\n")
                stream.flush()
                answer = self._said(stream, events, lambda said: "return" in said)
            if wait_for and wait_for not in events:
                self._said(stream, events, lambda said: said.get("event") == wait_for)
            return answer

    def _said(self, stream, events: set[str], wanted) -> dict:
        for line in stream:
            said = json.loads(line)
            if "error" in said:
                raise Failed(f"machine {self.name}, monitor: {said['error']['desc']}")
            events.add(said.get("event", ""))
            if wanted(said):
                return said
        raise Failed(f"machine {self.name}: the monitor has gone")

    def set_link(self, side: str, up: bool) -> None:
        """Takes a port's cable out, or puts it in."""
        self.monitor("set_link", name=side, up=up)

    def unplug(self, side: str) -> None:
        """Asks for a NIC, and waits until the machine has let it go."""
        self.monitor("device_del", wait_for="DEVICE_DELETED", id=side, timeout=40)

    def plug(self, side: str) -> None:
        """Puts the NIC in again."""
        device, *options = self._device(side).split(",")
        arguments = dict(option.split("=", 1) for option in options)
        for name, value in arguments.items():
            if value.isdigit() and name in ("vectors",):
                arguments[name] = int(value)
            elif value in ("on", "off"):
                arguments[name] = value == "on"
        self.monitor("device_add", driver=device, **arguments)


def _end_with_this_process() -> None:
    """QEMU is not to outlive who has started it, whatever becomes of that one."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def kvm_may_work() -> bool:
    """Whether it is worth trying: some machines have the device, and run no guest with it."""
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def tools_missing() -> list[str]:
    """Programs that the rig calls and that are not here."""
    tools = "qemu-system-x86_64 qemu-img mmdebstrap mke2fs ssh scp ip ping tcpdump ethtool dpkg-scanpackages iperf3".split()
    return [tool for tool in tools if not shutil.which(tool)]

"""Two machines with a box each, made by the README's chapter, and what the checks ask of them."""

import hashlib
import re
import shlex
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import chapter
from image import Image
from machine import MODELS, PCI, Failed, Kind, Machine
from wires import HOSTS, OTHER, Wires, inside

UNIT = "pdmv2-middlebox"
# So long a machine may take to boot, and a box to start, under emulation on busy cores.
BOOT, START = 300, 120


class Lab:
    """The machines and wires of one kind of NIC."""

    def __init__(self, image: Image, directory: Path, debs: Path, report):
        self.image, self.directory, self.debs, self.report = image, directory, debs, report
        directory.mkdir(parents=True, exist_ok=True)
        self.wires = Wires()
        self.machines = {name: Machine(name, image, directory, "vm-Q", "vm-G") for name in "ab"}
        self.mtu: tuple[int | None, int | None] = (None, 1540)
        self.cores = [0]
        self.installed = directory.parent / "installed.qcow2"
        # The sum of the packages that are in it.
        self.holds = directory.parent / "installed.sha256"
        self.begin: Path | None = None

    @property
    def a(self) -> Machine:
        """The clients' machine."""
        return self.machines["a"]

    @property
    def b(self) -> Machine:
        """The servers' machine."""
        return self.machines["b"]

    def boot(self, kind: Kind) -> None:
        """Starts both machines, and waits for their shells. Once the packages were installed, later ones begin with that."""
        self.begin = self.installed if self.installed.exists() else None
        for machine in self.machines.values():
            machine.start(kind, self.begin)
        for machine in self.machines.values():
            self.wires.connect(machine)
        for machine in self.machines.values():
            machine.wait(BOOT)

    def end(self) -> None:
        """Ends the machines, and removes the wires."""
        for machine in self.machines.values():
            machine.end()
        self.wires.remove()

    # The chapter.

    def install(self) -> None:
        """The README's chapter, step by step, on both machines. Each step is reported with its seconds."""
        if strange := chapter.unknown():
            raise Failed(f"the README's chapter and bench/vm/chapter.py differ: {strange}")
        packages = sorted(self.debs.glob("*.deb"))
        these = hashlib.sha256(b"".join(package.read_bytes() for package in packages)).hexdigest()
        known = self.begin and self.holds.exists() and self.holds.read_text() == these
        if not known:
            for machine in self.machines.values():
                machine.run("mkdir -p target/deb && rm -f target/deb/*")
                machine.put(*packages, to="target/deb/")
        if self.begin and not known:
            # Others than those of the run that this one begins with.
            self._each("ab", lambda machine: machine.run("dpkg -i target/deb/*.deb", timeout=300))
        step, begin = 0, time.monotonic()
        for number, command in chapter.commands():
            if number != step:
                if step and not (step == 1 and self.begin):
                    self.report.ok(f"README step {step}", f"{time.monotonic() - begin:.0f} s")
                if step == 1 and not self.begin:
                    # What the chapter names in its text.
                    self._each("ab", lambda machine: machine.run("apt install -y -q driverctl", timeout=600))
                    self.a.freeze(self.installed)
                    self.holds.write_text(these)
                step, begin = number, time.monotonic()
                self._before(step)
            if step == 1 and self.begin:
                continue
            where = {"both": "ab", "a": "a", "b": "b"}.get(chapter.PLAN[command], "")
            self._each(where, lambda machine, command=command: self._step(machine, command))
        for machine in self.machines.values():
            self.wait_ready(machine)
        self.report.ok(f"README step {step}", f"{time.monotonic() - begin:.0f} s, both ready")
        # The chapter's way to keep the binding over a reboot.
        # Not set while the box has the devices: driverctl would unbind them. What it keeps is a file.
        addresses = " ".join(PCI.values())
        keep = f"mkdir -p /etc/driverctl.d; for p in {addresses}; do echo vfio-pci > /etc/driverctl.d/pci-$p; done"
        self._each("ab", lambda machine: machine.run(keep))

    def _each(self, where: str, what) -> None:
        """Does the same in these machines, at the same time."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(what, [self.machines[name] for name in where]))

    def _before(self, step: int) -> None:
        if step == 6:
            for machine in self.machines.values():
                self._configure(machine)

    def _step(self, machine: Machine, command: str) -> None:
        self._look(machine, command, machine.run(chapter.as_run(command, PCI), timeout=600))

    @staticmethod
    def _look(machine: Machine, command: str, said: str) -> None:
        """What the chapter says that the reader sees."""
        if command.startswith("grep HugePages_Free") and int(said.split()[-1]) < 256:
            raise Failed(f"machine {machine.name}: {said.strip()}: less than the README has asked for")
        if command.startswith("ls /sys/kernel/iommu_groups") and not said.strip():
            raise Failed(f"machine {machine.name} has no IOMMU")

    def _configure(self, machine: Machine) -> None:
        at = "/etc/pdmv2/box.toml"
        if machine is self.a:
            source = "/etc/pdmv2/box.toml.example"
            machine.run(f"[ -f {source} ] || cp {at} {source}")
        else:
            source = f"/usr/share/doc/{UNIT}/examples/box-b.toml"
            machine.run(f"[ -f {source} ] || gunzip -k {source}.gz")
        text = chapter.configured(machine.run(f"cat {source}"), PCI, self.cores, self.mtu)
        machine.write(text, at)

    def configure(self, cores: list[int], mtu: tuple[int | None, int | None]) -> None:
        """Other cores or MTUs: both boxes are started again with them."""
        self.cores, self.mtu = cores, mtu

        def started_again(machine: Machine) -> None:
            self._configure(machine)
            machine.run(f"systemctl restart {UNIT}", timeout=START + 60)
            self.wait_ready(machine)

        self._each("ab", started_again)
        self.wires.mtu(mtu[0] or 1500)

    # What is known of a box.

    def wait_ready(self, machine: Machine, timeout: float = START) -> None:
        """Waits until systemd says that the unit is up."""
        end = time.monotonic() + timeout
        while (state := machine.run(f"systemctl is-active {UNIT}", check=False).strip()) != "active":
            if time.monotonic() > end:
                raise Failed(f"machine {machine.name}: the box is '{state}':\n{self.journal(machine, 30)}")
            time.sleep(0.5)

    def journal(self, machine: Machine, lines: int = 400, since: str = "") -> str:
        """What the unit has logged."""
        since = f"--since {shlex.quote(since)}" if since else ""
        return machine.run(f"journalctl -u {UNIT} -o short-precise --no-pager -n {lines} {since}", check=False)

    @staticmethod
    def metrics(machine: Machine) -> dict[str, float]:
        """Its Prometheus counters, by name with labels."""
        found = {}
        for line in machine.run("curl -s --max-time 5 http://127.0.0.1:9469/metrics").splitlines():
            if not line.startswith("#") and " " in line:
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    @staticmethod
    def total(metrics: dict[str, float], name: str, **labels: str) -> int:
        """The sum of a metric over all its labels but these."""
        found = 0.0
        for key, value in metrics.items():
            if re.fullmatch(re.escape(name) + r"(\{.*\})?", key) and all(f'{k}="{v}"' in key for k, v in labels.items()):
                found += value
        return int(found)

    # Traffic.

    def reach(self, timeout: float = 60) -> float:
        """Waits until the hosts reach each other. Gives the seconds that took."""
        begin = time.monotonic()
        while time.monotonic() - begin < timeout:
            if ping("A", count=1, wait=1)[0]:
                return time.monotonic() - begin
        raise Failed(f"the hosts do not reach each other after {timeout} s")

    def driver(self) -> str:
        """DPDK's name for these NICs' driver."""
        return MODELS[self.a.kind.model]["driver"]


def ping(
    host: str, size: int = 56, count: int = 10, interval: float = 0.1, wait: float = 3, ends: tuple[str, str] = ("1", "1")
) -> tuple[int, str]:
    """Pings the other host with packets that may not be fragmented, from the address with the first of these ends to that with the
    second. Gives how many came back, and the mean round trip."""
    words = inside(
        f"vm-{host}", "ping", "-n", "-M", "do", "-c", str(count), "-i", str(interval), "-W", str(wait), "-s", str(size),
        "-I", HOSTS[host][:-1] + ends[0], HOSTS[OTHER[host]][:-1] + ends[1],
    )  # fmt: skip
    said = subprocess.run(words, capture_output=True, text=True, timeout=count * (interval + wait) + 10, check=False).stdout
    received = re.search(r"(\d+) received", said)
    mean = re.search(r"= [\d.]+/([\d.]+)/", said)
    return int(received[1]) if received else 0, mean[1] if mean else "-"

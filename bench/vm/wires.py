"""The wires around the machines, in network namespaces: a host at each end, and a bridge between the boxes on which one listens.

    host A -- [machine a: inside | outside] -- bridge -- [machine b: outside | inside] -- host B

    vm-A    host A, 2001:db8:a::1, its interface 'wire'
    vm-B    host B, 2001:db8:b::1
    vm-M    the bridge 'middle'
    vm-Q    QEMU
    vm-G    the way to the machines' shells, 192.168.77.1
"""

import re
import subprocess
import time
from pathlib import Path

NAMESPACES = ("vm-A", "vm-B", "vm-M", "vm-Q", "vm-G")
HOSTS = {"A": "2001:db8:a::1", "B": "2001:db8:b::1"}
OTHER = {"A": "B", "B": "A"}
MACHINE = {"A": "a", "B": "b"}
# Room for the option: what the middle carries is longer than what the hosts send.
MIDDLE_MTU = 9200


def call(*words: str, check: bool = True, timeout: float = 60) -> str:
    """Runs a program; gives what it says on standard output."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False, errors="replace")
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def inside(namespace: str, *words: str) -> list[str]:
    """The words that run a program in a namespace."""
    return ["ip", "netns", "exec", namespace, *words]


class Wires:
    """The namespaces, for as long as the machines run."""

    def __init__(self):
        for namespace in NAMESPACES:
            if Path(f"/run/netns/{namespace}").exists():
                raise RuntimeError(f"the namespace {namespace} is there already: another run, or `ip netns del {namespace}`")
        for namespace in NAMESPACES:
            call("ip", "netns", "add", namespace)
            call("ip", "-n", namespace, "link", "set", "lo", "up")
        # QEMU's and the middle say nothing of their own.
        for namespace in ("vm-Q", "vm-M"):
            self._sysctl(namespace, "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        for host in HOSTS:
            self._sysctl(
                f"vm-{host}", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0",
                "net.ipv6.conf.default.accept_ra=0", "net.ipv6.conf.default.router_solicitations=0",
            )  # fmt: skip
        call("ip", "-n", "vm-M", "link", "add", "middle", "type", "bridge", "mcast_snooping", "0")
        call("ip", "-n", "vm-G", "link", "add", "management", "type", "bridge")
        call("ip", "-n", "vm-G", "addr", "add", "192.168.77.1/24", "dev", "management")
        call("ip", "-n", "vm-G", "link", "set", "management", "up")

    @staticmethod
    def _sysctl(namespace: str, *settings: str) -> None:
        call(*inside(namespace, "sysctl", "-q", "-w", *settings))

    def connect(self, machine) -> None:
        """Puts a machine's taps, which its QEMU has just made, where they belong."""
        taps = machine.taps
        host = next(host for host, name in MACHINE.items() if name == machine.name)
        for tap in taps.values():
            self._wait_for_tap(machine, tap)
        move = ("ip", "-n", "vm-Q", "link", "set")
        call(*move, taps["management"], "netns", "vm-G")
        call("ip", "-n", "vm-G", "link", "set", taps["management"], "master", "management", "up")
        call(*move, taps["outside"], "netns", "vm-M", "name", f"box-{machine.name}")
        call("ip", "-n", "vm-M", "link", "set", f"box-{machine.name}", "mtu", str(MIDDLE_MTU), "master", "middle", "up")
        call("ip", "-n", "vm-M", "link", "set", "middle", "up")
        call(*move, taps["inside"], "netns", f"vm-{host}", "name", "wire")
        at = ("ip", "-n", f"vm-{host}")
        call(*at, "link", "set", "wire", "up")
        call(*at, "addr", "add", f"{HOSTS[host]}/64", "dev", "wire", "nodad")
        call(*at, "-6", "route", "add", f"{HOSTS[OTHER[host]][:-1]}/48", "dev", "wire")

    @staticmethod
    def _wait_for_tap(machine, tap: str) -> None:
        for _ in range(200):
            if tap in call("ip", "-n", "vm-Q", "-br", "link"):
                return
            if machine.process.poll() is not None:
                raise RuntimeError(f"QEMU has ended: {(machine.directory / f'{machine.name}.qemu').read_text()[-2000:]}")
            time.sleep(0.05)
        raise RuntimeError(f"QEMU has not made {tap}")

    @staticmethod
    def mtu(value: int) -> None:
        """Gives both hosts this MTU."""
        for host in HOSTS:
            call("ip", "-n", f"vm-{host}", "link", "set", "wire", "mtu", str(value))

    @staticmethod
    def remove() -> None:
        """Removes the namespaces; the machines have ended before."""
        for namespace in NAMESPACES:
            call("ip", "netns", "del", namespace, check=False)


class Capture:
    """tcpdump on a wire, from when it listens until `end`; what it took is a file."""

    def __init__(self, place: str, file: Path, what: str = "ip6"):
        namespace, interface = {"middle": ("vm-M", "middle"), "A": ("vm-A", "wire"), "B": ("vm-B", "wire")}[place]
        self.file = file
        words = inside(namespace, "tcpdump", "-Z", "root", "-ni", interface, "-s", "0", "-U", "-w", str(file), what)
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "listening on" in line:
                return
        raise RuntimeError(f"tcpdump does not listen on {place}")

    def end(self) -> None:
        """Ends it; the file is whole then."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=20)

    def text(self) -> list[str]:
        """What tcpdump says of each packet, checksums and link-level header too."""
        said = call("tcpdump", "-nevvr", str(self.file), timeout=120)
        return re.split(r"\n(?=\d\d:\d\d:\d\d)", said.strip()) if said.strip() else []

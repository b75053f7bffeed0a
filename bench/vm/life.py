"""A box through its year: links that go, a NIC that is pulled, reloads, restarts, upgrades, crashes, reboots; with packets counted."""

import re
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager

from lab import START, UNIT, Lab
from machine import Failed, Machine
from wires import HOSTS, OTHER, inside


class Count:
    """Pings from host A, a hundred a second, and what became of them."""

    def __init__(self):
        words = inside("vm-A", "ping", "-D", "-n", "-i", "0.01", "-W", "2", HOSTS[OTHER["A"]])
        # Into a file: a pipe that nobody reads is full after 800 lines, and ping waits then.
        self.said = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(words, stdout=self.said, stderr=subprocess.DEVNULL)
        self.sent = self.lost = 0
        self.gap = 0.0

    def end(self) -> None:
        """What was under way comes back first."""
        time.sleep(0.5)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)
        self.said.seek(0)
        said = self.said.read()
        self.said.close()
        times = [float(t) for t in re.findall(r"^\[([\d.]+)\].*icmp_seq=", said, re.M)]
        totals = re.search(r"(\d+) packets transmitted, (\d+) received", said)
        if totals:
            self.sent, self.lost = int(totals[1]), int(totals[1]) - int(totals[2])
        self.gap = max((b - a for a, b in zip(times, times[1:], strict=False)), default=0.0)

    def __str__(self) -> str:
        return f"{self.lost} of {self.sent} pings lost, longest gap {self.gap:.2f} s"


@contextmanager
def counted():
    """Pings go on while this is entered."""
    count = Count()
    try:
        time.sleep(1)
        yield count
    finally:
        count.end()


def main_pid(machine: Machine) -> int:
    """The unit's process."""
    return int(machine.run(f"systemctl show -p MainPID --value {UNIT}"))


def property_of(machine: Machine, name: str) -> str:
    """What systemd knows of the unit."""
    return machine.run(f"systemctl show -p {name} --value {UNIT}").strip()


def until(what: str, holds, timeout: float = START) -> float:
    """Waits for something. Gives the seconds that took."""
    begin = time.monotonic()
    while not holds():
        if time.monotonic() - begin > timeout:
            raise Failed(f"not after {timeout} s: {what}")
        time.sleep(0.3)
    return time.monotonic() - begin


def service(lab: Lab) -> None:
    """What systemd sees of a box that is well."""
    machine = lab.a
    kind, state, watchdog, text = (property_of(machine, name) for name in ("Type", "ActiveState", "WatchdogUSec", "StatusText"))
    right = (kind, state, watchdog) == ("notify", "active", "30s") and "no word" not in text and text != ""
    lab.report.must("systemctl show", right, f"{kind}, {state}, watchdog {watchdog}, '{text}'")
    failed = machine.run("systemctl --failed --plain --no-legend").strip()
    lab.report.must("systemctl --failed", not failed, failed or "none")
    status = machine.run("pdmv2 status")
    lab.report.must("pdmv2 status", lab.driver() in machine.run("curl -s http://127.0.0.1:9469/metrics") and len(status) > 100, status.splitlines()[0][:90])
    journal = lab.journal(machine)
    bad = [line for line in journal.splitlines() if "ERROR" in line]
    lab.report.must("journal", "ready: forwarding" in journal and not bad, bad[0] if bad else f"{len(journal.splitlines())} lines, no error")


def reload(lab: Lab) -> None:
    """`systemctl reload` with a changed policy: no packet is lost."""
    machine = lab.a
    with counted() as count:
        machine.run("sed -i 's/^name = \"all-else\"/name = \"renamed\"/' /etc/pdmv2/box.toml")
        for _ in range(3):
            machine.run(f"systemctl reload {UNIT}")
            time.sleep(0.5)
        taken = "renamed" in machine.run("pdmv2 policy list")
        machine.run("sed -i 's/^name = \"renamed\"/name = \"all-else\"/' /etc/pdmv2/box.toml")
        machine.run(f"systemctl reload {UNIT}")
        time.sleep(1)
    lab.report.must("systemctl reload, four times", taken and count.lost == 0, str(count))


def _replaced_after(lab: Lab, name: str) -> Count:
    """Sends the box this signal; systemd puts another process in its place, and traffic comes back."""
    machine = lab.a
    before = main_pid(machine)
    with counted() as count:
        machine.run(f"kill -{name} {before}")
        until(f"another process runs after SIG{name}", lambda: main_pid(machine) not in (0, before))
        lab.wait_ready(machine)
        lab.reach()
    return count


def restarts(lab: Lab) -> None:
    """What a restart costs, an end that nobody asked for, and a box that stands still."""
    machine = lab.a
    with counted() as count:
        machine.run(f"systemctl restart {UNIT}", timeout=START)
        lab.reach()
    lab.report.must("systemctl restart", property_of(machine, "ActiveState") == "active", str(count))
    count = _replaced_after(lab, "KILL")
    lab.report.must("kill -9", int(property_of(machine, "NRestarts")) >= 1, str(count))
    # With a watchdog of 6 s instead of 30, so that the check is short; a stopped process is what hangs most thoroughly.
    machine.run(f"mkdir -p /run/systemd/system/{UNIT}.service.d")
    machine.write("[Service]\nWatchdogSec=6\nTimeoutAbortSec=3\n", f"/run/systemd/system/{UNIT}.service.d/rig.conf")
    machine.run(f"systemctl daemon-reload; systemctl restart {UNIT}", timeout=START)
    lab.wait_ready(machine)
    lab.reach()
    count = _replaced_after(lab, "STOP")
    told = "Watchdog timeout" in lab.journal(machine)
    lab.report.must("a box that stands still", told, f"ended by the watchdog (of 6 s); {count}")
    machine.run(f"rm -r /run/systemd/system/{UNIT}.service.d; systemctl daemon-reload; systemctl restart {UNIT}", timeout=START)
    lab.wait_ready(machine)
    lab.reach()


def stop(lab: Lab) -> None:
    """A stop ends at once, with exit 0 and the counters in the journal."""
    machine = lab.a
    begin = time.monotonic()
    machine.run(f"systemctl stop {UNIT}", timeout=START)
    seconds = time.monotonic() - begin
    result, status = property_of(machine, "Result"), property_of(machine, "ExecMainStatus")
    lab.report.must("systemctl stop", (result, status) == ("success", "0") and seconds < 20, f"{seconds:.1f} s, {result}, exit {status}")
    begin = time.monotonic()
    machine.run(f"systemctl start {UNIT}", timeout=START)
    lab.report.ok("systemctl start", f"{time.monotonic() - begin:.1f} s until it is ready")
    lab.reach()


def reboot(lab: Lab) -> None:
    """The machine is started again: the box is there without a person."""
    machine = lab.a
    boots = machine.run("cat /proc/sys/kernel/random/boot_id").strip()
    with counted() as count:
        begin = time.monotonic()
        machine.run("systemd-run --on-active=1 systemctl reboot", check=False)
        time.sleep(3)
        machine.forget_connection()
        machine.wait(400)
        until("another boot", lambda: machine.run("cat /proc/sys/kernel/random/boot_id", check=False).strip() not in ("", boots), 300)
        lab.wait_ready(machine, 300)
        lab.reach()
        seconds = time.monotonic() - begin
    drivers = machine.run("dpdk-devbind.py --status-dev net").count("drv=vfio-pci")
    lab.report.must("reboot", drivers == 2, f"traffic after {seconds:.0f} s, {drivers} ports on vfio-pci; {count}")
    kernel = machine.run("journalctl -b -u systemd-modules-load -u driverctl@* -p warning --no-pager -q", check=False).strip()
    lab.report.must("boot log", not kernel, kernel.splitlines()[0] if kernel else "no warning")


def links(lab: Lab) -> None:
    """Cables out and in, inside and outside: the box says so, goes on, and packets flow again when the cable is back."""
    machine = lab.a
    for side in ("inside", "outside"):
        before = main_pid(machine)
        since = machine.run("date '+%F %T'").strip()
        machine.set_link(side, False)
        try:
            seen = until("the link is seen down", lambda side=side: lab.total(lab.metrics(machine), "pdmv2_port_link_up", port=side) == 0, 20)
        finally:
            machine.set_link(side, True)
        back = until("the link is seen up", lambda side=side: lab.total(lab.metrics(machine), "pdmv2_port_link_up", port=side) == 1, 60)
        reached = lab.reach(90)
        changes = [line for line in lab.journal(machine, since=since).splitlines() if "the link is" in line]
        right = main_pid(machine) == before and len(changes) <= 4
        lab.report.must(f"link of {side} down and up", right, f"down seen in {seen:.1f} s, up in {back:.1f} s, traffic {reached:.1f} s later, {len(changes)} changes logged")


def plugs(lab: Lab) -> None:
    """A NIC is pulled and put in again, under the box: the process lives, and takes the port up."""
    machine = lab.a
    for side in ("outside", "inside"):
        before = main_pid(machine)
        with counted() as count:
            begin = time.monotonic()
            machine.unplug(side)
            gone = time.monotonic() - begin
            time.sleep(2)
            alive = main_pid(machine) == before
            machine.plug(side)
            lab.reach(120)
            back = time.monotonic() - begin - gone - 2
        same = main_pid(machine) == before
        lab.report.must(f"{side} unplugged and plugged", alive and same, f"let go in {gone:.1f} s, traffic {back:.1f} s after it was back; {count}")


def take_over(lab: Lab) -> None:
    """`pdmv2 upgrade`: a new process gets everything ready, and takes the ports over."""
    machine = lab.a
    for _ in range(3):
        before = main_pid(machine)
        since = machine.run("date '+%F %T'").strip()
        with counted() as count:
            said = machine.run("pdmv2 upgrade", timeout=START).strip().splitlines()[-1]
            lab.reach()
        right = main_pid(machine) not in (0, before) and property_of(machine, "ActiveState") == "active"
        journal = lab.journal(machine, since=since)
        steps = re.findall(r"(?:given|taken) up: (.*)", journal)
        logged = "took over" in journal
        lab.report.must("pdmv2 upgrade", right and logged, f"{said[:80]}; {count}; {' | '.join(steps)}")


def upgrade(lab: Lab, newer) -> None:
    """The package after this one is installed over it: changed configuration stays, and the box runs the new program."""
    machine = lab.a
    machine.run("mkdir -p newer && rm -f newer/*")
    machine.put(*sorted(newer.glob("*.deb")), to="newer/")
    settings = machine.run("sha256sum /etc/pdmv2/box.toml /etc/pdmv2/pdmv2.keys")
    before = machine.run("dpkg-query -W -f '${Version}' pdmv2-middlebox")
    old = main_pid(machine)
    with counted() as count:
        begin = time.monotonic()
        machine.run("DEBIAN_FRONTEND=noninteractive apt install -y -q ./newer/*.deb", timeout=300)
        seconds = time.monotonic() - begin
    after = machine.run("dpkg-query -W -f '${Version}' pdmv2-middlebox")
    kept = machine.run("sha256sum /etc/pdmv2/box.toml /etc/pdmv2/pdmv2.keys") == settings
    right = kept and before != after and main_pid(machine) == old and count.lost == 0
    lab.report.must("newer packages installed", right, f"{before} to {after}, {seconds:.0f} s, the box goes on; {count}")
    with counted() as count:
        machine.run("pdmv2 upgrade", timeout=START)
        lab.reach()
    running = machine.run(f"readlink /proc/{main_pid(machine)}/exe").strip()
    lab.report.must("pdmv2 upgrade to it", running == "/usr/bin/pdmv2-middlebox", str(count))


def purge(lab: Lab) -> None:
    """A purge leaves the operator's key file, and beside it what keeps its generations from being used twice; nothing else."""
    machine = lab.b
    machine.run("DEBIAN_FRONTEND=noninteractive apt purge -y -q pdmv2 pdmv2-middlebox", timeout=200)
    kept = sorted(machine.run("ls /etc/pdmv2", check=False).split())
    units = machine.run("systemctl list-unit-files 'pdmv2*' --no-legend --plain; find /etc/systemd /lib/systemd -name '*pdmv2*'").strip()
    programs = machine.run("ls /usr/bin/pdmv2* 2>/dev/null", check=False).strip()
    state = machine.run("systemctl is-active pdmv2-middlebox", check=False).strip()
    right = not units and not programs and state == "inactive" and all(name.startswith("pdmv2.keys") or name.endswith((".state", ".lock")) for name in kept)
    lab.report.must("purge", right, f"left in /etc/pdmv2: {' '.join(kept) or 'nothing'}; units: {units or 'none'}")

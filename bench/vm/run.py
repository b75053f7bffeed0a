#!/usr/bin/env python3
"""Two virtual machines with a box each, between two hosts: the README's chapter 'Between two NICs' from the packages, on NICs that
QEMU emulates behind an IOMMU, and then traffic, cables, restarts, upgrades. `make vm`; docs/virtual-machines.md.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import frames
import life
import traffic
from image import Image
from lab import Lab
from machine import MODELS, Failed, Kind, kvm_may_work, qemu_version, tools_missing
from report import Report

ROOT = Path(__file__).resolve().parents[2]

# In this order: the last ones change the machine.
CHECKS = {
    "service": life.service,
    "ping": traffic.pings,
    "tcp": traffic.tcp,
    "speed": traffic.speed,
    "udp": traffic.udp,
    "frames": frames.frames,
    "counters": traffic.counters,
    "workers": traffic.workers,
    "jumbo": traffic.jumbo,
    "links": life.links,
    "plugs": life.plugs,
    "reload": life.reload,
    "restarts": life.restarts,
    "stop": life.stop,
    "takeover": life.take_over,
    "upgrade": None,
    "reboot": life.reboot,
    "purge": life.purge,
}
SHORT = ("service", "ping", "tcp", "udp", "frames", "counters", "reload", "purge")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nic", default=",".join(MODELS), help="kinds of NIC, with commas: %(default)s")
    parser.add_argument("--only", help="checks, with commas: " + ",".join(CHECKS))
    parser.add_argument("--short", action="store_true", help=f"the first kind of NIC, and these checks: {','.join(SHORT)}")
    parser.add_argument("--keep", action="store_true", help="leave the machines running after the checks, until Ctrl-C")
    parser.add_argument("--again", action="store_true", help="begin with what the last run has installed: no step 1")
    parser.add_argument("--debs", type=Path, default=ROOT / "target/deb", help="the packages (make deb)")
    parser.add_argument("--newer", type=Path, default=ROOT / "target/deb-newer", help="the packages to upgrade to")
    parser.add_argument("--work", type=Path, default=ROOT / "target/vm", help="where image and machines are kept")
    parser.add_argument("--accel", choices=("auto", "tcg", "kvm"), default="auto", help="how QEMU runs the machines")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    return parser.parse_args()


def accelerated(wanted: str, image: Image, work: Path, say) -> str:
    """'kvm' where a machine boots under it, else 'tcg': on some hosts the device is there, and guests stand still."""
    if wanted != "auto" or not kvm_may_work():
        return "tcg" if wanted == "auto" else wanted
    words = [
        "qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512", "-display", "none", "-nodefaults", "-no-reboot",
        "-kernel", str(image.kernel), "-append", "console=ttyS0 panic=-1", "-serial", "stdio",
    ]  # fmt: skip
    try:
        # Without a disk the kernel ends with a panic, and says so: then it runs.
        said = subprocess.run(words, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False).stdout
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode(errors="replace")
    (work / "kvm.console").write_text(said)
    found = "kvm" if "Linux version" in said and "panic" in said else "tcg"
    say(f"the machines run by {found}")
    return found


def one_nic(model: str, lab: Lab, wanted: list[str], newer: Path) -> None:
    """All checks of one kind of NIC; what fails is reported, and the next is tried."""
    report = lab.report
    for name in wanted:
        check = CHECKS[name] or (lambda lab: life.upgrade(lab, newer))
        report.say(f"{model}: {name}")
        try:
            check(lab)
        except (Failed, RuntimeError, OSError, ValueError, subprocess.SubprocessError) as error:
            report.bad(name, str(error).splitlines()[0][:160] if str(error) else type(error).__name__)
            (lab.directory / f"failed-{name}").write_text(f"{error}\n" + "\n".join(_last(lab)))


def _last(lab: Lab) -> list[str]:
    found = []
    for machine in lab.machines.values():
        try:
            found.append(f"=== {machine.name}\n{lab.journal(machine, 80)}")
        except Failed as error:
            found.append(str(error))
    return found


def rounds(options: argparse.Namespace) -> list[tuple[str, int, list[str]]]:
    """What is started one after the other: kind of NIC, queues, checks."""
    models = options.nic.split(",")
    for model in models:
        if model not in MODELS:
            sys.exit(f"--nic: {model} is none of {', '.join(MODELS)}")
    wanted = list(SHORT if options.short else CHECKS)
    if options.only is not None:
        wanted = [name for name in options.only.split(",") if name]
        if strange := [name for name in wanted if name not in CHECKS]:
            sys.exit(f"--only: {', '.join(strange)}: none of {', '.join(CHECKS)}")
    if options.short:
        models = models[:1]
    found = []
    for model in models:
        alone = [name for name in wanted if name != "workers"]
        if alone or not wanted:
            found.append((model, 1, alone))
        if "workers" in wanted:
            found.append((model, MODELS[model]["queues"], ["workers", "counters"]))
    return found


def main() -> int:
    """Gives the exit status: 1 when something does not hold."""
    options = arguments()
    if os.geteuid():
        sys.exit("root is needed, for namespaces and taps")
    if missing := tools_missing():
        sys.exit(f"these programs are missing: {' '.join(missing)}; `make vm` installs them (.ci/setup.sh vm)")
    if not list(options.debs.glob("*.deb")):
        sys.exit(f"no packages in {options.debs}: make deb")
    options.work.mkdir(parents=True, exist_ok=True)
    report, work = Report(), options.work.resolve()
    image = Image(work)
    if seconds := image.make(report.say):
        report.say(f"the image is made, in {seconds:.0f} s")
    accel = accelerated(options.accel, image, work, report.say)
    # The first machines install the packages, and the others begin with what they have.
    if not options.again:
        (work / "installed.qcow2").unlink(missing_ok=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for model, queues, wanted in rounds(options):
        report.model = model
        if (least := MODELS[model].get("minimum", (0, 0))) > qemu_version():
            report.left_out("all", f"needs QEMU {least[0]}.{least[1]}; here is {'.'.join(map(str, qemu_version()))}")
            continue
        if queues == 1 and wanted[:1] == ["workers"]:
            report.left_out("two workers", f"QEMU's {MODELS[model]['device']} gives its driver one queue")
            continue
        begin = time.monotonic()
        lab = Lab(image, work / model, options.debs, report)
        lab.cores = list(range(queues))
        try:
            _shell(lab)
            lab.boot(Kind(model, queues, accel))
            report.ok("boot of both machines", f"{time.monotonic() - begin:.0f} s, {queues} queue(s), {accel}")
            lab.install()
            lab.reach()
            one_nic(model, lab, wanted, options.newer)
            report.say(f"{model}: done in {time.monotonic() - begin:.0f} s")
            if options.keep:
                report.say(f"the machines run on until Ctrl-C; shells: {work}/{model}/shell a|b")
                signal.pause()
        except Failed as error:
            report.bad("machines", str(error)[:2000])
        finally:
            # Who ends it twice does not keep it from clearing up.
            before = [(which, signal.signal(which, signal.SIG_IGN)) for which in (signal.SIGTERM, signal.SIGINT)]
            lab.end()
            for which, handler in before:
                signal.signal(which, handler)
    if options.json:
        about = {"qemu": ".".join(map(str, qemu_version())), "accel": accel, "kernel": platform.release()}
        report.write(options.json, about)
    print(f"{len(report.results)} checks, {report.failed} do not hold, {time.monotonic() - report.begin:.0f} s", flush=True)
    return 1 if report.failed else 0


def _shell(lab: Lab) -> None:
    """A way into the machines for a person."""
    file = lab.directory / "shell"
    key = lab.image.key
    file.write_text(
        f'#!/bin/sh\n# shell a|b [COMMAND]\nn=$1; shift\nn=$([ "$n" = a ] && echo 11 || echo 12)\n'
        f'exec ip netns exec vm-G ssh -q -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@192.168.77.$n "$@"\n'
    )
    file.chmod(0o755)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

"""The README's chapter 'Between two NICs', as something that can be run: its commands in their order, and for each of them what
the rig does with it. A command that is not known here fails: then the chapter has changed, and this with it.
"""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
CHAPTER = "Between two NICs"


def commands(readme: Path = README) -> list[tuple[int, str]]:
    """The commands of the chapter's blocks, each with the number of its step; continued lines are one."""
    text = readme.read_text()
    chapter = re.search(rf"^## {re.escape(CHAPTER)}\n(.*?)^## ", text, re.M | re.S)
    if not chapter:
        raise ValueError(f"{readme} has no chapter '{CHAPTER}'")
    found, step, code, held = [], 0, False, ""
    for line in chapter[1].splitlines():
        if number := re.match(r"(\d+)\. ", line):
            step = int(number[1])
        if line.strip() == "```":
            code = not code
            continue
        line = re.sub(r"\s+#.*", "", line).strip()
        if not code or not line:
            continue
        held += line.removesuffix("\\")
        if not line.endswith("\\"):
            found.append((step, " ".join(held.split())))
            held = ""
    return found


# What the rig does with a command.
#   both    on both machines, as it is
#   a, b    on this machine alone
#   before  it was done before the machines were started
#   other   the chapter's other way to the same (without packages), or for another machine
PLAN = {
    "make deb": "before",
    "sudo apt install ./target/deb/*.deb": "both",
    "make build": "other",
    "sudo install -m 755 target/release/pdmv2 target/release/pdmv2-middlebox /usr/local/bin/": "other",
    "sudo install -d -m 755 /etc/pdmv2": "other",
    "sudo apt install --no-install-recommends dpdk librte-meta-net librte-meta-bus librte-meta-mempool": "other",
    "echo vm.nr_hugepages=256 | sudo tee /etc/sysctl.d/80-pdmv2.conf": "both",
    "sudo sysctl --system": "both",
    "grep HugePages_Free /proc/meminfo": "both",
    "ls /sys/kernel/iommu_groups": "both",
    "sudo modprobe vfio-pci": "both",
    "dpdk-devbind.py --status-dev net": "both",
    "sudo dpdk-devbind.py --bind=vfio-pci 0000:3b:00.0 0000:3b:00.1": "both",
    "pdmv2 keygen --out pdmv2.keys --node name=box-a,side=client,prefix=2001:db8:a::/48"
    " --node name=box-b,side=server,prefix=2001:db8:b::/48": "a",
    "sudo install -m 600 pdmv2.keys /etc/pdmv2/pdmv2.keys": "a",
    "scp -p pdmv2.keys root@box-b.example.net:/etc/pdmv2/pdmv2.keys": "a",
    "rm pdmv2.keys": "a",
    "sudo install -m 644 configs/box-a.toml /etc/pdmv2/box.toml": "other",
    "sudo pdmv2-middlebox run --config /etc/pdmv2/box.toml --check": "both",
    "sudo pdmv2-middlebox run --config /etc/pdmv2/box.toml": "other",
    "sudo install -m 644 configs/systemd/pdmv2-middlebox.service /etc/systemd/system/": "other",
    "sudo systemctl enable --now pdmv2-middlebox": "both",
}


def unknown(readme: Path = README) -> list[str]:
    """Commands of the chapter that have no place in the plan, and those of the plan that the chapter has lost."""
    said = [command for _, command in commands(readme)]
    return [command for command in said if command not in PLAN] + [command for command in PLAN if command not in said]


def as_run(command: str, pci: dict[str, str]) -> str:
    """The command with this machine's addresses, and without a question to a person."""
    command = command.replace("0000:3b:00.0", pci["inside"]).replace("0000:3b:00.1", pci["outside"])
    return command.replace("apt install", "DEBIAN_FRONTEND=noninteractive apt install -y -q")


def configured(example: str, pci: dict[str, str], cores: list[int], mtu: tuple[int | None, int | None]) -> str:
    """The example configuration with a machine's own values: its PCI addresses, its cores, its MTUs. The machines share two
    cores with all else, so that workers sleep where there is nothing to do."""
    text = example.replace("0000:3b:00.0", pci["inside"]).replace("0000:3b:00.1", pci["outside"])
    text = re.sub(r"(?m)^idle = .*\n", "", text)
    text, found = re.subn(r"(?m)^cores = .*$", f'cores = {cores}\nidle = "sleep"', text)
    if found != 1:
        raise ValueError("the example configuration has no line 'cores' any more")
    for side, value in zip(("inside", "outside"), mtu, strict=True):
        if value:
            text = re.sub(rf"(?m)^(\[ports\.{side}\])$", rf"\1\nmtu = {value}", text)
    return text

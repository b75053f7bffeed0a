"""Frames as no kernel of a host would send them just so: tags, other protocols, the shortest; how they come out at the far host."""

import re
import socket
import struct
import subprocess
import time

from lab import Lab
from wires import HOSTS, OTHER, Capture, inside

# Neither is a NIC's: a bump in the wire takes frames for everybody.
TO, FROM = bytes.fromhex("0200000000aa"), bytes.fromhex("0200000000bb")
IPV6 = struct.pack("!H", 0x86DD)
EACH = 5

SENDER = r"""
import socket, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("wire", 0))
for frame in sys.stdin.read().split():
    wire.send(bytes.fromhex(frame))
    time.sleep(0.02)
"""


def _sum(octets: bytes) -> int:
    octets += b"\0" * (len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv6(source: str, destination: str, header: int, payload: bytes) -> bytes:
    """An IPv6 packet."""
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    return struct.pack("!IHBB", 6 << 28, len(payload), header, 64) + addresses + payload


def udp(source: str, destination: str, port: int, payload: bytes) -> bytes:
    """A UDP datagram in IPv6, with its checksum."""
    length = 8 + len(payload)
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    pseudo = addresses + struct.pack("!II", length, 17)
    checksum = _sum(pseudo + struct.pack("!HHHH", port, port, length, 0) + payload) or 0xFFFF
    return ipv6(source, destination, 17, struct.pack("!HHHH", port, port, length, checksum) + payload)


def kinds(source: str, destination: str) -> dict[str, tuple[bytes, str, bool]]:
    """Each kind of frame: its octets, what tcpdump shows of it, and whether it gets an option."""
    tag, service = struct.pack("!HH", 0x8100, 42), struct.pack("!HH", 0x88A8, 7)
    priority = struct.pack("!HH", 0x8100, 0xA000)
    header = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 48, 0, 0, 64, 17, 0, bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))))
    header[10:12] = struct.pack("!H", _sum(bytes(header)))
    ipv4 = bytes(header) + struct.pack("!HHHH", 4106, 4106, 28, 0) + b"by IPv4, as it is   "
    fragment = ipv6(source, destination, 44, struct.pack("!BBHI", 17, 0, 1, 7) + bytes(64))
    return {
        "VLAN": (tag + IPV6 + udp(source, destination, 4101, b"one tag " * 20), r"\b4101 >", True),
        "QinQ": (service + tag + IPV6 + udp(source, destination, 4102, b"two tags" * 20), r"\b4102 >", True),
        "priority tag": (priority + IPV6 + udp(source, destination, 4103, b"no VLAN " * 20), r"\b4103 >", True),
        "VLAN, 1,500 octets": (tag + IPV6 + udp(source, destination, 4104, bytes(1500 - 48)), r"\b4104 >", True),
        "UDP of 1 octet": (IPV6 + udp(source, destination, 4105, b"x"), r"\b4105 >", True),
        "IPv4": (struct.pack("!H", 0x0800) + ipv4, r"\.4106 >", False),
        "EtherType 0x88b5": (struct.pack("!H", 0x88B5) + bytes(60), r"0x88b5", False),
        "fragment": (IPV6 + fragment, r"frag \(", False),
    }


def frames(lab: Lab) -> None:
    """Each kind from each host: all arrive, as they were sent, sealed on the middle wire where they can be."""
    for host in HOSTS:
        each = kinds(HOSTS[host], HOSTS[OTHER[host]])
        middle = Capture("middle", lab.directory / "frames-middle.pcap", "")
        far = Capture(OTHER[host], lab.directory / "frames-far.pcap", "")
        try:
            sent = " ".join((TO + FROM + octets).hex() for octets, _, _ in each.values() for _ in range(EACH))
            words = inside(f"vm-{host}", "python3", "-c", SENDER)
            subprocess.run(words, input=sent, text=True, check=True, timeout=60)
            time.sleep(2)
        finally:
            middle.end()
            far.end()
        on_the_wire, arrived = middle.text(), far.text()
        whole = _octets(lab, far)
        for name, (octets, pattern, measured) in each.items():
            on_middle = [packet for packet in on_the_wire if re.search(pattern, packet)]
            sealed = sum("opt_type 0x0f" in packet for packet in on_middle)
            came = [packet for packet in arrived if re.search(pattern, packet)]
            same = sum(frame.startswith(TO + FROM + octets) for frame in whole)
            bad = sum("bad udp cksum" in packet for packet in came)
            right = (len(came), same, bad, sealed) == (EACH, EACH, 0, EACH if measured else 0)
            lab.report.must(f"{name} from {host}", right, f"{len(came)}/{EACH} arrived, {same} octet for octet, {sealed} sealed in the middle")


def _octets(lab: Lab, capture: Capture) -> list[bytes]:
    """The frames of a capture file. A tag that the kernel took off has been put back by tcpdump."""
    data, found = capture.file.read_bytes(), []
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    at = 24
    while at + 16 <= len(data):
        _, _, length, _ = struct.unpack(order + "IIII", data[at : at + 16])
        found.append(data[at + 16 : at + 16 + length])
        at += 16 + length
    return found

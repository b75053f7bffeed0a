#!/usr/bin/env python3
"""Writes a capture of what hosts behind box B send to hosts behind box A: IPv6, UDP, round robin over the flows of
pdmv2.py as seen from its port 1. 'pdmv2-middlebox replay' seals it. Needs nothing but Python.

    ./hosts_pcap.py --out hosts.pcap --packets 1000000 --flows 4096 --size 256
"""

import argparse
import ipaddress
import struct
import sys

FCS = 4
HEADERS = 14 + 40 + 8
SERVERS = 256
PER_KEY = 32766  # packets of a flow under one key: more, and a capture that goes round begins with keys long left


def ones_sum(data):
    """Sum of the 16-bit words, folded, not complemented (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def frame(src, dst, sport, dport, octets):
    """An Ethernet frame of so many octets with the check sequence, which it does not have yet."""
    length = octets - FCS - 14 - 40
    body = b"x" * (length - 8)
    pseudo = src + dst + struct.pack("!II", length, 17)
    checksum = ~ones_sum(pseudo + struct.pack("!HHHH", sport, dport, length, 0) + body) & 0xFFFF or 0xFFFF
    ethernet = bytes.fromhex("020000000001" "020000000002" "86dd")
    ipv6 = struct.pack("!IHBB", 6 << 28, length, 17, 64) + src + dst
    return ethernet + ipv6 + struct.pack("!HHHH", sport, dport, length, checksum) + body


def main():
    parser = argparse.ArgumentParser(description="capture of hosts behind box B")
    parser.add_argument("--out", required=True)
    parser.add_argument("--packets", type=int, default=1000000)
    parser.add_argument("--flows", type=int, default=4096)
    parser.add_argument("--size", type=int, default=HEADERS + FCS, help="octets with check sequence")
    parser.add_argument("--near", default="2001:db8:b::", help="where they are sent from: /96 or shorter, behind box B")
    parser.add_argument("--far", default="2001:db8:a::", help="where they go to, behind box A")
    args = parser.parse_args()
    if not 1 <= args.flows <= 1 << 20:
        parser.error("--flows is 1 to 1048576")
    if not HEADERS + FCS <= args.size <= 9018:
        parser.error("--size is %d to 9018" % (HEADERS + FCS))
    if args.packets > args.flows * PER_KEY:
        parser.error("--packets is at most %d for so many flows (%d each)" % (args.flows * PER_KEY, PER_KEY))

    near = int(ipaddress.IPv6Address(args.near))
    far = int(ipaddress.IPv6Address(args.far))
    frames = []
    for flow in range(min(args.flows, args.packets)):
        src = (near + flow % SERVERS).to_bytes(16, "big")
        dst = (far + flow).to_bytes(16, "big")
        frames.append(frame(src, dst, 443, 0x4000 + flow % 0x4000, args.size))
    with open(args.out, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for n in range(args.packets):
            data = frames[n % len(frames)]
            out.write(struct.pack("<IIII", n // 1000000, n % 1000000, len(data), len(data)) + data)
    return 0


if __name__ == "__main__":
    sys.exit(main())

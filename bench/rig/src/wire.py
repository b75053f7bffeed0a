#!/usr/bin/env python3
"""Carries frames between two interfaces, as a wire does that takes its time and loses some.

Usage: wire.py A B. It is told on standard input what to do, says 'ok' to each line, and ends with its input:
  delay MICROSECONDS   each way, for frames that come from now on
  lose N [back]        of the UDP packets over IPv6 from A to B (back: from B to A) every Nth; 0: none
  refuse on|off        IPv6 packets whose first extension header is a Destination Options header
  count                how many of each it has not carried: 'ok LOST REFUSED'
  disturb PORT L D S   of the UDP packets to and from this port at the end of B, each way by itself, every Lth is lost, of the
                       others every Dth comes twice, and of the others every Sth changes places with the next; 0: none
  disturbed PORT       how many were, from A and from B: 'ok LOST TWICE SWAPPED LOST TWICE SWAPPED'
"""

import heapq
import select
import socket
import sys
import time

# linux/if_packet.h, which the socket module does not have.
PACKET_OUTGOING = 4
UDP, DESTINATION_OPTIONS = 17, 60


def udp_port_of_b(frame, from_a):
    """The UDP port at the end of B, of a packet with or without an option; None: it is no UDP packet over IPv6."""
    if frame[12:14] != b"\x86\xdd" or len(frame) < 62:
        return None
    protocol, upper = frame[20], 54
    if protocol == DESTINATION_OPTIONS:
        protocol, upper = frame[54], 54 + 8 * (frame[55] + 1)
    if protocol != UDP or len(frame) < upper + 4:
        return None
    at = upper + 2 if from_a else upper
    return int.from_bytes(frame[at : at + 2], "big")


class Disturbance:
    """What is done to one port's packets one way, and how often it was."""

    def __init__(self, every):
        self.every, self.seen = every, 0
        self.lost, self.twice, self.swapped = 0, 0, 0
        self.held = None  # waits for the next one

    def frames(self, frame):
        """What goes on in place of this frame, in order."""
        self.seen += 1
        lose, twice, swap = (every and self.seen % every == 0 for every in self.every)
        if lose:
            self.lost += 1
            return []
        if not twice and swap and self.held is None:
            self.held = frame
            return []
        self.twice += bool(twice)
        frames = [frame, frame] if twice else [frame]
        if self.held is not None:
            self.swapped += 1
            frames.append(self.held)
            self.held = None
        return frames


class Wire:
    def __init__(self, names):
        self.ends = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in names]
        for end, name in zip(self.ends, names):
            end.bind((name, 0))
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.delay, self.every, self.refuse = 0.0, 0, False
        self.loses_from_a = True
        self.seen, self.lost, self.refused = 0, 0, 0
        self.disturbances = {}  # by port: from A, from B
        self.under_way = []  # (when it is due, its number, where to, the frame)
        self.number = 0

    def carries(self, frame, from_a):
        if frame[12:14] != b"\x86\xdd" or len(frame) < 55:
            return True
        protocol = frame[20]
        if self.refuse and protocol == DESTINATION_OPTIONS:
            self.refused += 1
            return False
        # The box's option stands in a header of its own in front: what follows is in that header's first octet.
        if from_a != self.loses_from_a or UDP not in (protocol, frame[54] if protocol == DESTINATION_OPTIONS else None):
            return True
        self.seen += 1
        if self.every and self.seen % self.every == 0:
            self.lost += 1
            return False
        return True

    def take(self, which):
        for _ in range(64):
            try:
                frame, address = self.ends[which].recvfrom(65536)
            except (BlockingIOError, OSError):
                return
            # What this program has sent itself is seen as well.
            if address[2] == PACKET_OUTGOING or not self.carries(frame, which == 0):
                continue
            disturbances = self.disturbances and self.disturbances.get(udp_port_of_b(frame, which == 0))
            for going_on in disturbances[which].frames(frame) if disturbances else [frame]:
                self.number += 1
                heapq.heappush(self.under_way, (time.monotonic() + self.delay, self.number, 1 - which, going_on))

    def deliver(self):
        while self.under_way and self.under_way[0][0] <= time.monotonic():
            _, _, to, frame = heapq.heappop(self.under_way)
            try:
                self.ends[to].send(frame)
            except OSError:  # the interface is down: so is a wire
                pass

    def obey(self, line):
        word, _, value = line.partition(" ")
        if word == "delay":
            self.delay = int(value) / 1e6
        elif word == "lose":
            every, _, back = value.partition(" ")
            self.every, self.seen, self.loses_from_a = int(every), 0, back != "back"
        elif word == "refuse":
            self.refuse = value == "on"
        elif word == "disturb":
            port, *every = map(int, value.split())
            self.disturbances[port] = [Disturbance(every), Disturbance(every)]
        elif word == "disturbed":
            counts = [[way.lost, way.twice, way.swapped] for way in self.disturbances[int(value)]]
            return "ok " + " ".join(str(count) for way in counts for count in way)
        elif word == "count":
            return f"ok {self.lost} {self.refused}"
        else:
            sys.exit(f"wire.py does not know '{line}'")
        return "ok"

    def run(self):
        while True:
            pause = max(0.0, self.under_way[0][0] - time.monotonic()) if self.under_way else None
            ready, _, _ = select.select([*self.ends, sys.stdin], [], [], pause)
            for which, end in enumerate(self.ends):
                if end in ready:
                    self.take(which)
            self.deliver()
            if sys.stdin in ready:
                line = sys.stdin.readline()
                if not line:
                    return
                print(self.obey(line.strip()), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    Wire(sys.argv[1:]).run()

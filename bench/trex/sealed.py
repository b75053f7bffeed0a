#!/usr/bin/env python3
"""Sends a capture of sealed packets once, in order, from TRex's port 1 to a box's outside port, and counts what comes
out of the inside port.

Run on the TRex machine, with TRex started by './t-rex-64 -i', and with
PYTHONPATH=<trex>/automation/trex_control_plane/interactive. The capture comes from 'pdmv2-middlebox replay'; the box
under test opens each packet once, so restart it before sending the same capture again. docs/load-testing.md explains.

    ./sealed.py --pcap /tmp/sealed.pcap --pps 500000
"""

import argparse
import os
import sys
import time

from trex.stl.api import STLClient, STLError

STILL, GIVEN_UP = 2, 30  # s

def send(client, args):
    client.reset(ports=[args.from_port, args.to_port])
    client.set_port_attr(ports=[args.from_port, args.to_port], promiscuous=True)
    client.clear_stats()
    # The server reads the file itself, so its size does not matter; the path must be the server's.
    client.push_remote(
        os.path.abspath(args.pcap), ports=[args.from_port], ipg_usec=1e6 / args.pps, count=1
    )
    client.wait_on_traffic(ports=[args.from_port])
    return standing(client, args)


def standing(client, args):
    """The counters when they have not moved for two seconds, or after thirty: packets are still on their way when the
    last one is sent, and counters are read late."""
    last, since, begun = None, time.monotonic(), time.monotonic()
    while True:
        stats = client.get_stats()
        counters = stats[args.from_port]["opackets"], stats[args.to_port]["ipackets"]
        now = time.monotonic()
        if counters != last:
            last, since = counters, now
        if now - since >= STILL or now - begun >= GIVEN_UP:
            return last
        time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser(description="send a capture of sealed packets once")
    parser.add_argument("--pcap", required=True, help="path on the TRex server")
    parser.add_argument("--pps", type=float, default=100000.0)
    parser.add_argument("--server", default="127.0.0.1")
    parser.add_argument("--from-port", type=int, default=1, help="TRex port at the box's outside port")
    parser.add_argument("--to-port", type=int, default=0, help="TRex port at the box's inside port")
    args = parser.parse_args()
    if args.pps <= 0:
        parser.error("--pps must be more than 0")

    client = STLClient(server=args.server)
    try:
        client.connect()
        sent, received = send(client, args)
    except STLError as error:
        print("sealed.py: %s" % error, file=sys.stderr)
        return 2
    finally:
        client.disconnect()
    print("sent %d, came out %d, missing %d" % (sent, received, sent - received))
    return 0 if sent == received else 1


if __name__ == "__main__":
    sys.exit(main())

"""TRex (v3, stateless) profile for a pdmv2-middlebox: IPv6 flows in the clear, or sealed packets out of a capture.

Port 0 of TRex is wired to the box's inside port, port 1 to the outside port (of the same box, or of the one across).
Needs the TRex console; tunables come last on its line. Explained step by step in docs/load-testing.md.

    start -f pdmv2.py -p 0   -m 10mpps -t --flows 65536 --size min
    start -f pdmv2.py -p 0 1 -m 50%    -t --flows 1000000 --size imix --proto tcp
    start -f pdmv2.py -p 1   -m 5mpps  -t --sealed /tmp/sealed.pcap
"""

import argparse
import ipaddress

from trex_stl_lib.api import *
from scapy.all import Ether, IPv6, RawPcapReader, TCP, UDP

FCS = 4  # sizes are those of RFC 2544, with the check sequence; the NIC adds it
SMALLEST = {"udp": 14 + 40 + 8 + FCS, "tcp": 14 + 40 + 20 + FCS}  # the "64-octet class": IPv6 has no room below
IMIX = (("min", 7), (594, 4), (1518, 1))  # size, share in packets
LATENCY_PAYLOAD = 16  # what TRex writes at the end of the packets it measures
LATENCY_PPS = 1000  # of those that -m asks for
FIRST_PORT = 0x4000  # source ports 16384 to 32767, so that low bits can be written over it
MOST_STREAMS = 10000


def lowest(prefix, bits, what):
    """The address of a prefix, with `bits` bits free for numbering: the last 32 bits carry the number of a flow."""
    network = ipaddress.IPv6Network(prefix)
    if 128 - network.prefixlen < bits:
        raise STLError("--%s %s: a prefix of /%d or shorter is needed for so many" % (what, prefix, 128 - bits))
    return network.network_address


def power_of_two(text):
    n = int(text)
    if n < 1 or n & (n - 1) or n > 65536:
        raise argparse.ArgumentTypeError("%s is not a power of two up to 65536" % text)
    return n


def frame_size(text):
    """`min`, `imix`, or octets with check sequence."""
    if text in ("min", "imix"):
        return text
    n = int(text)
    if not 64 <= n <= 9216:
        raise argparse.ArgumentTypeError("%s is not min, imix, or 64 to 9216 octets" % text)
    return n


class Pdmv2(object):
    # TRex names each argument, and refuses a profile that has defaults for some of them and not for all.
    def get_streams(self, direction, tunables, port_id, **kwargs):
        args = self.arguments(tunables)
        if args.sealed:
            return self.sealed(args.sealed, args.limit)
        sizes = IMIX if args.size == "imix" else ((args.size, 1),)
        streams = [self.flows(args, direction, size, share, i) for i, (size, share) in enumerate(sizes)]
        if args.latency:
            streams.append(self.latency(args, direction, port_id))
        return streams

    @staticmethod
    def arguments(tunables):
        parser = argparse.ArgumentParser(
            description="IPv6 flows or sealed packets for a pdmv2-middlebox",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        parser.add_argument("--flows", type=int, default=65536, help="5-tuples, 1 to 2^31")
        parser.add_argument("--size", type=frame_size, default="min",
                            help="min (66 octets with UDP, 78 with TCP), 256, 1518, ..., or imix (7:4:1 of min, 594, "
                                 "1518)")
        parser.add_argument("--proto", choices=("udp", "tcp"), default="udp")
        parser.add_argument("--inside", default="2001:db8:a::/48", help="prefix of the sources, behind port 0")
        parser.add_argument("--outside", default="2001:db8:b::/48", help="prefix of the destinations, behind port 1")
        parser.add_argument("--servers", type=power_of_two, default=256, help="destinations; a power of two")
        parser.add_argument("--port", type=int, default=443, help="port of the servers")
        parser.add_argument("--latency", action="store_true",
                            help="%d of the packets a second with time stamps, in a flow of their own" % LATENCY_PPS)
        parser.add_argument("--sealed", metavar="PCAP",
                            help="send the frames of this capture round and round instead, from port 1")
        parser.add_argument("--limit", type=int, default=4096,
                            help="frames taken of the capture, at most %d; from 1024 on the console may not get the "
                                 "port back" % MOST_STREAMS)
        args = parser.parse_args(tunables)
        if not 1 <= args.flows <= 1 << 31:
            parser.error("--flows is 1 to 2147483648")
        if not 1 <= args.limit <= MOST_STREAMS:
            parser.error("--limit is 1 to %d" % MOST_STREAMS)
        return args

    @staticmethod
    def packet(args, direction, size, host, extra=0):
        """A packet of flow `host`, seen from port 0 (direction 0) or as the answer from port 1, filled up to `size`."""
        inside = lowest(args.inside, 32, "inside") + host
        outside = lowest(args.outside, 16, "outside")
        least = SMALLEST[args.proto] + extra
        octets = least if size == "min" else size
        if octets < least:
            raise STLError("--size %s: IPv6 with %s takes at least %d octets" % (size, args.proto, least))
        src, dst = (inside, outside) if direction == 0 else (outside, inside)
        sport, dport = (FIRST_PORT, args.port) if direction == 0 else (args.port, FIRST_PORT)
        # ACK without anything else: neither a SYN, which the box would look into for its MSS, nor the end of a flow.
        upper = UDP(sport=sport, dport=dport) if args.proto == "udp" else TCP(sport=sport, dport=dport, flags="A")
        # The addresses of the frame are those of the port's configuration.
        base = Ether() / IPv6(src=str(src), dst=str(dst), hlim=64) / upper
        return base / (b"x" * (octets - FCS - len(base)))

    def flows(self, args, direction, size, share, index):
        client, server = ("src", "dst") if direction == 0 else ("dst", "src")
        layer = args.proto.upper()
        kind = CTRexVmInsFixHwCs.L4_TYPE_UDP if args.proto == "udp" else CTRexVmInsFixHwCs.L4_TYPE_TCP
        # Everything follows from one variable, the number of the flow, so that there are exactly so many 5-tuples and
        # port 1 answers the very flows of port 0. Every flow has a source address of its own.
        vm = [
            STLVmFlowVar(name="flow", min_value=0, max_value=args.flows - 1, size=4, op="inc"),
            STLVmWrFlowVar(fv_name="flow", pkt_offset="IPv6.%s" % client, offset_fixup=12),
            STLVmWrMaskFlowVar(fv_name="flow", pkt_offset="%s.%s" % (layer, "sport" if direction == 0 else "dport"),
                               pkt_cast_size=2, mask=FIRST_PORT - 1),
        ]
        if args.servers > 1:
            vm.append(STLVmWrMaskFlowVar(fv_name="flow", pkt_offset="IPv6.%s" % server, offset_fixup=14,
                                         pkt_cast_size=2, mask=args.servers - 1))
        # Last, over what the others wrote. The box does not look at it; hosts and captures do.
        vm.append(STLVmFixChecksumHw(l3_offset="IPv6", l4_offset=layer, l4_type=kind))
        return STLStream(
            packet=STLPktBuilder(pkt=self.packet(args, direction, size, 0), vm=STLScVmRaw(vm)),
            mode=STLTXCont(pps=share),
            isg=0.1 * index,
        )

    def latency(self, args, direction, port_id):
        # Flow 2^32 - 1 - port: in the prefix, and none of the others.
        packet = self.packet(args, direction, "min", 0xFFFFFFFF - port_id, LATENCY_PAYLOAD)
        return STLStream(
            packet=STLPktBuilder(pkt=packet),
            mode=STLTXCont(pps=LATENCY_PPS),
            flow_stats=STLFlowLatencyStats(pg_id=7 + port_id),
        )

    @staticmethod
    def sealed(capture, limit):
        """A stream for each frame, all at one rate. From the second round on each is a replay to the box."""
        streams = []
        for frame, _ in RawPcapReader(capture):
            if len(streams) == limit:
                break
            streams.append(STLStream(
                packet=STLPktBuilder(pkt_buffer=frame),
                mode=STLTXCont(pps=1),
                isg=0.1 * len(streams),
            ))
        if not streams:
            raise STLError("--sealed %s: the capture is empty" % capture)
        return streams


def register():
    return Pdmv2()

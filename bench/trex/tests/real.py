#!/usr/bin/env python3
"""Holds the stand-ins against TRex's Python library, where there is one, and loads the profile with it: their arguments
are the library's, and so are packets and instructions. Not part of 'make scripts'. Python 3.11 at most: the library
needs its module 'imp'.

    bench/trex/tests/real.py <trex>/automation/trex_control_plane/interactive

The package lbr-trex-client has the library too, in lbr_trex_client/interactive; set TREX_EXT_LIBS to its external_libs.
"""

import base64
import inspect
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
PROFILE = os.path.join(HERE, "..", "pdmv2.py")
TUNABLES = ("", "--flows 1000 --proto tcp", "--size imix --flows 1000000", "--latency", "--size 1518 --servers 1",
            "--size 256 --proto tcp --inside 2001:db8:1::/64 --port 80")


def arguments(function):
    return [(p.name, p.default) for p in inspect.signature(function).parameters.values() if p.name != "mode"]


def differences(stand_in, api, base):
    """Of what the scripts call."""
    for kind in stand_in.STREAMS:
        name = kind.__name__
        if "__init__" in vars(kind):
            real = base if name == "STLTXCont" else getattr(api, name)
            if arguments(kind.__init__) != arguments(real.__init__):
                yield "%s: %s, not %s" % (name, arguments(kind.__init__), arguments(real.__init__))
    for name, method in vars(stand_in.STLClient).items():
        if not name.startswith("_") and name != "sleep":
            if arguments(method) != arguments(getattr(api.STLClient, name)):
                yield "STLClient.%s: %s, not %s" % (name, arguments(method), arguments(getattr(api.STLClient, name)))
    for name in ("L4_TYPE_UDP", "L4_TYPE_TCP"):
        if getattr(api.CTRexVmInsFixHwCs, name) != getattr(stand_in.CTRexVmInsFixHwCs, name):
            yield name


def shape(stream):
    """What TRex would send: octets, rate, instructions."""
    fields = stream.fields
    return base64.b64decode(fields["packet"]["binary"]), fields["mode"]["rate"]["value"], fields["vm"]["instructions"]


def plain(octets):
    """Without the UDP or TCP checksum, which the stand-ins leave to the NIC."""
    at = 60 if octets[20] == 17 else 70
    return octets[12:at] + octets[at + 2:]


def main():
    sys.path[:0] = [sys.argv[1], HERE]
    import trex.stl.api as api
    from trex.stl.trex_stl_streams import STLProfile, STLTXMode
    import stand_in

    wrong = list(differences(stand_in, api, STLTXMode))
    real = {}
    for text in TUNABLES:
        for port in (0, 1):
            profile = STLProfile.load_py(PROFILE, direction=port, port_id=port, tunables=text.split())
            real[text, port] = [shape(stream) for stream in profile.get_streams()]
    stand_in.install()
    for (text, port), streams in real.items():
        ours = stand_in.load(PROFILE, direction=port, port_id=port, tunables=text.split())
        if len(ours) != len(streams):
            wrong.append("%r at port %d: %d streams, not %d" % (text, port, len(ours), len(streams)))
        for stream, (octets, rate, instructions) in zip(ours, streams):
            if plain(stream.packet.octets) != plain(octets) or stream.pps != rate:
                wrong.append("%r at port %d: another packet" % (text, port))
            written = [i["pkt_offset"] for i in instructions if "pkt_offset" in i]
            places = [stream.packet.packet.offset(c.at) + c.fixup for c in stream.packet.commands if hasattr(c, "at")]
            if written != places:
                wrong.append("%r at port %d: written at %s, not %s" % (text, port, places, written))
    for line in wrong:
        print(line)
    print("%d loads, %d differences" % (len(real), len(wrong)))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

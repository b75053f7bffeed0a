"""Stand-ins for what the scripts use of TRex's Python library and of Scapy. They take the arguments that these take and
no others (real.py holds them against the library), check their types, and run a stream's instructions."""

import ipaddress
import os
import struct
import sys
import types


class TRexError(Exception):
    pass


def validate_type(name, value, kinds):
    if not isinstance(value, kinds):
        raise TRexError("argument '%s' is of type %s" % (name, type(value).__name__))


# Scapy, as far as an Ethernet frame with IPv6 and UDP or TCP goes.

class Layer:
    fields = {}  # offset of each field within the layer
    names = ()  # arguments

    def __init__(self, **values):
        for name in values:
            if name not in self.names:
                raise AttributeError("%s has no field %s" % (type(self).__name__, name))
        self.values = values

    def __truediv__(self, other):
        return Packet([self]) / other

    def __len__(self):
        return len(self.octets(b""))


class Ether(Layer):
    names = ("src", "dst", "type")

    def octets(self, payload):
        return bytes(12) + b"\x86\xdd"


class IPv6(Layer):
    names = ("src", "dst", "hlim", "tc", "fl", "nh")
    fields = {"src": 8, "dst": 24}

    def octets(self, payload):
        addresses = [ipaddress.IPv6Address(self.values[name]).packed for name in ("src", "dst")]
        return struct.pack("!IHBB", 6 << 28, len(payload), 0, self.values.get("hlim", 64)) + b"".join(addresses)


class UDP(Layer):
    names = ("sport", "dport")
    fields = {"sport": 0, "dport": 2}
    number = 17

    def octets(self, payload):
        return struct.pack("!HHHH", self.values["sport"], self.values["dport"], 8 + len(payload), 0)


class TCP(Layer):
    names = ("sport", "dport", "flags", "seq", "ack")
    fields = {"sport": 0, "dport": 2}
    number = 6

    def octets(self, payload):
        flags = {"S": 2, "A": 16}[self.values.get("flags", "S")]
        return struct.pack("!HHIIBBHHH", self.values["sport"], self.values["dport"], 0, 0, 5 << 4, flags, 8192, 0, 0)


class Packet:
    def __init__(self, layers, payload=b""):
        self.layers, self.payload, self.offsets = layers, payload, {}

    def __truediv__(self, other):
        if isinstance(other, bytes):
            return Packet(self.layers, self.payload + other)
        return Packet(self.layers + [other], self.payload)

    def __len__(self):
        return sum(len(layer.octets(b"")) for layer in self.layers) + len(self.payload)

    def __bytes__(self):
        built = self.payload
        for layer in reversed(self.layers):
            built = layer.octets(built) + built
        if isinstance(self.layers[-1], (UDP, TCP)):
            built = built[:20] + bytes([self.layers[-1].number]) + built[21:]
        return built

    def offset(self, description):
        """Of `IPv6`, or of `IPv6.src`."""
        if description not in self.offsets:
            name, _, field = description.partition(".")
            before = [type(layer).__name__ for layer in self.layers]
            if name not in before:
                raise TRexError("no layer %s" % name)
            layer = before.index(name)
            at = sum(len(other.octets(b"")) for other in self.layers[:layer])
            self.offsets[description] = at + (self.layers[layer].fields[field] if field else 0)
        return self.offsets[description]


def RawPcapReader(filename):
    with open(filename, "rb") as capture:
        if capture.read(24)[:4] != struct.pack("<I", 0xA1B2C3D4):
            raise TRexError("not a capture")
        while header := capture.read(16):
            seconds, micros, length, _ = struct.unpack("<IIII", header)
            yield capture.read(length), (seconds, micros, length)


# TRex's streams.

class STLTXCont:
    def __init__(self, pps=None, bps_L1=None, bps_L2=None, percentage=None):
        if [pps, bps_L1, bps_L2, percentage].count(None) != 3:
            raise TRexError("exactly one rate is expected")
        validate_type("pps", pps, (int, float))
        self.pps = pps


class STLFlowLatencyStats:
    def __init__(self, pg_id, vxlan=False, ieee_1588=False):
        validate_type("pg_id", pg_id, int)
        self.pg_id = pg_id


class STLVmFlowVar:
    def __init__(self, name, init_value=None, min_value=0, max_value=255, size=4, step=1, op="inc", value_list=None,
                 split_to_cores=True, next_var=None):
        validate_type("name", name, str)
        if size not in (1, 2, 4, 8) or op not in ("inc", "dec", "random"):
            raise TRexError("size %s, op %s" % (size, op))
        if not 0 <= min_value <= max_value < 1 << 8 * size or step < 1:
            raise TRexError("%s to %s by %s in %s octets" % (min_value, max_value, step, size))
        self.name, self.low, self.high, self.size = name, min_value, max_value, size


class STLVmWrFlowVar:
    def __init__(self, fv_name, pkt_offset, offset_fixup=0, add_val=0, is_big=True):
        validate_type("fv_name", fv_name, str)
        validate_type("offset_fixup", offset_fixup, int)
        self.name, self.at, self.fixup = fv_name, pkt_offset, offset_fixup

    def run(self, packet, octets, variables):
        value, size = variables[self.name]
        at = packet.offset(self.at) + self.fixup
        octets[at:at + size] = value.to_bytes(size, "big")


class STLVmWrMaskFlowVar:
    def __init__(self, fv_name, pkt_offset, pkt_cast_size=1, mask=0xFF, shift=0, add_value=0, offset_fixup=0,
                 is_big=True):
        validate_type("fv_name", fv_name, str)
        validate_type("offset_fixup", offset_fixup, int)
        if pkt_cast_size not in (1, 2, 4) or not 0 <= mask < 1 << 8 * pkt_cast_size:
            raise TRexError("mask %x in %s octets" % (mask, pkt_cast_size))
        self.name, self.at, self.fixup, self.size, self.mask = fv_name, pkt_offset, offset_fixup, pkt_cast_size, mask

    def run(self, packet, octets, variables):
        at = packet.offset(self.at) + self.fixup
        was = int.from_bytes(octets[at:at + self.size], "big")
        value = was & ~self.mask | variables[self.name][0] & self.mask
        octets[at:at + self.size] = value.to_bytes(self.size, "big")


class CTRexVmInsFixHwCs:
    L4_TYPE_UDP, L4_TYPE_TCP, L4_TYPE_IP = 11, 13, 17


class STLVmFixChecksumHw:
    def __init__(self, l3_offset, l4_offset, l4_type):
        self.layers, self.kind = (l3_offset, l4_offset), l4_type

    def run(self, packet, octets, variables):
        l3, l4 = (packet.offset(layer) for layer in self.layers)
        wanted = CTRexVmInsFixHwCs.L4_TYPE_UDP if octets[20] == 17 else CTRexVmInsFixHwCs.L4_TYPE_TCP
        if l4 < l3 + 8 or self.kind != wanted:
            raise TRexError("checksum of layer %s at %d" % (self.kind, l4))


class STLScVmRaw:
    def __init__(self, list_of_commands=None, cache_size=None):
        self.commands = list_of_commands or []


class STLPktBuilder:
    def __init__(self, pkt=None, pkt_buffer=None, vm=None, path_relative_to_profile=False, build_raw=False,
                 remove_fcs=True):
        if (pkt is None) == (pkt_buffer is None):
            raise TRexError("either a packet or its octets")
        validate_type("pkt", pkt, (Packet, type(None)))
        validate_type("pkt_buffer", pkt_buffer, (bytes, type(None)))
        validate_type("vm", vm, (STLScVmRaw, type(None)))
        self.packet, self.octets = pkt, bytes(pkt) if pkt else pkt_buffer
        self.commands = vm.commands if vm else []
        known = [command.name for command in self.commands if isinstance(command, STLVmFlowVar)]
        for command in self.commands:
            if hasattr(command, "name") and command.name not in known:
                raise TRexError("no variable %s" % command.name)
        list(self.sent(1))

    def sent(self, count):
        """The first so many packets."""
        variables = {c.name: c for c in self.commands if isinstance(c, STLVmFlowVar)}
        others = [c for c in self.commands if not isinstance(c, STLVmFlowVar)]
        for number in range(count):
            values = {name: (v.low + number % (v.high - v.low + 1), v.size) for name, v in variables.items()}
            octets = bytearray(self.octets)
            for command in others:
                command.run(self.packet, octets, values)
            yield bytes(octets)


class STLStream:
    def __init__(self, name=None, packet=None, mode=STLTXCont(pps=1), enabled=True, self_start=True, isg=0.0,
                 flow_stats=None, next=None, stream_id=None, action_count=0, random_seed=0,
                 mac_src_override_by_pkt=None, mac_dst_override_mode=None, dummy_stream=False, start_paused=False,
                 core_id=-1):
        validate_type("packet", packet, STLPktBuilder)
        validate_type("mode", mode, STLTXCont)
        validate_type("isg", isg, (int, float))
        validate_type("flow_stats", flow_stats, (STLFlowLatencyStats, type(None)))
        self.packet, self.pps, self.isg, self.flow_stats = packet, mode.pps, isg, flow_stats

    def octets(self):
        """With check sequence."""
        return len(self.packet.octets) + 4


def load(path, direction=0, port_id=0, **tunables):
    """A profile's streams, as TRex's loader has them: `tunables` is the list of a console's arguments, or each tunable
    by its name, as ndr gives them. None when the profile ended the program, as argparse does."""
    if "tunables" not in tunables:
        listed = []
        for name, value in tunables.items():
            listed += ["--" + name, str(value)]
        tunables = {"tunables": listed}
    module = types.ModuleType(os.path.basename(path).split(".")[0])
    with open(path) as source:
        exec(compile(source.read(), path, "exec"), module.__dict__)
    function = module.register().get_streams
    if function.__defaults__ is not None and len(function.__defaults__) != function.__code__.co_argcount - 1:
        raise TRexError("get_streams has default values for some of its arguments")
    try:
        streams = function(direction=direction, port_id=port_id, **tunables)
    except SystemExit:
        return None
    if type(streams) is not list or not all(isinstance(stream, STLStream) for stream in streams):
        raise TRexError("get_streams does not return a list of streams")
    return streams


class STLClient:
    """TRex's client, with packets that are counted late: `counted` says how many of 100 have come out after so many
    seconds. Its time goes by while one sleeps."""

    def __init__(self, counted):
        self.counted, self.seconds, self.calls = counted, 0.0, []

    def reset(self, ports=None, restart=False):
        self.calls.append("reset")

    def set_port_attr(self, ports=None, promiscuous=None, link_up=None, led_on=None, flow_ctrl=None, multicast=None,
                      vxlan_fs=None):
        self.calls.append("attr")

    def clear_stats(self, ports=None, clear_global=True, clear_flow_stats=True, clear_latency_stats=True,
                    clear_xstats=True):
        self.calls.append("clear")

    def push_remote(self, pcap_filename, ports=None, ipg_usec=None, speedup=1.0, count=1, duration=-1, is_dual=False,
                    min_ipg_usec=None, force=False, src_mac_pcap=False, dst_mac_pcap=False):
        validate_type("pcap_filename", pcap_filename, str)
        validate_type("ipg_usec", ipg_usec, (int, float))
        validate_type("count", count, int)
        self.calls.append((pcap_filename, ports, ipg_usec, count))

    def wait_on_traffic(self, ports=None, timeout=None, rx_delay_ms=None):
        self.calls.append("wait")

    def get_stats(self, ports=None, sync_now=True):
        return {1: {"opackets": 100, "ipackets": 0}, 0: {"opackets": 0, "ipackets": self.counted(self.seconds)}}

    def connect(self):
        self.calls.append("connect")

    def disconnect(self, stop_traffic=True, release_ports=True):
        self.calls.append("disconnect")

    def sleep(self, seconds):
        self.seconds += seconds


STREAMS = (STLTXCont, STLFlowLatencyStats, STLVmFlowVar, STLVmWrFlowVar, STLVmWrMaskFlowVar, CTRexVmInsFixHwCs,
           STLVmFixChecksumHw, STLScVmRaw, STLPktBuilder, STLStream)


def install():
    """What the scripts import."""
    def module(name, **names):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(names)

    module("trex_stl_lib")
    module("trex_stl_lib.api", STLError=TRexError, **{kind.__name__: kind for kind in STREAMS})
    module("trex")
    module("trex.stl")
    module("trex.stl.api", STLError=TRexError, STLClient=None)
    module("scapy")
    module("scapy.all", Ether=Ether, IPv6=IPv6, UDP=UDP, TCP=TCP, RawPcapReader=RawPcapReader)

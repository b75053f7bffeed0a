#!/usr/bin/env python3
"""Tests of the scripts, without TRex: python3 bench/trex/tests/all.py"""

import contextlib
import io
import os
import sys
import tempfile
import types
import unittest
from unittest import mock

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import stand_in  # noqa: E402

stand_in.install()
import hosts_pcap  # noqa: E402
import sealed  # noqa: E402

PROFILE = os.path.join(HERE, "..", "pdmv2.py")


def load(arguments="", port=0):
    """As the console's `start` does; what argparse writes is not of interest."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return stand_in.load(PROFILE, direction=port, port_id=port, tunables=arguments.split())


def five_tuple(octets):
    """Addresses, ports and protocol of a frame."""
    return octets[22:38], octets[38:54], octets[54:56], octets[56:58], octets[20]


def turned(flow):
    src, dst, sport, dport, protocol = flow
    return dst, src, dport, sport, protocol


def flows_of(stream, count):
    return {five_tuple(octets) for octets in stream.packet.sent(count)}


class Loader(unittest.TestCase):
    def test_the_profile_loads_by_console_and_by_ndr(self):
        self.assertEqual(len(load()), 1)
        [stream] = stand_in.load(PROFILE, direction=1, port_id=1, flows=1000, size="min", proto="tcp")
        self.assertEqual(stream.octets(), 78)
        self.assertEqual(len(flows_of(stream, 2000)), 1000)

    def test_defaults_are_for_all_arguments_or_for_none(self):
        source = "class P:\n def get_streams(self, %s):\n  return []\ndef register():\n return P()\n"
        with tempfile.TemporaryDirectory() as room:
            path = os.path.join(room, "profile.py")
            for arguments, good in (("direction, tunables, port_id, **more", True), ("direction=0, **more", True),
                                    ("direction=0, port_id=0, tunables=(), **more", True),
                                    ("direction, tunables, port_id=0, **more", False)):
                with open(path, "w") as profile:
                    profile.write(source % arguments)
                if good:
                    self.assertEqual(stand_in.load(path, tunables=[]), [])
                else:
                    with self.assertRaisesRegex(stand_in.TRexError, "some of its arguments"):
                        stand_in.load(path, tunables=[])

    def test_the_stand_ins_refuse_what_trex_refuses(self):
        for wrong in (lambda: stand_in.STLStream(packets=1), lambda: stand_in.UDP(port=1),
                      lambda: stand_in.STLTXCont(pps=1, percentage=2), lambda: stand_in.STLTXCont(pps="1"),
                      lambda: stand_in.STLVmFlowVar("flow", max_value=1 << 32, size=4),
                      lambda: stand_in.STLVmWrMaskFlowVar("flow", 0, pkt_cast_size=1, mask=0x3FFF),
                      lambda: stand_in.STLPktBuilder(pkt_buffer="text"), lambda: stand_in.STLFlowLatencyStats("7")):
            with self.assertRaises((stand_in.TRexError, TypeError, AttributeError)):
                wrong()

    def test_wrong_tunables_end_it(self):
        for wrong in ("--flows 0", "--flows 2147483649", "--size 63", "--size big", "--servers 3", "--proto sctp",
                      "--limit 0", "--limit 10001", "--nothing"):
            self.assertIsNone(load(wrong), wrong)
        self.assertIsNone(load("--help"))

    def test_what_does_not_fit_is_said(self):
        for wrong, said in (("--size 64", "at least 66 octets"), ("--size 70 --proto tcp", "at least 78 octets"),
                            ("--inside 2001:db8::/97", "a prefix of /96 or shorter"),
                            ("--outside 2001:db8::/113", "a prefix of /112 or shorter")):
            with self.assertRaisesRegex(stand_in.TRexError, said):
                load(wrong)


class Streams(unittest.TestCase):
    def test_there_are_exactly_so_many_flows_and_each_has_an_address_of_its_own(self):
        for arguments, count in (("", 65536), ("--flows 1000 --proto tcp", 1000), ("--flows 1 --servers 1", 1)):
            [stream] = load(arguments)
            flows = flows_of(stream, count + 1000)
            self.assertEqual(len(flows), count, arguments)
            self.assertEqual(len({flow[0] for flow in flows}), count, arguments)

    def test_port_1_answers_the_flows_of_port_0(self):
        for proto in ("udp", "tcp"):
            arguments = "--flows 5000 --proto " + proto
            [there], [back] = load(arguments, 0), load(arguments, 1)
            self.assertEqual(flows_of(there, 5000), {turned(flow) for flow in flows_of(back, 5000)})

    def test_frames_have_the_size_that_was_asked_for(self):
        for arguments, octets in (("", 66), ("--proto tcp", 78), ("--size 256", 256),
                                  ("--size 1518 --proto tcp", 1518)):
            [stream] = load(arguments)
            self.assertEqual(stream.octets(), octets, arguments)

    def test_imix_is_seven_four_one(self):
        streams = load("--size imix")
        self.assertEqual([(s.octets(), s.pps) for s in streams], [(66, 7), (594, 4), (1518, 1)])

    def test_latency_has_a_flow_of_its_own_on_each_port(self):
        measured = []
        for port in (0, 1):
            flows, latency = load("--flows 4096 --latency", port)
            self.assertIsNone(flows.flow_stats)
            self.assertEqual(latency.pps, 1000)
            self.assertEqual(latency.octets(), 66 + 16, "room for the stamp")
            [flow] = flows_of(latency, 10)
            self.assertNotIn(flow, flows_of(flows, 4096))
            measured.append((latency.flow_stats.pg_id, flow[port]))
        self.assertNotEqual(measured[0][0], measured[1][0])
        self.assertNotEqual(measured[0][1], measured[1][1])


class Captures(unittest.TestCase):
    def setUp(self):
        self.room = tempfile.TemporaryDirectory()
        self.addCleanup(self.room.cleanup)
        self.path = os.path.join(self.room.name, "hosts.pcap")

    def hosts(self, arguments):
        with mock.patch.object(sys, "argv", ["hosts_pcap.py", "--out", self.path] + arguments.split()):
            with contextlib.redirect_stderr(io.StringIO()) as said:
                try:
                    return hosts_pcap.main(), said.getvalue()
                except SystemExit as end:
                    return end.code, said.getvalue()

    def test_hosts_send_the_flows_that_port_1_has(self):
        self.assertEqual(self.hosts("--packets 3000 --flows 1000 --size 100"), (0, ""))
        frames = [frame for frame, _ in stand_in.RawPcapReader(self.path)]
        self.assertEqual(len(frames), 3000)
        [stream] = load("--flows 1000", 1)
        self.assertEqual({five_tuple(frame) for frame in frames}, flows_of(stream, 1000))
        for frame in frames[:1000]:
            self.assertEqual(len(frame), 96)
            pseudo = frame[22:54] + (len(frame) - 54).to_bytes(4, "big") + (17).to_bytes(4, "big")
            self.assertEqual(hosts_pcap.ones_sum(pseudo + frame[54:]), 0xFFFF, "checksum")

    def test_hosts_refuse_what_box_a_would_not_open_again(self):
        for wrong, said in (("--packets 32767 --flows 1", "at most 32766"), ("--size 65", "66 to 9018"),
                            ("--flows 0", "1 to 1048576")):
            code, error = self.hosts(wrong)
            self.assertEqual(code, 2, wrong)
            self.assertIn(said, error)

    def test_a_sealed_stream_for_each_frame_up_to_the_limit(self):
        self.hosts("--packets 50 --flows 10")
        frames = [frame for frame, _ in stand_in.RawPcapReader(self.path)]
        streams = load("--sealed " + self.path, 1)
        self.assertEqual([s.packet.octets for s in streams], frames)
        self.assertEqual({s.pps for s in streams}, {1})
        self.assertEqual(len(load("--limit 20 --sealed " + self.path, 1)), 20)
        self.hosts("--packets 0")
        with self.assertRaisesRegex(stand_in.TRexError, "the capture is empty"):
            load("--sealed " + self.path, 1)


class Sealed(unittest.TestCase):
    def run_with(self, counted):
        client, said = stand_in.STLClient(counted), io.StringIO()
        clock = types.SimpleNamespace(sleep=client.sleep, monotonic=lambda: client.seconds)
        with mock.patch.object(sealed, "STLClient", lambda server: client), mock.patch.object(sealed, "time", clock), \
                mock.patch.object(sys, "argv", ["sealed.py", "--pcap", "sealed.pcap", "--pps", "500000"]), \
                contextlib.redirect_stdout(said):
            code = sealed.main()
        self.assertEqual(client.calls[-1], "disconnect")
        return code, said.getvalue(), client

    def test_all_came_out(self):
        code, said, client = self.run_with(lambda seconds: 100)
        self.assertEqual((code, said), (0, "sent 100, came out 100, missing 0\n"))
        self.assertIn((os.path.abspath("sealed.pcap"), [1], 2.0, 1), client.calls)

    def test_counters_that_come_late_are_waited_for(self):
        code, said, _ = self.run_with(lambda seconds: min(100, 50 + int(seconds) * 10))
        self.assertEqual((code, said), (0, "sent 100, came out 100, missing 0\n"))

    def test_missing_and_too_many_are_said(self):
        for count, said in ((90, "sent 100, came out 90, missing 10\n"),
                            (110, "sent 100, came out 110, missing -10\n")):
            self.assertEqual(self.run_with(lambda seconds: count)[:2], (1, said))
        code, _, client = self.run_with(lambda seconds: 1000 + seconds)
        self.assertEqual(code, 1, "it does not wait for ever")
        self.assertLess(client.seconds, 60)


if __name__ == "__main__":
    unittest.main()

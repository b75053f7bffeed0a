#!/usr/bin/env python3
"""What can be said of the rig without a machine: `make scripts`."""

import sys
import unittest
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))

import chapter  # noqa: E402
import frames  # noqa: E402
import life  # noqa: E402
from lab import Lab  # noqa: E402
from machine import MODELS, PCI  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


class Chapter(unittest.TestCase):
    """The README's chapter is what the machines run."""

    def test_every_command_of_the_chapter_has_its_place(self):
        self.assertEqual(chapter.unknown(), [])

    def test_a_command_that_is_new_or_gone_is_seen(self):
        text = chapter.README.read_text().replace("sudo modprobe vfio-pci", "sudo modprobe uio")
        other = Path(self.enterContext(_folder())) / "README.md"
        other.write_text(text)
        self.assertEqual(chapter.unknown(other), ["sudo modprobe uio", "sudo modprobe vfio-pci"])

    def test_continued_lines_and_comments(self):
        said = dict((command, step) for step, command in chapter.commands())
        self.assertEqual(said["sudo modprobe vfio-pci"], 4)
        self.assertTrue(any(command.startswith("pdmv2 keygen") and command.endswith("2001:db8:b::/48") for command in said))

    def test_the_examples_take_a_machines_values(self):
        for example in ("box-a.toml", "box-b.toml"):
            text = chapter.configured((ROOT / "configs" / example).read_text(), PCI, [0, 1], (None, 1540))
            for part in ('device = "0000:01:00.0"', "cores = [0, 1]", 'idle = "sleep"', "[ports.outside]\nmtu = 1540\n"):
                self.assertIn(part, text)
            self.assertNotIn("3b:00", text)

    def test_nobody_is_asked(self):
        run = chapter.as_run("sudo apt install ./target/deb/*.deb", PCI)
        self.assertIn("apt install -y", run)


class Reading(unittest.TestCase):
    """What is read of machines."""

    def test_totals(self):
        metrics = {'x_total{a="1",b="2"}': 3.0, 'x_total{a="1",b="3"}': 4.0, 'x_totals{a="1"}': 9.0, "x_total": 1.0}
        self.assertEqual(Lab.total(metrics, "x_total"), 8)
        self.assertEqual(Lab.total(metrics, "x_total", a="1"), 7)
        self.assertEqual(Lab.total(metrics, "x_total", b="3"), 4)

    def test_pings_are_counted_however_many_they_are(self):
        ping = (
            "import signal\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
            "sent = 0\n"
            "while sent < 5000 and not signal.sigpending():\n"
            "    print(f'[{sent / 100}] 64 bytes from 2001:db8:b::1: icmp_seq={sent} ttl=64 time=0.1 ms', flush=True)\n"
            "    sent += 1\n"
            "signal.sigwait([signal.SIGINT])\n"
            "print(f'{sent + 2} packets transmitted, {sent} received, 0% packet loss')\n"
        )
        with mock.patch.object(life, "inside", lambda *_: [sys.executable, "-c", ping]), life.counted() as count:
            pass
        self.assertEqual((count.sent, count.lost), (5002, 2))
        self.assertAlmostEqual(count.gap, 0.01)

    def test_frames_are_right(self):
        for octets, _, _ in frames.kinds("2001:db8:a::1", "2001:db8:b::1").values():
            self.assertGreater(len(octets), 16)
        datagram = frames.udp("2001:db8:a::1", "2001:db8:b::1", 9, b"odd")
        pseudo = datagram[8:40] + b"\0\0\0\x0b\0\0\0\x11"
        self.assertEqual(frames._sum(pseudo + datagram[40:]), 0)

    def test_each_kind_of_nic_is_whole(self):
        for model in MODELS.values():
            self.assertLessEqual({"device", "driver", "queues", "jumbo"}, set(model))


def _folder():
    import tempfile

    return tempfile.TemporaryDirectory()


if __name__ == "__main__":
    unittest.main()

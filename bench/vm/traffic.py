"""What hosts see of two boxes: pings, TCP, UDP, long and segmented packets, and counters that add up."""

import json
import subprocess
import time

from lab import Lab, ping
from machine import MODELS, Failed
from wires import HOSTS, MACHINE, OTHER, Capture, call, inside

# A stream with a sum at both ends: what arrives is what was sent, in its order, whatever was cut, joined or offloaded.
STREAM = r"""
import hashlib, os, socket, sys
what, address, port, octets, source = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
total = hashlib.sha256()
if what == "take":
    listening = socket.create_server((address, port), family=socket.AF_INET6)
    listening.settimeout(60)
    print("listening", flush=True)
    stream, _ = listening.accept()
    stream.settimeout(60)
    while octets := stream.recv(1 << 16):
        total.update(octets)
else:
    stream = socket.create_connection((address, port), timeout=20, source_address=(source, 0))
    stream.settimeout(60)
    while octets:
        piece = os.urandom(min(octets, 1 << 18))
        stream.sendall(piece)
        total.update(piece)
        octets -= len(piece)
    stream.shutdown(socket.SHUT_WR)
    stream.recv(1)
print(total.hexdigest())
"""


def stream(host: str, octets: int, port: int = 7100, ends: tuple[str, str] = ("1", "1")) -> tuple[bool, float]:
    """Sends a stream from a host to the other one, from the address with the first of these ends to that with the second. Gives
    whether it arrived as it was, and Mbit/s."""
    source, to = (HOSTS[which][:-1] + end for which, end in zip((host, OTHER[host]), ends))
    words = inside(f"vm-{OTHER[host]}", "python3", "-c", STREAM, "take", to, str(port), "0", to)
    taker = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        taker.stdout.readline()
        begin = time.monotonic()
        words = inside(f"vm-{host}", "python3", "-c", STREAM, "give", to, str(port), str(octets), source)
        given = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        taken = taker.communicate(timeout=60)[0].strip()
        seconds = time.monotonic() - begin
        return given.stdout.strip() == taken != "", octets * 8e-6 / seconds
    finally:
        if taker.poll() is None:
            taker.kill()
            taker.wait()


def iperf(host: str, *options: str, seconds: int = 4) -> dict:
    """iperf3 from a host to the other one; its own figures."""
    to = HOSTS[OTHER[host]]
    words = inside(f"vm-{OTHER[host]}", "iperf3", "-s", "-1", "-B", to, "--forceflush")
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in server.stdout:
            if "listening" in line:
                break
        words = inside(f"vm-{host}", "iperf3", "-c", to, "-J", "-t", str(seconds), "--connect-timeout", "5000", *options)
        said = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60, check=False).stdout
        found = json.loads(said)
        if "error" in found:
            raise Failed(f"iperf3: {found['error']}")
        return found["end"]
    finally:
        if server.poll() is None:
            time.sleep(0.3)
            server.terminate()
        server.communicate(timeout=20)


def pings(lab: Lab) -> None:
    """Packets of every size up to the longest, both ways."""
    mtu = lab.mtu[0] or 1500
    for size in (56, 1000, mtu - 48 - 40, mtu - 48):
        came = {host: ping(host, size) for host in HOSTS}
        figure = ", ".join(f"{host} {n}/10 {mean} ms" for host, (n, mean) in came.items())
        lab.report.must(f"ping {size} octets", all(n == 10 for n, _ in came.values()), figure)


def tcp(lab: Lab) -> None:
    """Streams of a kernel with all its offloads, both ways: what arrives, and what was on the middle wire."""
    offloads = call(*inside("vm-A", "ethtool", "-k", "wire"))
    on = [word for word in ("tx-checksumming", "tcp-segmentation-offload", "generic-segmentation-offload") if f"{word}: on" in offloads]
    capture = Capture("middle", lab.directory / "middle.pcap", "ip6")
    far = {host: Capture(host, lab.directory / f"{host}.pcap", f"ip6 and src {HOSTS[OTHER[host]]}") for host in HOSTS}
    try:
        for port, host in enumerate(HOSTS, 7100):
            same, rate = stream(host, 8_000_000, port)
            lab.report.must(f"TCP from {host}, SHA-256", same, f"8,000,000 octets, {rate:.0f} Mbit/s; {' '.join(on) or 'no offload'}")
    finally:
        for one in (capture, *far.values()):
            one.end()
    packets = capture.text()
    data = [packet for packet in packets if "2001:db8:" in packet and ("DSTOPT" in packet or "TCP" in packet)]
    sealed = sum("opt_type 0x0f" in packet for packet in data)
    bad = sum("incorrect" in packet or "bad udp cksum" in packet for packet in data)
    lab.report.must("TCP on the middle wire", bad == 0 and sealed > len(data) * 0.9, f"{len(data)} packets, {sealed} sealed, {bad} with a wrong checksum")
    for host, one in far.items():
        packets = one.text()
        bad = sum("incorrect" in packet for packet in packets)
        left = sum("opt_type 0x0f" in packet for packet in packets)
        lab.report.must(f"TCP as {host} receives it", bad == 0 and left == 0 and len(packets) > 10, f"{len(packets)} packets, {bad} wrong checksums, {left} options left")


def speed(lab: Lab) -> None:
    """How fast TCP is: no bound, since it is the emulator's speed."""
    for host in HOSTS:
        for options in ((), ("-R",)):
            end = iperf(host, *options)
            rate = end["sum_received"]["bits_per_second"] * 1e-6
            name = f"TCP {host} {'receives' if options else 'sends'}"
            lab.report.must(name, rate > 1, f"{rate:.0f} Mbit/s, {end['sum_sent'].get('retransmits', 0)} sent again")


def udp(lab: Lab) -> None:
    """Every datagram arrives."""
    for host in HOSTS:
        end = iperf(host, "-u", "-b", "4M", "-l", "1200", seconds=3)["sum"]
        lab.report.must(f"UDP from {host}", end["lost_packets"] == 0, f"{end['packets']} sent, {end['lost_packets']} lost")


def counters(lab: Lab) -> None:
    """What one box has sealed, the other has opened, less what a full queue has cost; and nothing else was dropped."""
    # What is under way arrives.
    time.sleep(1)
    found = {name: lab.metrics(machine) for name, machine in lab.machines.items()}
    full = {name: lab.total(one, "pdmv2_packets_dropped_total", reason="tx_full") for name, one in found.items()}
    missed = {name: lab.total(one, "pdmv2_port_missed_packets_total") for name, one in found.items()}
    room = sum(full.values()) + sum(missed.values())
    for host in HOSTS:
        one, other = found[MACHINE[host]], found[MACHINE[OTHER[host]]]
        added = lab.total(one, "pdmv2_options_added_total", form="encrypted")
        removed = lab.total(other, "pdmv2_options_removed_total", form="encrypted")
        lab.report.must(f"options, {host}'s box to the other", removed <= added <= removed + room and added > 0, f"{added} added, {removed} removed")
    for host in HOSTS:
        name = MACHINE[host]
        one = found[name]
        dropped = lab.total(one, "pdmv2_packets_dropped_total")
        stripped = lab.total(one, "pdmv2_packets_stripped_total")
        received, forwarded = (lab.total(one, f"pdmv2_packets_{what}_total") for what in ("received", "forwarded"))
        right = dropped == full[name] and stripped == 0 and received == forwarded + dropped
        queues = f"{full[name]} for a full queue, " if full[name] else ""
        lab.report.must(f"packets of {host}'s box", right, f"{received} received, {forwarded} forwarded, {dropped} dropped, {queues}{stripped} stripped")


def workers(lab: Lab) -> None:
    """Two workers on two queues: traffic on both, in both directions, and nothing lost between them."""
    model = MODELS[lab.a.kind.model]
    if lab.a.kind.queues < 2:
        lab.report.left_out("two workers", f"QEMU's {model['device']} gives its driver one queue")
        return
    before = {name: lab.metrics(machine) for name, machine in lab.machines.items()}
    # A NIC spreads flows by their addresses, so there are several of them. Under a symmetric key what is the same in both addresses
    # cancels out: pairs of equal ends would all come to one queue.
    lasts = [f"1{n}" for n in range(8)]
    pairs = [(last, lasts[0]) for last in lasts]
    for host in HOSTS:
        for last in lasts:
            at = f"{HOSTS[host][:-1]}{last}/64"
            call("ip", "-n", f"vm-{host}", "addr", "replace", at, "dev", "wire", "nodad")
    # No faster than this: where QEMU 7.2 itself spreads packets and a queue of the machine is full, that queue stands still for good.
    for port, host in enumerate(HOSTS, 7300):
        came = sum(ping(host, count=100, interval=0.01, ends=ends)[0] for ends in pairs)
        lab.report.must(f"8 pairs of addresses from {host}", came == 800, f"{came} of 800 pings")
        whole = sum(stream(host, 200_000, port, ends)[0] for ends in pairs)
        lab.report.must(f"TCP of 8 pairs from {host}", whole == len(pairs), f"{whole} of {len(pairs)} streams whole")
    for name, machine in lab.machines.items():
        after = lab.metrics(machine)

        def more(metric: str, before=before[name], after=after, **labels: str) -> int:
            return lab.total(after, metric, **labels) - lab.total(before, metric, **labels)

        each = {worker: more("pdmv2_worker_packets_total", worker=str(worker)) for worker in lab.cores}
        together = more("pdmv2_packets_received_total")
        split = lab.total(after, "pdmv2_flows_split_total")
        right = all(n > 500 for n in each.values()) and sum(each.values()) == together
        figure = ", ".join(f"worker {worker} {n}" for worker, n in each.items())
        lab.report.must(f"workers of box {name}", right, f"{figure}, together {together} received; {split} flows on both")


def jumbo(lab: Lab) -> None:
    """Long frames: hosts with an MTU near 9,000, and 40 octets more in the middle."""
    mtu = MODELS[lab.a.kind.model]["jumbo"]
    before = lab.cores, lab.mtu
    lab.configure(lab.cores, mtu)
    lab.reach()
    pings(lab)
    for port, host in enumerate(HOSTS, 7200):
        same, rate = stream(host, 8_000_000, port)
        lab.report.must(f"TCP from {host}, MTU {mtu[0]}", same, f"{rate:.0f} Mbit/s")
    counters(lab)
    lab.configure(*before)
    lab.reach()

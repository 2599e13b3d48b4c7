"""What is measured of each contender."""

import json
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from budget import machine_time
from contenders import SERVER_ADDRESS
from lab import CLIENT, CONTROL, Lab, run
from report import failed

LOSS = 0.001  # share of datagrams that may be lost and the rate still counts
SMALL, LARGE = 64, 1400  # bytes of payload
STREAMS = 8
CONNECTS = "connections/s"


class Measurements:
    """What is measured between client and server."""

    def __init__(self, contender, lab, quick):
        self.contender = contender
        self.lab = lab
        self.bench = lab.target / "l2bench"
        self.flows = 1  # of the floods
        self.settle = 0.2  # seconds until a server that was started is reached
        self.seconds = 2 if quick else 4
        self.count = 3_000 if quick else 10_000

    def reachable(self):
        self.lab.eventually(lambda: SERVER_ADDRESS in run(f"ip -n {CONTROL} -o addr show"))
        self.lab.eventually(self.answers)

    def answers(self):
        """Whether a datagram comes back."""
        with self.server("echo", 7):
            return run([self.bench, "ask", "--to", f"{SERVER_ADDRESS}:7", "--count", "1"], CLIENT, check=False) != ""

    @contextmanager
    def server(self, verb, port, address=SERVER_ADDRESS):
        """A server of `l2bench` on the control's side."""
        words = ["ip", "netns", "exec", CONTROL, self.bench, verb, "--listen", f"{address}:{port}"]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            time.sleep(self.settle)
            yield server
        finally:
            server.kill()
            server.wait()

    @contextmanager
    def iperf(self):
        words = ["ip", "netns", "exec", CONTROL, "iperf3", "-s", "-1"]
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            time.sleep(0.3)
            yield f"iperf3 -c {SERVER_ADDRESS} -t {self.seconds} -J"
        finally:
            server.kill()
            server.wait()

    def tcp(self, *options):
        """Gb/s that arrive, and the processor time of the whole machine for each GB, in s."""
        with self.iperf() as command:
            before = machine_time()
            end = json.loads(run([*command.split(), *options], CLIENT))["end"]
            worked = machine_time() - before
        received = [value for name, value in end.items() if name.startswith("sum_received")]
        bits = sum(one["bits_per_second"] for one in received)
        return bits / 1e9, worked / (sum(one["bytes"] for one in received) / 1e9)

    def packets(self, size):
        """The highest rate of datagrams that arrives whole, by search (as RFC 2544, 26.1), a second."""
        reached, refused = 0.0, self.offer(size)[0]
        while refused - reached > 0.03 * refused:
            rate = (reached + refused) / 2
            if self.carries(size, rate) or self.carries(size, rate):  # on a busy machine one trial may fail by itself
                reached = rate
            else:
                refused = rate
        return reached

    def carries(self, size, rate):
        sent, received = self.offer(size, rate)
        return received >= sent * (1 - LOSS) and sent >= 0.9 * rate

    def offer(self, size, rate=None):
        """Sends at a rate, or as fast as can be; returns how many datagrams a second left and arrived."""
        with self.server("sink", 9) as sink:
            flood = [self.bench, "flood", "--to", f"{SERVER_ADDRESS}:9", "--bytes", str(size), "--seconds", "1"]
            flood += ["--flows", str(self.flows)]
            sent = json.loads(run(flood + (["--rate", str(rate)] if rate else []), CLIENT))["sent"]
            output, _ = sink.communicate(timeout=30)
        return sent, json.loads(output)["received"]

    def packet_cost(self, rate):
        """The processor time of the whole machine for each million datagrams at a rate, in s."""
        before = machine_time()
        sent, _ = self.offer(SMALL, rate)
        return (machine_time() - before) / (sent / 1e6)

    def request(self, count, address=SERVER_ADDRESS):
        """How long requests take until they are answered, one at a time, in µs."""
        with self.server("echo", 7, address):
            return json.loads(run([self.bench, "ask", "--to", f"{address}:7", "--count", str(count)], CLIENT))

    @contextmanager
    def bulk(self, *options):
        """A run of iperf3 that has begun; what is left of it at the end is killed."""
        with self.iperf() as command:
            words = ["ip", "netns", "exec", CLIENT, *command.split(), *options]
            bulk = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            try:
                time.sleep(0.5)
                yield bulk
            finally:
                bulk.kill()
                bulk.wait()

    def request_beside_bulk(self):
        with self.bulk():
            return self.request(self.count // 10)

    def connections(self):
        """How many connections a second one client makes, one after the other."""
        with self.server("accept", 8):
            words = [self.bench, "connect", "--to", f"{SERVER_ADDRESS}:8", "--seconds", str(self.seconds / 2)]
            return json.loads(run(words, CLIENT))["per_second"]

    def all(self):
        """In the order of the table."""
        up, per_gigabyte = self.tcp("-O", "0.5")
        small = self.packets(SMALL)
        idle, busy = self.request(self.count), self.request_beside_bulk()
        figures = {
            "TCP up, Gb/s": up,
            "TCP down, Gb/s": self.tcp("-O", "0.5", "-R")[0],
            f"TCP up, {STREAMS} streams, Gb/s": self.tcp("-O", "0.5", "-P", str(STREAMS))[0],
            "TCP both ways at once, Gb/s": self.tcp("--bidir")[0],
            "UDP 64 bytes lossless, kpps": small / 1e3,
            "UDP 1400 bytes lossless, kpps": self.packets(LARGE) / 1e3,
            CONNECTS: self.connections(),
            "request/response p50, µs": idle["p50_us"],
            "request/response p99, µs": idle["p99_us"],
            "request/response p99.9, µs": idle["p999_us"],
            "beside TCP p50, µs": busy["p50_us"],
            "beside TCP p99, µs": busy["p99_us"],
            "machine's s per GB": per_gigabyte,
            "machine's s per Mpackets": self.packet_cost(small / 2),
        }
        memory = self.contender.memory()
        return figures | ({"memory of its processes, MB": memory} if memory else {})


def measure(contender_class, target, quick, mtu):
    with tempfile.TemporaryDirectory(prefix="l2bench-") as folder, Lab(Path(folder), target, mtu) as lab:
        contender = contender_class(lab)
        try:
            if contender.segment:
                lab.cables()
            contender.setup()
            measurements = Measurements(contender, lab, quick)
            measurements.reachable()
            return measurements.all()
        except Exception:
            failed(folder)
            raise
        finally:
            contender.stop()

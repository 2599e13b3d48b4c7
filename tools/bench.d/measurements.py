"""What is measured of each contender."""

import json
import subprocess
import tempfile
import time
from pathlib import Path

from contenders import SERVER_ADDRESS, L2link
from lab import CLIENT, CONTROL, Lab, run
from report import failed

LOSS = 0.001  # share of datagrams that may be lost and the rate still counts


class Measurements:
    """What is measured between client and server."""

    def __init__(self, lab, quick):
        self.lab = lab
        self.seconds = 2 if quick else 4
        self.count = 3_000 if quick else 10_000

    def reachable(self):
        self.lab.eventually(lambda: SERVER_ADDRESS in run(f"ip -n {CONTROL} -o addr show"))
        self.lab.eventually(self.answers)

    def answers(self):
        """Whether a datagram comes back."""
        bench = self.lab.target / "l2bench"
        where = f"{SERVER_ADDRESS}:7"
        command = ["ip", "netns", "exec", CONTROL, bench, "echo", "--listen", where]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.2)
            return run([bench, "ask", "--to", where, "--count", "1"], CLIENT, check=False) != ""
        finally:
            server.kill()
            server.wait()

    def tcp(self, reverse):
        server = subprocess.Popen(
            ["ip", "netns", "exec", CONTROL, "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL
        )
        try:
            time.sleep(0.3)
            command = f"iperf3 -c {SERVER_ADDRESS} -t {self.seconds} -O 0.5 -J" + (" -R" if reverse else "")
            report = json.loads(run(command, CLIENT))
            return report["end"]["sum_received"]["bits_per_second"] / 1e9
        finally:
            server.kill()
            server.wait()

    def packets(self):
        """The highest rate of 64-byte datagrams that arrives whole, by search (as RFC 2544, 26.1)."""
        reached, refused = 0.0, self.offer()[0]
        while refused - reached > 0.03 * refused:
            rate = (reached + refused) / 2
            if self.carries(rate) or self.carries(rate):  # on a busy machine one trial may fail by itself
                reached = rate
            else:
                refused = rate
        return reached / 1e3

    def carries(self, rate):
        sent, received = self.offer(rate)
        return received >= sent * (1 - LOSS) and sent >= 0.9 * rate

    def offer(self, rate=None):
        """Sends at a rate, or as fast as can be; returns how many datagrams a second left and arrived."""
        bench = self.lab.target / "l2bench"
        where = f"{SERVER_ADDRESS}:9"
        sink = subprocess.Popen(
            ["ip", "netns", "exec", CONTROL, bench, "sink", "--listen", where], stdout=subprocess.PIPE, text=True
        )
        time.sleep(0.2)
        flood = [bench, "flood", "--to", where, "--bytes", "64", "--seconds", "1"]
        sent = json.loads(run(flood + (["--rate", str(rate)] if rate else []), CLIENT))["sent"]
        output, _ = sink.communicate(timeout=30)
        return sent, json.loads(output)["received"]

    def request(self):
        bench = self.lab.target / "l2bench"
        where = f"{SERVER_ADDRESS}:7"
        server = subprocess.Popen(
            ["ip", "netns", "exec", CONTROL, bench, "echo", "--listen", where], stdout=subprocess.DEVNULL
        )
        time.sleep(0.2)
        report = json.loads(run([bench, "ask", "--to", where, "--count", str(self.count)], CLIENT))
        server.wait(timeout=30)
        return report["p50_us"]

    def all(self):
        return {
            "TCP up, Gb/s": self.tcp(False),
            "TCP down, Gb/s": self.tcp(True),
            "UDP 64 bytes lossless, kpps": self.packets(),
            "request/response p50, µs": self.request(),
        }


def measure(contender_class, target, quick):
    with tempfile.TemporaryDirectory(prefix="l2bench-") as folder, Lab(Path(folder), target) as lab:
        contender = contender_class(lab)
        try:
            if contender.segment:
                lab.cables()
            contender.setup()
            measurements = Measurements(lab, quick)
            measurements.reachable()
            figures = measurements.all()
            if isinstance(contender, L2link):
                figures |= rules(contender, lab, quick)
            return figures
        except Exception:
            failed(folder)
            raise
        finally:
            contender.stop()


def rules(contender, lab, quick):
    command = [lab.target / "l2bench", "rules", "--socket", contender.relay_socket, "--listen", "0.0.0.0:8081"]
    report = json.loads(run([*command, "--count", "100" if quick else "300"], CONTROL))
    return {
        "listen() to rule p50, µs": report["open"]["p50_us"],
        "listen() to rule p99, µs": report["open"]["p99_us"],
        "close() to no rule p50, µs": report["close"]["p50_us"],
        "close() to no rule p99, µs": report["close"]["p99_us"],
    }

"""How soon a program that listens is reached, and how soon the relay knows of it.

The control hears of sockets by tracefs and by BPF in turn. The rules are timed on a quiet machine, and while programs hold 20,000 other
sockets in the symbol's namespace. The peer is what
pasta(1) does for `-t auto`: it reads the namespace's /proc/net/tcp once a second, and looks for ports that are listened at.
"""

import json
import statistics
import subprocess
import sys
from contextlib import contextmanager

from contenders import SERVER_ADDRESS, Sealed
from lab import CLIENT, CONTROL, Lab, run
from measurements import Measurements
from report import table

SOCKETS = 20_000
OF_ONE = 10_000  # sockets of one process: more than most systems allow without asking, and less than all allow
# Opens sockets that nobody sends to, says so, and holds them until its input ends.
HOLD = """
import resource, socket, sys
address, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
for number, one in enumerate(held):
    one.bind((address, first + number))
print(flush=True)
sys.stdin.read()
"""


# Looks each second for new listeners, and says when it saw which, until its input ends.
POLL = """
import select, sys, time
known = set()
while not select.select([sys.stdin], [], [], 1)[0]:
    lines = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}").readlines()[1:]]
    now = {int(words[1].rsplit(":", 1)[1], 16) for words in lines if words[3] == "0A"}
    for port in now - known:
        print(port, time.monotonic(), flush=True)
    known = now
"""
# Listens at one port after the other, at any moment, and says since when.
LISTEN = """
import random, socket, sys, time
held = []
for port in range(int(sys.argv[1]), int(sys.argv[1]) + int(sys.argv[2])):
    time.sleep(random.uniform(0, 0.1))
    begin = time.monotonic()
    held.append(socket.create_server(("0.0.0.0", port)))
    print(port, begin, flush=True)
time.sleep(2)
"""


def study(folder, target, quick):
    """The medians of runs on both triggers in turn, their ratio, and what a program that polls reaches."""
    samples = {"tracefs": [], "bpf": []}
    for number in range(1 if quick else 3):
        for trigger, runs in samples.items():
            place = folder / f"{trigger}-{number}"
            place.mkdir()
            runs.append(measured(place, target, quick, trigger))
    figures = {trigger: medians(runs) for trigger, runs in samples.items()}
    ratios = {row: value / figures["tracefs"][row] for row, value in figures["bpf"].items()}
    polled = polling(folder, target, quick)
    table(figures | {"bpf / tracefs": ratios, "poll each second": polled})
    for trigger in samples:
        rule = figures[trigger]["listen() to rule, p50, µs"]
        print(f"{trigger}, listen() to rule: {rule / polled['listen() to rule, p50, µs']:.5f} of a poll each second")
    return figures | {"poll each second": polled}


def measured(folder, target, quick, trigger):
    """All figures of a pair whose control hears of sockets by this trigger."""
    count = 50 if quick else 300
    with Lab(folder, target) as lab:
        lab.cables()
        pair = Triggered(lab, trigger)
        try:
            pair.setup()
            Measurements(pair, lab, quick).reachable()
            figures = reached(lab, count) | rules(pair, lab, count)
            with held(CONTROL, SOCKETS, "127.0.0.1"):
                figures |= rules(pair, lab, count, f", {SOCKETS:,} sockets")
        finally:
            pair.stop()
    return figures


class Triggered(Sealed):
    """The pair with this `detection`."""

    def __init__(self, lab, trigger):
        super().__init__(lab)
        self.control = f'detection = "{trigger}"\n'


def medians(runs):
    return {row: statistics.median(run[row] for run in runs) for row in runs[0]}


def polling(folder, target, quick):
    """What a program that polls reaches where nothing else happens."""
    with Lab(folder, target):
        return poll(160 if quick else 1000)


def poll(count):
    """From `listen()` until a program that polls has seen it; nobody is told of it yet."""
    words = ["ip", "netns", "exec", CONTROL, sys.executable, "-c"]
    poller = subprocess.Popen([*words, POLL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        begun = run([*words[4:], LISTEN, "20000", str(count)], CONTROL, timeout=60 + count)
    finally:
        poller.kill()
    seen = poller.communicate()[0]
    begun, seen = (dict(line.split() for line in text.splitlines()) for text in (begun, seen))
    took = sorted(float(seen[port]) - float(begin) for port, begin in begun.items())
    at = lambda share: took[int(share * (len(took) - 1))] * 1e6
    return {"listen() to rule, p50, µs": at(0.5), "listen() to rule, p99, µs": at(0.99)}


def reached(lab, count):
    """From `listen()` until the client's first connection, which it tries to make all the time."""
    words = [lab.target / "l2bench", "reach", "--listen", f"{SERVER_ADDRESS}:8090", "--netns", CLIENT, "--count", str(count)]
    return summary("listen() to first connection", json.loads(run(words, CONTROL, timeout=60 + count)))


def rules(contender, lab, count, suffix=""):
    """From `listen()` and `close()` until the relay reports the rule."""
    words = [lab.target / "l2bench", "rules", "--socket", contender.relay_socket, "--listen", "0.0.0.0:8081"]
    report = json.loads(run([*words, "--count", str(count)], CONTROL))
    return summary(f"listen() to rule{suffix}", report["open"]) | summary(f"close() to no rule{suffix}", report["close"])


def summary(what, report):
    return {f"{what}, p50, µs": report["p50_us"], f"{what}, p99, µs": report["p99_us"]}


@contextmanager
def held(namespace, count, address):
    """Programs hold so many UDP sockets at an address, from port 10,000 up."""
    holders = []
    try:
        for first in range(0, count, OF_ONE):
            words = [address, str(10_000 + first), str(min(OF_ONE, count - first))]
            words = ["ip", "netns", "exec", namespace, sys.executable, "-c", HOLD, *words]
            holders.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        if not all(holder.stdout.readline() for holder in holders):
            raise RuntimeError(f"{count} sockets cannot be opened")
        yield
    finally:
        for holder in holders:
            holder.stdin.close()
            holder.wait()

"""BFD of 50 ms × 3 between FRR on the control and FRR behind the relay, under TCP bulk load, beside the same on a plain veth."""

import json
import subprocess
import time

from lab import Lab, run
from router import CONTROL, LEFT, PORTS, PREFIX, RIGHT, Router

PEER = PREFIX + "peer"
FRR = "/usr/lib/frr"
INTERVAL_MS, MULTIPLIER = 50, 3
NETWORK = PORTS["eth1"][1]


def study(folder, target, quick):
    seconds = 5 if quick else 20
    figures = {}
    run(f"ip netns add {PEER}")
    try:
        run(f"ip netns add {LEFT}")
        run(f"ip -n {LEFT} link add eth0 type veth peer name eth1 netns {PEER}")
        Lab.address(PEER, "eth1", f"{NETWORK}.1")
        Lab.address(LEFT, "eth0", f"{NETWORK}.2")
        figures["plain veth, TCP over it"] = flaps(folder, PEER, [(LEFT, PEER, f"{NETWORK}.1")], seconds)
    finally:
        for namespace in (LEFT, PEER):
            run(f"ip netns del {namespace}", check=False)
    with Router(folder, target):
        up = (LEFT, CONTROL, f"{NETWORK}.1")
        transit = (LEFT, RIGHT, f"{PORTS['eth2'][1]}.2")
        figures["l2link, TCP to the control"] = flaps(folder, CONTROL, [up], seconds)
        figures["l2link, TCP through the relay"] = flaps(folder, CONTROL, [transit], seconds)
    show(figures)
    return figures


def flaps(folder, near, loads, seconds):
    """Has BFD run between `near` and LEFT while iperf3 loads the way; how often the session went down."""
    near_bfd, far_bfd = Bfd(folder, near, f"{NETWORK}.2"), Bfd(folder, LEFT, f"{NETWORK}.1")
    with near_bfd, far_bfd:
        Lab.eventually(lambda: near_bfd.peer("")["status"] == "up" and far_bfd.peer("")["status"] == "up")
        before = [bfd.peer("counters")["session-down"] for bfd in (near_bfd, far_bfd)]
        rates = [load(*way, seconds) for way in loads]
        after = [bfd.peer("counters")["session-down"] for bfd in (near_bfd, far_bfd)]
        up = near_bfd.peer("")["status"] == "up"
    count = sum(after) - sum(before)
    if not up and count == 0:
        raise RuntimeError("the BFD session is down, and its counters do not tell")
    return {"TCP, Gb/s": rates[0], "seconds": seconds, "flaps": count}


def load(client, server, address, seconds):
    """TCP as fast as it goes; Gb/s."""
    listener = subprocess.Popen(["ip", "netns", "exec", server, "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.3)
        report = json.loads(run(f"iperf3 -c {address} -t {seconds} -J", client, timeout=seconds + 30))
        return report["end"]["sum_received"]["bits_per_second"] / 1e9
    finally:
        listener.kill()
        listener.wait()


class Bfd:
    """zebra and bfdd in a namespace, with one peer."""

    def __init__(self, folder, namespace, address):
        self.folder = folder / f"frr-{namespace}"
        self.namespace = namespace
        self.address = address
        self.daemons = []

    def __enter__(self):
        self.folder.mkdir(exist_ok=True)
        self.folder.parent.chmod(0o755)
        (self.folder / "zebra.conf").write_text("")
        (self.folder / "bfdd.conf").write_text(
            f"bfd\n peer {self.address}\n  receive-interval {INTERVAL_MS}\n  transmit-interval {INTERVAL_MS}\n"
            f"  detect-multiplier {MULTIPLIER}\n  no shutdown\n"
        )
        run(["chown", "-R", "frr:frr", str(self.folder)])
        for daemon in ("zebra", "bfdd"):
            words = ["ip", "netns", "exec", self.namespace, f"{FRR}/{daemon}", "--log", "stdout", "--vty_port", "0"]
            words += ["--config_file", self.folder / f"{daemon}.conf", "--pid_file", self.folder / f"{daemon}.pid"]
            words += ["--socket", self.folder / "zebra.sock", "--vty_socket", self.folder]
            if daemon == "bfdd":
                words += ["--bfdctl", self.folder / "bfdd.sock"]
            with open(self.folder.parent / f"{daemon}-{self.namespace}.log", "wb") as log:
                self.daemons.append(subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL))
            Lab.eventually((self.folder / f"{daemon}.vty").exists)
        return self

    def __exit__(self, *_):
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            daemon.wait(timeout=10)

    def peer(self, what):
        """What bfdd tells of its peer: its state, or its `counters`."""
        words = ["vtysh", "--vty_socket", str(self.folder), "-c", f"show bfd peers {what} json".replace("  ", " ")]
        return json.loads(run(words))[0]


def show(figures):
    width = max(map(len, figures))
    print(f"\n{f'BFD {INTERVAL_MS} ms × {MULTIPLIER}':{width}}{'TCP, Gb/s':>12}{'seconds':>9}{'flaps':>7}")
    for name, figure in figures.items():
        print(f"{name:{width}}{figure['TCP, Gb/s']:12.2f}{figure['seconds']:9}{figure['flaps']:7}")

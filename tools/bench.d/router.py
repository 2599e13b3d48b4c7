"""A router split in two, for the studies of routes, carrier and BFD.

    left ── eth1 [relay] eth2 ── right        [control]: symbols eth1 and eth2 in its own namespace
                  lan0 ══════════ lan0
"""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

from lab import Lab, run, without_offloads

PREFIX = f"l2bench{os.getpid()}-"
LEFT, RIGHT, RELAY, CONTROL = (PREFIX + name for name in ("left", "right", "relay", "control"))
PORTS = {"eth1": (LEFT, "192.0.2"), "eth2": (RIGHT, "198.51.100")}  # .1 is the port, .2 the machine behind it


class Router:
    """The namespaces and both daemons, always removed.

    `routes` is whether the control mirrors from the beginning, `keepalive_ms` how often the daemons speak if nothing happens.
    """

    def __init__(self, folder, target, routes=True, keepalive_ms=100):
        self.folder = Path(folder)
        self.target = target
        self.routes = routes
        self.keepalive_ms = keepalive_ms
        self.relay = self.control = None

    def __enter__(self):
        try:
            self._connect()
            self.relay = self._daemon("relay", RELAY, self._relay_toml())
            self.start_control(self.routes)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for daemon in filter(None, (self.control, self.relay)):
            daemon.terminate()
        for daemon in filter(None, (self.control, self.relay)):
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for namespace in (LEFT, RIGHT, RELAY, CONTROL):
            for pid in run(f"ip netns pids {namespace}", check=False).split():
                run(f"kill -9 {pid}", check=False)
            run(f"ip netns del {namespace}", check=False)

    def _connect(self):
        for namespace in (LEFT, RIGHT, RELAY, CONTROL):
            run(f"ip netns add {namespace}")
            run(f"ip -n {namespace} link set lo up")
        for number, (port, (namespace, network)) in enumerate(PORTS.items(), start=100):
            # Linux tells late of a veth's carrier if both ends have the same number (net/core/link_watch.c).
            run(f"ip -n {RELAY} link add {port} index {number} type veth peer name eth0 netns {namespace}")
            Lab.address(RELAY, port, f"{network}.1")
            Lab.address(namespace, "eth0", f"{network}.2")
            run(f"ip -n {namespace} route add default via {network}.1")
        run(f"ip -n {RELAY} link add lan0 type veth peer name lan0 netns {CONTROL}")
        for namespace in (RELAY, CONTROL):
            run(f"ip -n {namespace} link set lan0 up")
            without_offloads(namespace, "lan0")
        (self.folder / "psk").write_text(run(["openssl", "rand", "-base64", "32"]))
        (self.folder / "psk").chmod(0o600)

    def _relay_toml(self):
        allow = '[[port.allow]]\ncontrol = "control1"\nroutes = true\n'
        ports = "".join(f'[[port]]\ninterface = "{port}"\n{allow}' for port in PORTS)
        return f'name = "relay1"\n{self._link("relay")}{ports}'

    def _link(self, daemon):
        link = f'[link]\ninterface = "lan0"\npsk_file = "psk"\nkeepalive_ms = {self.keepalive_ms}\n'
        return f'{link}[api]\nsocket = "{self.folder}/{daemon}.sock"\n'

    def _daemon(self, name, namespace, configuration):
        (self.folder / f"{name}.toml").write_text(configuration)
        with open(self.folder / f"l2{name}.log", "ab") as log:
            words = ["ip", "netns", "exec", namespace, self.target / f"l2{name}", "--config", self.folder / f"{name}.toml"]
            return subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def start_control(self, routes):
        """Starts the control, and does not wait for its symbols if it goes on with those of its predecessor."""
        configuration = 'name = "control1"\n' + self._link("control")
        configuration += f"[routes]\nenabled = {str(routes).lower()}\n"
        configuration += "".join(f'[[symbol]]\nkind = "interface"\nrelay = "relay1"\nport = "{port}"\n' for port in PORTS)
        self.control = self._daemon("control", CONTROL, configuration)
        Lab.eventually(self._symbols_are_up)

    def _symbols_are_up(self):
        try:
            rows = self.show("control", "symbols")
        except OSError:
            return False
        return len(rows) == len(PORTS) and all(row["state"] == "up" for row in rows)

    def hand_over(self, routes):
        """Ends the control so that its successor goes on with the symbols, and starts that one."""
        self.control.send_signal(subprocess.signal.SIGUSR2)
        self.control.wait(timeout=20)
        self.start_control(routes)

    def show(self, daemon, thing):
        """The rows of `l2ctl show`."""
        return self._ask(daemon, {"verb": "show", "object": thing})["data"]

    def verify(self, daemon):
        """The differences between what a daemon means and what its kernel has."""
        return self._ask(daemon, {"verb": "verify"})["data"]

    def counters(self, daemon):
        return {row["name"]: row["value"] for row in self.show(daemon, "counters")}

    def _ask(self, daemon, request):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(60)
            stream.connect(str(self.folder / f"{daemon}.sock"))
            stream.sendall(json.dumps(request).encode() + b"\n")
            with stream.makefile() as answers:
                answer = json.loads(answers.readline())
        if not answer.get("ok"):
            raise RuntimeError(f"l2{daemon} answers {request}: {answer}")
        return answer

    def memory(self, daemon):
        """Greatest resident memory of a daemon so far, in MB."""
        status = Path(f"/proc/{getattr(self, daemon).pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1000


class Transit:
    """A ping through the relay from its left to its right, 500 times a second, while something else is measured."""

    def __enter__(self):
        words = ["ip", "netns", "exec", LEFT, "ping", "-q", "-i", "0.002", f"{PORTS['eth2'][1]}.2"]
        self.ping = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.ping.send_signal(subprocess.signal.SIGINT)
        output, _ = self.ping.communicate(timeout=10)
        numbers = [words.split() for words in output.splitlines() if "packets transmitted" in words]
        if not numbers:
            raise RuntimeError(f"the ping through the relay says: {output}")
        self.sent, self.received = int(numbers[0][0]), int(numbers[0][3])

    @property
    def lost(self):
        """Packets lost; the last may have been on its way when the ping was ended."""
        return max(0, self.sent - self.received - 1)

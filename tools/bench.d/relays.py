"""From relay to relay of one router, beside from relay to control, over the same segment in one run.

    left ── eth1 [relay1] ─┐            ┌─ [control]: symbols eth1 and eth2 in its own namespace
                           ├─ segment ──┤
    right ─ eth2 [relay2] ─┘            └─ every frame has at most 1500 bytes, as on a cable
"""

import json
import os
import statistics
import subprocess
import time

from lab import Lab, run, without_offloads

PREFIX = f"l2bench{os.getpid()}-"
LEFT, RIGHT, RELAY1, RELAY2, CONTROL, SEGMENT = (
    PREFIX + name for name in ("left", "right", "relay1", "relay2", "control", "segment")
)
NAMESPACES = (LEFT, RIGHT, RELAY1, RELAY2, CONTROL, SEGMENT)
PORTS = {"relay1": (RELAY1, "eth1", LEFT, "192.0.2"), "relay2": (RELAY2, "eth2", RIGHT, "198.51.100")}
# Who serves the left machine, and where.
ENDS = {"relay to control": (CONTROL, "192.0.2.1"), "relay to relay": (RIGHT, "198.51.100.2")}


def study(folder, target, quick):
    samples = {end: [] for end in ENDS}
    with Joint(folder, target) as joint:
        for _ in range(2 if quick else 5):
            for end, (namespace, address) in ENDS.items():
                samples[end].append(joint.measure(namespace, address, 2 if quick else 4))
    figures = {
        end: {row: statistics.median(sample[row] for sample in runs) for row in runs[0]} for end, runs in samples.items()
    }
    print()
    for row in next(iter(figures.values())):
        here, there = (figures[end][row] for end in ENDS)
        print(f"{row:<24} relay to control {here:9.2f}   relay to relay {there:9.2f}   ratio {there / here:.2f}")
    return figures


class Joint:
    """The namespaces and the three daemons, always removed."""

    def __init__(self, folder, target):
        self.folder, self.target, self.daemons = folder, target, []

    def __enter__(self):
        try:
            self._connect()
            for name, (namespace, port, *_) in PORTS.items():
                allow = '[[port.allow]]\ncontrol = "control1"\nroutes = true\n'
                self._daemon("l2relay", name, namespace, f'[[port]]\ninterface = "{port}"\n{allow}')
            symbols = "".join(
                f'[[symbol]]\nkind = "interface"\nrelay = "{name}"\nport = "{port}"\n' for name, (_, port, *_) in PORTS.items()
            )
            self._daemon("l2control", "control1", CONTROL, f"[routes]\nenabled = true\n{symbols}")
            for _, address in ENDS.values():
                Lab.eventually(lambda: self._answers(address))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for namespace in NAMESPACES:
            for pid in run(f"ip netns pids {namespace}", check=False).split():
                run(f"kill -9 {pid}", check=False)
            run(f"ip netns del {namespace}", check=False)

    def measure(self, namespace, address, seconds):
        return {
            "TCP, Gb/s": self._tcp(namespace, address, seconds, ""),
            "TCP back, Gb/s": self._tcp(namespace, address, seconds, " -R"),
            "request/response, µs": self._round_trip(namespace, address),
        }

    def _connect(self):
        for namespace in NAMESPACES:
            run(f"ip netns add {namespace}")
            run(f"ip -n {namespace} link set lo up")
            run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1", namespace)
        run(f"ip -n {SEGMENT} link add br0 type bridge")
        run(f"ip -n {SEGMENT} link set br0 up")
        for number, namespace in enumerate((RELAY1, RELAY2, CONTROL)):
            run(f"ip -n {SEGMENT} link add s{number} type veth peer name lan0 netns {namespace}")
            run(f"ip -n {SEGMENT} link set s{number} master br0 up")
            run(f"ip -n {namespace} link set lan0 up")
            for where, end in ((SEGMENT, f"s{number}"), (namespace, "lan0")):
                without_offloads(where, end)
        for relay, port, machine, network in PORTS.values():
            run(f"ip -n {relay} link add {port} type veth peer name eth0 netns {machine}")
            Lab.address(relay, port, f"{network}.1")
            Lab.address(machine, "eth0", f"{network}.2")
            run(f"ip -n {machine} route add default via {network}.1")
        (self.folder / "psk").write_text(run(["openssl", "rand", "-base64", "32"]))
        (self.folder / "psk").chmod(0o600)

    def _daemon(self, program, name, namespace, more):
        path = self.folder / f"{name}.toml"
        link = '[link]\ninterface = "lan0"\npsk_file = "psk"\n'
        path.write_text(f'name = "{name}"\n{link}[api]\nsocket = "{self.folder}/{name}.sock"\n{more}')
        with open(self.folder / f"{name}.log", "ab") as log:
            words = ["ip", "netns", "exec", namespace, self.target / program, "--config", path]
            self.daemons.append(subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL))

    def _answers(self, address):
        return " 0% packet loss" in run(f"ping -c 1 -W 1 {address}", LEFT, check=False)

    def _tcp(self, namespace, address, seconds, more):
        with self._server(namespace, ["iperf3", "-s", "-1"]):
            report = json.loads(run(f"iperf3 -c {address} -t {seconds} -O 0.5 -J{more}", LEFT))
        return report["end"]["sum_received"]["bits_per_second"] / 1e9

    def _round_trip(self, namespace, address):
        where = f"{address}:7"
        bench = self.target / "l2bench"
        with self._server(namespace, [bench, "echo", "--listen", where]):
            return json.loads(run([bench, "ask", "--to", where, "--count", "3000"], LEFT))["p50_us"]

    def _server(self, namespace, words):
        server = subprocess.Popen(["ip", "netns", "exec", namespace, *words], stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        return Ended(server)


class Ended:
    """A program that is ended at the end of a block."""

    def __init__(self, process):
        self.process = process

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

"""What it costs the data path to have many rules, many flows and many controls on one port, by the daemons and by the kernel.

    client ── eth0 ══ eth1 [relay] lan0 ══ segment ══ lan0 [control]
                                              ╠══════ lan0 [control2], and so on, each with a symbol of the same port

A rule for each socket: programs on the control hold so many UDP sockets at the port's addresses. Flows are of datagrams from as many
sources, one after the other. The kernel's path takes flows of some packets a second, so there are fewer of them.
"""

import os
import time
from contextlib import ExitStack
from typing import NamedTuple

from contenders import SERVER_ADDRESS, Kernel, Sealed
from detection import held
from lab import CLIENT, CONTROL, RELAY, Lab, run, switch
from measurements import SMALL, Measurements
from report import spread, table

OF_ADDRESS = 50_000  # rules of sockets at one address
MORE_ADDRESSES = ("192.0.2.101",)
SEGMENT = f"l2bench{os.getpid()}-segment"


class Case(NamedTuple):
    """How much there is."""

    rules: int = 1
    flows: int = 1
    controls: int = 1

    def __str__(self):
        more = [f"{number:,} {what}" for what, number in self._asdict().items() if number > 1]
        return ", ".join(more) or "one of each"


CASES = {
    Sealed: [Case(), Case(rules=1_000), Case(rules=100_000), Case(flows=1_000_000), Case(controls=16)],
    Kernel: [Case(), Case(rules=100_000), Case(flows=10_000), Case(controls=16)],
}


def study(folder, target, quick):
    results = {}
    for contender, cases in CASES.items():
        samples = {str(case): [] for case in cases}
        for repeat in range(1 if quick else 3):
            for case in cases:
                print(f"measuring: {contender.name}, {case}, run {repeat + 1}", flush=True)
                place = folder / f"{contender.name}-{case}-{repeat}".replace(" ", "-").replace(",", "")
                place.mkdir()
                samples[str(case)].append(measure(contender, place, target, quick, case))
        print(f"\n{contender.name}; medians, and least to most of all runs")
        of_one = spread(samples)
        table(of_one)
        base = of_one[str(Case())]
        for name, figures in of_one.items():
            print(f"{name}: " + ", ".join(f"{row} {figures[row] / base[row]:.2f}" for row in base) + " of the first")
        results[contender.name] = of_one
    return results


def measure(contender, place, target, quick, case):
    with Many(place, target, case.controls) as lab, ExitStack() as stack:
        pair = Pair(lab, contender)
        stack.callback(pair.stop)
        pair.setup()
        measurements = Measurements(pair, lab, quick)
        measurements.reachable()
        measurements.flows = case.flows
        rules = case.rules
        for address in (SERVER_ADDRESS, *MORE_ADDRESSES):
            if rules > 1:
                stack.enter_context(held(CONTROL, min(rules, OF_ADDRESS), address))
            rules -= OF_ADDRESS
        if case.rules > 1:
            # To look at so many sockets takes the control some time, which it does not spend at once again.
            measurements.settle = 0.2 + 3 * case.rules / 100_000
            lab.eventually(lambda: pair.rules() >= case.rules, 60)
        return {
            "UDP 64 bytes lossless, kpps": measurements.packets(SMALL) / 1e3,
            "request/response p50, µs": measurements.request(measurements.count)["p50_us"],
        }


class Many(Lab):
    """A lab whose segment is a bridge, with more controls on it."""

    def __init__(self, folder, target, controls):
        super().__init__(folder, target)
        self.more = [f"l2bench{os.getpid()}-control{number}" for number in range(2, controls + 1)]

    def __enter__(self):
        super().__enter__()
        try:
            for namespace in (SEGMENT, *self.more):
                run(f"ip netns add {namespace}")
                run(f"ip -n {namespace} link set lo up")
            run(f"ip -n {CLIENT} link add eth0 type veth peer name eth1 netns {RELAY}")
            run(f"ip -n {RELAY} link set eth1 up")
            switch(SEGMENT, [RELAY, CONTROL, *self.more])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        super().__exit__()
        for namespace in (SEGMENT, *self.more):
            run(f"ip netns del {namespace}", check=False)


class Pair:
    """This product, with more controls."""

    def __init__(self, lab, contender):
        self.lab = lab
        self.pair = contender(lab)
        self.stop = self.pair.stop

    def setup(self):
        self.pair.setup()
        for address in MORE_ADDRESSES:
            run(f"ip -n {RELAY} addr add {address}/24 dev eth1")
        folder = self.pair.relay_socket.parent
        text = (folder / "control.toml").read_text()
        for number, namespace in enumerate(self.lab.more, start=2):
            (folder / f"control{number}.toml").write_text(
                text.replace('"control1"', f'"control{number}"').replace("control.sock", f"control{number}.sock")
            )
            words = [self.lab.target / "l2control", "--config", folder / f"control{number}.toml"]
            self.pair.spawn(words, namespace, f"l2control{number}.log")
        for namespace in self.lab.more:
            self.lab.eventually(lambda ns=namespace: SERVER_ADDRESS in run(f"ip -n {ns} -o addr show"))
        time.sleep(0.5)

    def rules(self):
        """How many rules the relay has."""
        words = [self.lab.target / "l2ctl", "--socket", self.pair.relay_socket, "show", "rules", "--json"]
        return run(words).count('"up_tunnel"')

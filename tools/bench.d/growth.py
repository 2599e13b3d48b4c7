"""What it costs the data path to have many rules, and many controls, on one port.

    client ── eth0 ══ eth1 [relay] lan0 ══ segment ══ lan0 [control]
                                              ╠══════ lan0 [control2], and so on, each with a symbol of the same port

A rule for each socket: programs on the control hold so many UDP sockets at the port's address.
"""

import os
import time
from contextlib import ExitStack

from contenders import SERVER_ADDRESS, Sealed
from detection import held
from lab import CLIENT, CONTROL, RELAY, Lab, run, switch
from measurements import SMALL, Measurements
from report import table

RULES = (1, 1_000, 50_000)
CONTROLS = 16
SEGMENT = f"l2bench{os.getpid()}-segment"


def study(folder, target, quick):
    results = {}
    for controls in (1, CONTROLS):
        for rules in RULES if controls == 1 else RULES[:1]:
            name = f"{rules:,} rules, {controls} controls"
            print(f"measuring: {name}", flush=True)
            place = folder / f"{rules}-{controls}"
            place.mkdir()
            results[name] = measure(place, target, quick, rules, controls)
    table(results)
    base = next(iter(results.values()))
    for name, figures in results.items():
        print(f"{name}: " + ", ".join(f"{row} {figures[row] / base[row]:.2f}" for row in base) + " of the first")
    return results


def measure(place, target, quick, rules, controls):
    with Many(place, target, controls) as lab, ExitStack() as stack:
        pair = Pair(lab)
        stack.callback(pair.stop)
        pair.setup()
        measurements = Measurements(pair, lab, quick)
        measurements.reachable()
        if rules > 1:
            stack.enter_context(held(CONTROL, rules, SERVER_ADDRESS))
            lab.eventually(lambda: pair.rules() >= rules, 60)
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


class Pair(Sealed):
    """This product, with more controls."""

    def setup(self):
        super().setup()
        folder = self.relay_socket.parent
        text = (folder / "control.toml").read_text()
        for number, namespace in enumerate(self.lab.more, start=2):
            (folder / f"control{number}.toml").write_text(
                text.replace('"control1"', f'"control{number}"').replace("control.sock", f"control{number}.sock")
            )
            words = [self.lab.target / "l2control", "--config", folder / f"control{number}.toml"]
            self.spawn(words, namespace, f"l2control{number}.log")
        for namespace in self.lab.more:
            self.lab.eventually(lambda ns=namespace: SERVER_ADDRESS in run(f"ip -n {ns} -o addr show"))
        time.sleep(0.5)

    def rules(self):
        """How many rules the relay has."""
        words = [self.lab.target / "l2ctl", "--socket", self.relay_socket, "show", "rules", "--json"]
        return run(words).count('"up_tunnel"')

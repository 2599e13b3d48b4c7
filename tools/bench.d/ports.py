"""How long a request takes while TCP takes all that there is: at the port of the transfer, and at another port of the same relay.

    client ── eth0 ══ eth1 [relay] lan0 ══ segment ══ lan0 [control]: symbols eth1 and eth3
           ── eth2 ══ eth3 [relay]
"""

import json

from contenders import SERVER_ADDRESS, Sealed
from lab import CLIENT, CONTROL, RELAY, Lab, run
from measurements import Measurements
from report import spread, table

OTHER_PORT = "198.51.100"  # the first three numbers of its addresses
WAYS = {"up": [], "down": ["-R"]}
PLACES = {"the transfer's port": SERVER_ADDRESS, "another port": f"{OTHER_PORT}.1"}
SECONDS = 15  # as many requests take that have a long time


def study(folder, target, quick):
    samples = {place: [] for place in PLACES}
    for number in range(1 if quick else 3):
        for place, address in PLACES.items():
            figures = {}
            for way, options in WAYS.items():
                run_folder = folder / f"{number}-{place}-{way}".replace(" ", "-")
                run_folder.mkdir()
                figures |= {f"beside TCP {way}, {row}": value for row, value in beside(run_folder, target, address, options).items()}
            samples[place].append(figures)
    print()
    figures = spread(samples)
    table(figures)
    return figures


def beside(folder, target, address, options):
    with Lab(folder, target) as lab:
        pair = TwoPorts(lab)
        try:
            lab.cables()
            pair.setup()
            measurements = Measurements(pair, lab, True)
            measurements.reachable()
            lab.eventually(lambda: address in run(f"ip -n {CONTROL} -o addr show"))
            measurements.seconds = SECONDS
            with measurements.bulk(*options) as bulk:
                asked = measurements.request(500, address)
                end = json.loads(bulk.communicate()[0])["end"]
        finally:
            pair.stop()
    return {
        "p50, µs": asked["p50_us"],
        "p99, µs": asked["p99_us"],
        "its Gb/s": end["sum_received"]["bits_per_second"] / 1e9,
    }


class TwoPorts(Sealed):
    """The pair with a second port, and a symbol for it."""

    relay_more = '[[port]]\ninterface = "eth3"\n[[port.allow]]\ncontrol = "*"\n'
    control_more = '[[symbol]]\nkind = "interface"\nrelay = "relay1"\nport = "eth3"\nname = "eth3"\n'

    def setup(self):
        run(f"ip -n {CLIENT} link add eth2 type veth peer name eth3 netns {RELAY}")
        self.lab.address(RELAY, "eth3", f"{OTHER_PORT}.1")
        self.lab.address(CLIENT, "eth2", f"{OTHER_PORT}.2")
        super().setup()

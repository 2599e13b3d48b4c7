"""A way to join a client to a server, and this product's."""

import subprocess
from pathlib import Path

from lab import CLIENT, CONTROL, RELAY, join_what_comes, run

CLIENT_ADDRESS, SERVER_ADDRESS = "192.0.2.2", "192.0.2.1"
UNDERLAY = "198.51.100"  # its first three numbers


class Contender:
    """One way to join the client to the server. `setup` builds it between the namespaces that `Lab` made."""

    name = ""
    segment = True

    def __init__(self, lab):
        self.lab = lab
        self.children = []

    def setup(self):
        """Joins client and server."""

    def ends(self, client, server, overhead=0):
        """Gives both ends their addresses and the greatest MTU with which nothing is fragmented on the segment."""
        mtu = self.lab.mtu - overhead
        self.lab.address(CLIENT, client, CLIENT_ADDRESS, mtu)
        self.lab.address(CONTROL, server, SERVER_ADDRESS, mtu)

    def underlay(self):
        """Gives relay and control addresses on the segment, for those that need them."""
        self.lab.address(RELAY, "lan0", f"{UNDERLAY}.1", self.lab.mtu)
        self.lab.address(CONTROL, "lan0", f"{UNDERLAY}.2", self.lab.mtu)

    def memory(self):
        """Resident memory of its processes, MB."""
        statuses = [Path(f"/proc/{child.pid}/status").read_text() for child in self.children]
        return sum(int(text.split("VmRSS:")[1].split()[0]) for text in statuses) / 1024

    def spawn(self, command, namespace, log):
        words = ["ip", "netns", "exec", namespace, *map(str, command)]
        with open(self.lab.folder / log, "wb") as output:
            child = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.children.append(child)
        return child

    def stop(self):
        for child in reversed(self.children):
            child.terminate()
        for child in self.children:
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children.clear()


class L2link(Contender):
    """This product."""

    link = ""
    symbol = 'kind = "interface"\nname = "eth1"\n'
    control = ""  # lines of the control's configuration, before all sections
    relay_more = control_more = ""  # lines behind all others
    overhead = 0
    security = 'psk_file = "psk"\n'

    def setup(self):
        folder = self.lab.folder / self.name.replace(" ", "-")
        folder.mkdir()
        (folder / "psk").write_text(run(["openssl", "rand", "-base64", "32"]))
        (folder / "psk").chmod(0o600)
        link = f'[link]\ninterface = "lan0"\n{self.security}{self.link}'
        (folder / "relay.toml").write_text(
            f'name = "relay1"\n{link}[api]\nsocket = "{folder}/relay.sock"\n'
            f'[[port]]\ninterface = "eth1"\n[[port.allow]]\ncontrol = "*"\n{self.relay_more}'
        )
        (folder / "control.toml").write_text(
            f'name = "control1"\n{self.control}{link}[api]\nsocket = "{folder}/control.sock"\n'
            f'[[symbol]]\nrelay = "relay1"\nport = "eth1"\n{self.symbol}{self.control_more}'
        )
        mtu = self.lab.mtu - self.overhead
        self.lab.address(RELAY, "eth1", SERVER_ADDRESS, mtu)
        self.lab.address(CLIENT, "eth0", CLIENT_ADDRESS, mtu)
        target = self.lab.target
        self.spawn([target / "l2relay", "--config", folder / "relay.toml"], RELAY, "l2relay.log")
        self.spawn([target / "l2control", "--config", folder / "control.toml"], CONTROL, "l2control.log")
        self.relay_socket = folder / "relay.sock"


class Sealed(L2link):
    name = "l2link sealed"


class Address(L2link):
    """With a symbol that is an address of the relay's port, and no interface with all of them."""

    name = "l2link address"
    symbol = f'kind = "address"\nname = "web"\naddress = "{SERVER_ADDRESS}"\nlocal = "10.99.0.2"\n'


class Encrypted(L2link):
    name = "l2link encrypted"
    link = "encrypt = true\n"


class Clear(L2link):
    name = "l2link clear"
    link = 'data = "clear"\n'


class Kernel(L2link):
    """With the fast path in the kernel. Like all tunnels, it needs room for its headers on the segment, whose ends join packets
    that come, as network cards do by default."""

    name = "l2link kernel"
    link = 'data = "clear"\nfast_path = "require"\n'
    overhead = 34

    def setup(self):
        join_what_comes()
        super().setup()


class Unsecured(L2link):
    name = "l2link none"
    security = 'security = "none"\n'


VARIANTS = [Sealed, Clear, Encrypted, Unsecured, Kernel, Address]

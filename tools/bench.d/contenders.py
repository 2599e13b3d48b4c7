"""The ways to join a client to a server that are compared."""

import subprocess

from lab import CLIENT, CONTROL, RELAY, run

CLIENT_ADDRESS, SERVER_ADDRESS = "192.0.2.2", "192.0.2.1"


class Contender:
    """One way to join the client to the server. `setup` builds it between the namespaces that `Lab` made."""

    name = ""
    segment = True

    def __init__(self, lab):
        self.lab = lab
        self.children = []

    def setup(self):
        """Joins client and server."""

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


class Plain(Contender):
    """A veth from client to server: the limit of this machine."""

    name = "plain veth"
    segment = False

    def setup(self):
        run(f"ip -n {CLIENT} link add eth0 type veth peer name eth1 netns {CONTROL}")
        self.lab.address(CLIENT, "eth0", CLIENT_ADDRESS)
        self.lab.address(CONTROL, "eth1", SERVER_ADDRESS)


class Vxlan(Contender):
    """The kernel's VXLAN over the segment, bridged to the relay's port."""

    name = "kernel VXLAN"

    def setup(self):
        self.lab.address(RELAY, "lan0", "198.51.100.1")
        self.lab.address(CONTROL, "lan0", "198.51.100.2")
        tunnel = "type vxlan id 7 dstport 4789 local 198.51.100.{} remote 198.51.100.{}"
        run(f"ip -n {RELAY} link add vx0 {tunnel.format(1, 2)}")
        run(f"ip -n {CONTROL} link add eth1 {tunnel.format(2, 1)}")
        self.lab.bridge(RELAY, "vx0", "eth1")
        self.lab.address(CLIENT, "eth0", CLIENT_ADDRESS, mtu=1450)
        self.lab.address(CONTROL, "eth1", SERVER_ADDRESS, mtu=1450)


class Tinc(Contender):
    """tinc in switch mode, the common user-space layer-2 tunnel."""

    name = "tinc"

    def setup(self):
        self.lab.address(RELAY, "lan0", "198.51.100.1")
        self.lab.address(CONTROL, "lan0", "198.51.100.2")
        for name, peer, number in (("relay", "control", 1), ("control", "relay", 2)):
            folder = self.lab.folder / "tinc" / name
            (folder / "hosts").mkdir(parents=True, exist_ok=True)
            (folder / "tinc.conf").write_text(
                f"Name = {name}\nMode = switch\nDeviceType = tap\nInterface = tinc0\nConnectTo = {peer}\n"
            )
            key = run(["openssl", "genrsa", "-traditional", "2048"])
            (folder / "rsa_key.priv").write_text(key)
            (folder / "rsa_key.priv").chmod(0o600)
            public = run(["openssl", "rsa", "-RSAPublicKey_out"], input=key)
            for host in ("relay", "control"):
                hosts = self.lab.folder / "tinc" / host / "hosts"
                hosts.mkdir(parents=True, exist_ok=True)
                (hosts / name).write_text(f"Address = 198.51.100.{number}\n{public}")
        for name, namespace in (("relay", RELAY), ("control", CONTROL)):
            folder = self.lab.folder / "tinc" / name
            command = ["tincd", "-D", "-c", folder, f"--pidfile={folder}/pid"]
            self.spawn(command, namespace, f"tinc-{name}.log")
        for namespace in (RELAY, CONTROL):
            self.lab.eventually(lambda ns=namespace: run(f"ip -n {ns} link show tinc0", check=False))
        self.lab.bridge(RELAY, "tinc0", "eth1")
        self.lab.address(CLIENT, "eth0", CLIENT_ADDRESS)
        self.lab.address(CONTROL, "tinc0", SERVER_ADDRESS)


class L2link(Contender):
    """This product."""

    link = ""

    def setup(self):
        folder = self.lab.folder / self.name.replace(" ", "-")
        folder.mkdir()
        (folder / "psk").write_text(run(["openssl", "rand", "-base64", "32"]))
        (folder / "psk").chmod(0o600)
        link = f'[link]\ninterface = "lan0"\npsk_file = "psk"\n{self.link}'
        (folder / "relay.toml").write_text(
            f'name = "relay1"\n{link}[api]\nsocket = "{folder}/relay.sock"\n'
            '[[port]]\ninterface = "eth1"\n[[port.allow]]\ncontrol = "control1"\n'
        )
        (folder / "control.toml").write_text(
            f'name = "control1"\n{link}[api]\nsocket = "{folder}/control.sock"\n'
            '[[symbol]]\nkind = "interface"\nrelay = "relay1"\nport = "eth1"\nname = "eth1"\n'
        )
        self.lab.address(RELAY, "eth1", SERVER_ADDRESS)
        self.lab.address(CLIENT, "eth0", CLIENT_ADDRESS)
        target = self.lab.target
        self.spawn([target / "l2relay", "--config", folder / "relay.toml"], RELAY, "l2relay.log")
        self.spawn([target / "l2control", "--config", folder / "control.toml"], CONTROL, "l2control.log")
        self.relay_socket = folder / "relay.sock"


class Sealed(L2link):
    name = "l2link sealed"


class Encrypted(L2link):
    name = "l2link encrypted"
    link = "encrypt = true\n"


class Clear(L2link):
    name = "l2link clear"
    link = 'data = "clear"\n'


CONTENDERS = [Plain, Vxlan, Tinc, Sealed, Clear, Encrypted]

"""What this product is compared with: what the kernel has, and programs that join networks at layer 2."""

from contenders import CLIENT_ADDRESS, SERVER_ADDRESS, UNDERLAY, Contender
from lab import CLIENT, CONTROL, RELAY, join_what_comes, run


class Plain(Contender):
    """A veth from client to server: the limit of this machine."""

    name = "plain veth"
    segment = False

    def setup(self):
        run(f"ip -n {CLIENT} link add eth0 type veth peer name eth1 netns {CONTROL}")
        self.ends("eth0", "eth1")


class Bridge(Contender):
    """The kernel's bridge on the relay, which joins both segments to one: no tunnel at all."""

    name = "kernel bridge"

    def setup(self):
        self.lab.bridge(RELAY, "lan0", "eth1")
        self.ends("eth0", "lan0")


class Routing(Contender):
    """The kernel as a router between both segments."""

    name = "kernel routing"

    def setup(self):
        self.underlay()
        near = "198.18.0"
        self.lab.address(RELAY, "eth1", f"{near}.1", self.lab.mtu)
        self.lab.address(CLIENT, "eth0", f"{near}.2", self.lab.mtu)
        run("sysctl -qw net.ipv4.ip_forward=1", RELAY)
        run(f"ip -n {CLIENT} addr add {CLIENT_ADDRESS}/32 dev lo")
        run(f"ip -n {CONTROL} addr add {SERVER_ADDRESS}/32 dev lo")
        run(f"ip -n {CLIENT} route add {SERVER_ADDRESS} via {near}.1 src {CLIENT_ADDRESS}")
        run(f"ip -n {RELAY} route add {CLIENT_ADDRESS} via {near}.2")
        run(f"ip -n {RELAY} route add {SERVER_ADDRESS} via {UNDERLAY}.2")
        run(f"ip -n {CONTROL} route add {CLIENT_ADDRESS} via {UNDERLAY}.1 src {SERVER_ADDRESS}")


class Vxlan(Contender):
    """The kernel's VXLAN over the segment, bridged to the relay's port."""

    name = "kernel VXLAN"

    def setup(self):
        self.underlay()
        tunnel = f"type vxlan id 7 dstport 4789 local {UNDERLAY}.{{}} remote {UNDERLAY}.{{}}"
        run(f"ip -n {RELAY} link add vx0 mtu {self.lab.mtu - 50} {tunnel.format(1, 2)}")
        run(f"ip -n {CONTROL} link add eth1 {tunnel.format(2, 1)}")
        self.lab.bridge(RELAY, "vx0", "eth1")
        self.ends("eth0", "eth1", overhead=50)


class JoiningVxlan(Vxlan):
    """The same over a segment whose ends join packets that come, as below the fast path."""

    name = "kernel VXLAN GRO"

    def setup(self):
        join_what_comes()
        super().setup()


class Tinc(Contender):
    """tinc in switch mode, the common user-space layer-2 tunnel."""

    name = "tinc"
    OVERHEAD = 80

    def setup(self):
        self.underlay()
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
                (hosts / name).write_text(f"Address = {UNDERLAY}.{number}\n{public}")
        for name, namespace in (("relay", RELAY), ("control", CONTROL)):
            folder = self.lab.folder / "tinc" / name
            command = ["tincd", "-D", "-c", folder, f"--pidfile={folder}/pid"]
            self.spawn(command, namespace, f"tinc-{name}.log")
        for namespace in (RELAY, CONTROL):
            self.lab.eventually(lambda ns=namespace: run(f"ip -n {ns} link show tinc0", check=False))
        run(f"ip -n {RELAY} link set tinc0 mtu {self.lab.mtu - self.OVERHEAD}")
        self.lab.bridge(RELAY, "tinc0", "eth1")
        self.ends("eth0", "tinc0", overhead=self.OVERHEAD)


class Ovs(Contender):
    """Open vSwitch with its datapath in user space, and a VXLAN tunnel of its own."""

    name = "OVS user space"

    def setup(self):
        for number, peer, namespace in ((1, 2, RELAY), (2, 1, CONTROL)):
            folder = self.lab.folder / f"ovs{number}"
            folder.mkdir()
            database = f"unix:{folder}/db.sock"
            run(["ovsdb-tool", "create", folder / "conf.db", "/usr/share/openvswitch/vswitch.ovsschema"])
            words = ["ovsdb-server", folder / "conf.db", f"--remote=p{database}", f"--unixctl={folder}/database.ctl"]
            self.spawn(words, namespace, f"ovsdb{number}.log")
            self.lab.eventually((folder / "db.sock").exists)
            vsctl = ["ovs-vsctl", f"--db={database}", "--timeout=20"]
            run([*vsctl, "--no-wait", "init"])
            environment = ["env", f"OVS_RUNDIR={folder}", "ovs-vswitchd", database, f"--unixctl={folder}/switch.ctl"]
            self.spawn(environment, namespace, f"ovs{number}.log")
            for bridge in ("under", "over"):
                run([*vsctl, "add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev"])
            run([*vsctl, "add-port", "under", "lan0"])
            self.lab.address(namespace, "under", f"{UNDERLAY}.{number}", self.lab.mtu)
            options = ["type=vxlan", f"options:remote_ip={UNDERLAY}.{peer}", f"options:local_ip={UNDERLAY}.{number}"]
            run([*vsctl, "add-port", "over", "vx0", "--", "set", "interface", "vx0", *options])
            if namespace == RELAY:
                run([*vsctl, "add-port", "over", "eth1"])
        self.ends("eth0", "over", overhead=50)
        # It forwards what has no checksum yet as it is.
        for namespace, interface in ((CLIENT, "eth0"), (CONTROL, "over")):
            run(f"ethtool -K {interface} tx off tso off gso off", namespace)


class Socat(Contender):
    """socat between a TAP device and UDP at either end, the simplest tunnel there is."""

    name = "socat"

    def setup(self):
        self.underlay()
        for number, peer, namespace in ((1, 2, RELAY), (2, 1, CONTROL)):
            tap = "TUN,tun-type=tap,tun-name=tap0,iff-no-pi,iff-up"
            udp = f"UDP-DATAGRAM:{UNDERLAY}.{peer}:9000,bind={UNDERLAY}.{number}:9000"
            self.spawn(["socat", "-b", "65536", tap, udp], namespace, f"socat{number}.log")
            self.lab.eventually(lambda ns=namespace: run(f"ip -n {ns} link show tap0", check=False))
        run(f"ip -n {RELAY} link set tap0 mtu {self.lab.mtu - 42}")
        self.lab.bridge(RELAY, "tap0", "eth1")
        self.ends("eth0", "tap0", overhead=42)


PEERS = [Plain, Bridge, Routing, Vxlan, JoiningVxlan, Ovs, Tinc, Socat]

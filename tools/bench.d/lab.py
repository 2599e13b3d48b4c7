"""Namespaces, commands in them, and what must be installed and built."""

import json
import os
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CLIENT, RELAY, CONTROL = (f"l2bench{os.getpid()}-{name}" for name in ("client", "relay", "control"))
PACKAGES = {
    "openssl": "openssl",
    "ip": "iproute2",
    "ping": "iputils-ping",
    "iperf3": "iperf3",
    "ethtool": "ethtool",
    "tincd": "tinc",
    "nft": "nftables",
    "/usr/lib/frr/bfdd": "frr",
    "nginx": "nginx-light",
    "/usr/lib/nginx/modules/ngx_stream_module.so": "libnginx-mod-stream",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "curl": "curl",
    "socat": "socat",
    "clang": "clang",
    "/usr/include/bpf/bpf_helpers.h": "libbpf-dev",
    "/usr/include/libelf.h": "libelf-dev",
    "/usr/include/zlib.h": "zlib1g-dev",
    "ovs-vswitchd": "openvswitch-switch",
}


def run(command, namespace=None, check=True, timeout=60, **options):
    """Runs a command, in a namespace if one is named, and returns what it printed."""
    words = command.split() if isinstance(command, str) else command
    if namespace:
        words = ["ip", "netns", "exec", namespace, *words]
    result = subprocess.run(words, capture_output=True, text=True, timeout=timeout, **options)
    if check and result.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


class Lab:
    """Namespaces, made afresh for each contender and always removed."""

    def __init__(self, folder, target, mtu=1500):
        self.folder = folder
        self.target = target
        self.mtu = mtu

    def __enter__(self):
        for namespace in (CLIENT, RELAY, CONTROL):
            run(f"ip netns add {namespace}")
            run(f"ip -n {namespace} link set lo up")
            run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1", namespace)
        return self

    def __exit__(self, *_):
        for namespace in (CLIENT, RELAY, CONTROL):
            run(f"ip netns del {namespace}", check=False)

    def cables(self):
        """The client's cable to the relay with offloads, and the segment without."""
        run(f"ip -n {CLIENT} link add eth0 type veth peer name eth1 netns {RELAY}")
        run(f"ip -n {RELAY} link add lan0 type veth peer name lan0 netns {CONTROL}")
        run(f"ip -n {RELAY} link set eth1 mtu {self.mtu} up")
        for namespace in (RELAY, CONTROL):
            run(f"ip -n {namespace} link set lan0 mtu {self.mtu} up")
            without_offloads(namespace, "lan0")

    @staticmethod
    def address(namespace, interface, address, mtu=1500):
        run(f"ip -n {namespace} addr add {address}/24 dev {interface}")
        run(f"ip -n {namespace} link set {interface} mtu {mtu} up")

    def bridge(self, namespace, *ports):
        run(f"ip -n {namespace} link add br0 type bridge")
        for port in ports:
            run(f"ip -n {namespace} link set {port} master br0")
            run(f"ip -n {namespace} link set {port} up")
        run(f"ip -n {namespace} link set br0 up")

    @staticmethod
    def eventually(condition, seconds=10):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError("a contender did not come up; see its log")
            time.sleep(0.05)


def without_offloads(namespace, interface):
    """Has each frame be one, as on a cable."""
    run(f"ethtool -K {interface} tx off rx off tso off gso off gro off sg off", namespace)


def join_what_comes():
    """Has the segment's ends join the packets of a TCP flow as they come (GRO), which network cards do by default and veth does not."""
    for namespace in (RELAY, CONTROL):
        run("ethtool -K lan0 gro on", namespace)


def switch(segment, machines):
    """A bridge in the namespace `segment` that joins the interfaces `lan0` of machines."""
    run(f"ip -n {segment} link add br0 type bridge")
    run(f"ip -n {segment} link set br0 up")
    for number, namespace in enumerate(machines, start=1):
        run(f"ip -n {segment} link add port{number} type veth peer name lan0 netns {namespace}")
        run(f"ip -n {segment} link set port{number} master br0 up")
        run(f"ip -n {namespace} link set lan0 up")
        without_offloads(segment, f"port{number}")
        without_offloads(namespace, "lan0")


def build():
    """The folder with the programs, built there if `L2LINK_BIN_DIR` does not name one."""
    if folder := os.environ.get("L2LINK_BIN_DIR"):
        return Path(folder).resolve()
    subprocess.run(
        ["cargo", "build", "--release", "--quiet", "--workspace", "--features", "l2relay/ebpf,l2control/ebpf"],
        cwd=ROOT,
        check=True,
    )
    metadata = json.loads(run(["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=ROOT))
    return Path(metadata["target_directory"]) / "release"


def install(packages=PACKAGES):
    """Installs the packages of programs, or of files, that are missing."""
    pairs = [f"{program}:{package}" for program, package in packages.items()]
    script = 'source tools/prerequisites.sh; install_missing "$@"'
    subprocess.run(["bash", "-ec", script, "tools/bench", *pairs], cwd=ROOT, check=True)

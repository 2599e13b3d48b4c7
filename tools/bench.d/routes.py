"""A great table from the control's kernel to the relay's, beside `ip -batch` that loads it into one kernel."""

import random
import subprocess
import time
from pathlib import Path

from lab import Lab, run
from router import CONTROL, PREFIX, PORTS, RELAY, Router, Transit

PEER = PREFIX + "peer"
GATEWAYS = [(f"{network}.{host}", port) for port, (_, network) in PORTS.items() for host in range(11, 19)]
PATIENCE = 120  # seconds for any of the steps
WIDTH = 42
BURST = 100_000  # changes
ROUNDS = 20  # at most so many bursts until the kernel has dropped messages to the stopped control
PATIENT_MS = 10_000  # the control is stopped for some seconds, and is not to be taken for dead meanwhile
SEED = 1
NETLINK_ROUTE, IPV4_ROUTE = "0", 1 << 6  # a protocol and a group as /proc/net/netlink shows them


def study(folder, target, quick):
    count = 100_000 if quick else 1_000_000
    table = prefixes(count)
    figures = {}
    print(f"\n{'routes':{WIDTH}}{'ip -batch, s':>14}{'l2link, s':>12}{'ratio':>8}{'pings':>8}{'lost':>7}")
    peer = load_peer(folder, table)
    with Router(folder, target, routes=False, keepalive_ms=PATIENT_MS) as router:
        batch(CONTROL, folder, (f"route add {prefix} {by(number)}" for number, prefix in enumerate(table)))
        begin = time.monotonic()
        with Transit() as transit:
            router.hand_over(routes=True)
            took = installed(router, count) - begin
        figures |= row(f"{count:,} there at the control's start", peer, took, transit)
        same_tables()

        batch(CONTROL, folder, (f"route del {prefix}" for prefix in table))
        installed(router, 0)

        peer = load_peer(folder, table)
        begin = time.monotonic()
        with Transit() as transit:
            batch(CONTROL, folder, (f"route add {prefix} {by(number)}" for number, prefix in enumerate(table)))
            took = installed(router, count) - begin
        figures |= row(f"{count:,} loaded while it runs", peer, took, transit)
        same_tables()

        with Transit() as transit:
            took, dropped = burst(router, folder, table)
        figures |= row(f"{BURST:,} changes, {dropped:,} messages lost", None, took, transit)
        same_tables()
        memory = {"l2control": router.memory("control"), "l2relay": router.memory("relay")}
    print("greatest memory: " + ", ".join(f"{name} {value:.0f} MB" for name, value in memory.items()))
    return figures | {"memory, MB": memory}


def prefixes(count):
    """Distinct prefixes in the order of no address: of five, three are a /24 and two a /32."""
    networks, hosts = count * 3 // 5, count - count * 3 // 5
    table = [f"{11 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24" for n in range(networks)]
    spread = (h * 37 for h in range(hosts))
    table += [f"{100 + (h >> 24)}.{h >> 16 & 255}.{h >> 8 & 255}.{h & 255}/32" for h in spread]
    random.Random(SEED).shuffle(table)
    return table


def by(number):
    gateway, port = GATEWAYS[number % len(GATEWAYS)]
    return f"via {gateway} dev {port}"


def batch(namespace, folder, lines):
    """Has `ip` do all lines; returns how long that took, without the writing of the file."""
    path = folder / "batch"
    path.write_text("\n".join(lines) + "\n")
    begin = time.monotonic()
    run(["ip", "-n", namespace, "-batch", str(path)], timeout=PATIENCE)
    return time.monotonic() - begin


def load_peer(folder, table):
    """Seconds in which `ip -batch` loads a table into the kernel of a namespace without anybody of ours."""
    run(f"ip netns add {PEER}")
    try:
        for port, (_, network) in PORTS.items():
            run(f"ip -n {PEER} link add {port} type veth peer name {port}-far")
            run(f"ip -n {PEER} link set {port}-far up")
            Lab.address(PEER, port, f"{network}.1")
        return batch(PEER, folder, (f"route add {prefix} {by(number)}" for number, prefix in enumerate(table)))
    finally:
        run(f"ip netns del {PEER}")


def installed(router, count):
    """Waits until the control knows that the relay has installed so many routes, and no other; returns when that was."""
    deadline = time.monotonic() + PATIENCE
    while True:
        counters = router.counters("control")
        now = time.monotonic()
        if all(counters[name] == count for name in ("routes", "routes-told", "routes-installed")):
            return now
        if now > deadline:
            shown = {name: value for name, value in counters.items() if name.startswith("route")}
            raise RuntimeError(f"{count} routes were not installed within {PATIENCE} s: {shown}")
        time.sleep(0.02)


def burst(router, folder, table):
    """Changes routes while the control is stopped, until the kernel has lost messages to it.

    Three fifths of the changes give a route another gateway, one quarter delete one, the rest add one. What was deleted and
    added is undone and done again until messages are lost. Returns seconds until the relay has it all, and the number lost.
    """
    replaced, deleted = BURST * 3 // 5, min(BURST // 4, len(table) // 3)
    added = BURST - replaced - deleted
    changes = [f"route replace {prefix} {by(number + 1)}" for number, prefix in enumerate(table[deleted:][:replaced])]
    changes += [f"route add 200.{n >> 8 & 255}.{n & 255}.0/24 {by(n)}" for n in range(added)]
    changes += [f"route del {prefix}" for prefix in table[:deleted]]
    undo = [f"route add {prefix} {by(number)}" for number, prefix in enumerate(table[:deleted])]
    undo += [f"route del 200.{n >> 8 & 255}.{n & 255}.0/24" for n in range(added)]
    before = drops(router.control.pid)
    router.control.send_signal(subprocess.signal.SIGSTOP)
    try:
        batch(CONTROL, folder, changes)
        rounds = 1
        while drops(router.control.pid) == before:
            if rounds == ROUNDS:
                raise RuntimeError(f"the kernel lost no message to the control in {ROUNDS} bursts")
            batch(CONTROL, folder, undo)
            batch(CONTROL, folder, changes)
            rounds += 1
        dropped = drops(router.control.pid) - before
    finally:
        router.control.send_signal(subprocess.signal.SIGCONT)
    begin = time.monotonic()
    return installed(router, len(table) - deleted + added) - begin, dropped


def drops(pid):
    """Messages of routes that the kernel has lost so far for want of room in the sockets of a process's namespace."""
    lines = Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]
    sockets = [line.split() for line in lines]  # sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
    return sum(int(words[8]) for words in sockets if words[1] == NETLINK_ROUTE and int(words[3], 16) & IPV4_ROUTE)


def same_tables():
    """The relay's kernel has exactly the control's routes, gateways included."""
    wanted = contents(CONTROL, "boot")
    there = contents(RELAY, "108")
    if wanted != there:
        sample = sorted(wanted ^ there)[:4]
        raise RuntimeError(f"{len(wanted - there)} routes are missing at the relay, {len(there - wanted)} too many: {sample}")


def contents(namespace, protocol):
    """Routes of a protocol, without the words for its name."""
    lines = run(f"ip -n {namespace} route show proto {protocol}", timeout=PATIENCE).splitlines()
    return {line.strip() for line in lines}


def row(name, peer, took, transit):
    cells = f"{peer:14.2f}{took:12.2f}{took / peer:8.2f}" if peer else f"{'-':>14}{took:12.2f}{'-':>8}"
    print(f"{name:{WIDTH}}{cells}{transit.sent:8}{transit.lost:7}", flush=True)
    return {name: {"ip -batch, s": peer, "l2link, s": took, "pings": transit.sent, "lost": transit.lost}}

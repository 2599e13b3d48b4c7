"""One service on two servers behind one relay, beside haproxy and nginx's `stream` module in the relay's place.

    client ── eth0 ══ eth1 [relay] lan0 ══ segment ══ lan0 [server1]
                                              ╚══════ lan0 [server2]

The proxies reach the servers by IP over the same honest segment, and their servers see no client's address. wrk asks two
nginxes for a tiny file: with a new connection for every request, and with connections that are kept.

Client, balancer and servers share the cores of one machine, so rates tell the cost of all of them, and how much there is to
gain here at most, the kernel's own translation tells, which has no process at all. How much the balancer itself carries, its
processor time tells; and its rates when its processes have a tenth of a core and all others what they want, so that it is the
balancer that has no more to give, as on a machine of its own. For none of them is in that tenth what the kernel does on its
behalf in the context of others; the time of the whole machine is shown beside it, which tells something if nothing else runs.
"""

import json
import os
import re
import select
import signal
import socket
import statistics
import subprocess
import threading
import time
from pathlib import Path

from budget import OF_A_CORE, machine_time, with_budgets
from carrier import inside
from lab import Lab, run, switch
from report import spread

PREFIX = f"l2bench{os.getpid()}-"
CLIENT, RELAY, SEGMENT = (PREFIX + name for name in ("client", "relay", "segment"))
SERVERS = [PREFIX + "server1", PREFIX + "server2"]
NAMESPACES = [CLIENT, RELAY, SEGMENT, *SERVERS]
CLIENT_ADDRESS, ADDRESS = "192.0.2.2", "192.0.2.1"
PAGE = "served\n"
CONNECTIONS = 32
# Enough that some always wait for a balancer that is slow.
CONNECTIONS_LIMITED = 256
OPENED_PORT, NAMED_PORT = 9000, 7000
PROBE_S = 0.001
STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"
SET_UP, REQUESTS = "connections/s", "requests/s, kept connections"
# Processor time of the balancer's own processes.
SET_UP_COST, REQUEST_COST = "balancer's µs per connection", "balancer's µs per request"
ROWS = (SET_UP, REQUESTS, SET_UP_COST, REQUEST_COST)
# Processor time of all cores, whoever had it.
MACHINE_SET_UP_COST, MACHINE_REQUEST_COST = "machine's µs per connection", "machine's µs per request"
# Periods of the budget at whose end there was none left: near to 1 where it is the balancer that limits the rate.
EXHAUSTED = "share of time with nothing left, connections", "share of time with nothing left, requests"


def study(folder, target, quick):
    contenders = {"haproxy, TCP": Haproxy, "nginx stream": NginxStream, "kernel NAT": KernelNat, "l2link": L2link, "l2link clear": Clear,
                  "l2link kernel": Kernel}
    samples = {name: [] for name in contenders}
    figures = {}
    with Site() as site:
        for number in range(len(SERVERS)):
            site.nginx(folder, number)
        for repeat in range(1 if quick else 3):
            for name, contender in contenders.items():
                print(f"run {repeat + 1}: {name}", flush=True)
                place = folder / f"{name}-{repeat}".replace(", ", "-").replace(" ", "-")
                place.mkdir()
                with contender(place, target):
                    samples[name].append(load(2 if quick else 4))
        limited = with_budgets(LIMITED, folder, target, load, quick)
        for name, runs in samples.items():
            figures[name] = {row: statistics.median(run[row] for run in runs) for row in runs[0]}
        show(figures, ROWS)
        if limited:
            print(f"the balancer's processes with {OF_A_CORE}; \"all\": both l2controls in it, too")
            figures[OF_A_CORE] = spread(limited)
            show(figures[OF_A_CORE], list(figures[OF_A_CORE]["l2link"]))
        place = folder / "times"
        place.mkdir()
        with L2link(place, target) as pair:
            figures["times"] = opened_to_served(target, 30 if quick else 100) | silent_to_served(pair, 3 if quick else 10)
    for name, value in figures["times"].items():
        print(f"{name}: {value:.2f}")
    return figures


# ----------------------------------------------------------------------------------------------------------------------
# The machines


class Site:
    """The namespaces and two web servers, always removed."""

    def __enter__(self):
        self.children = []
        try:
            for namespace in NAMESPACES:
                run(f"ip netns add {namespace}")
                run(f"ip -n {namespace} link set lo up")
                run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1", namespace)
            # Proxies and the client make as many connections as there are ports.
            for namespace in (CLIENT, RELAY):
                run(["sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65000", "net.ipv4.tcp_tw_reuse=1"], namespace)
            run(f"ip -n {CLIENT} link add eth0 type veth peer name eth1 netns {RELAY}")
            Lab.address(CLIENT, "eth0", CLIENT_ADDRESS)
            Lab.address(RELAY, "eth1", ADDRESS)
            machines = [RELAY, *SERVERS]
            switch(SEGMENT, machines)
            for host, namespace in enumerate(machines, start=1):
                Lab.address(namespace, "lan0", f"198.51.100.{host}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        end(self.children)
        for namespace in NAMESPACES:
            for pid in run(f"ip netns pids {namespace}", check=False).split():
                run(f"kill -9 {pid}", check=False)
            run(f"ip netns del {namespace}", check=False)

    def nginx(self, folder, number):
        """A web server with one worker and a tiny page."""
        place = folder / f"server{number + 1}"
        place.mkdir()
        folder.chmod(0o755)
        (place / "index.html").write_text(PAGE)
        (place / "nginx.conf").write_text(
            f"user root; daemon off; worker_processes 1; pid {place}/pid; error_log stderr;\n"
            "worker_rlimit_nofile 20000; events { worker_connections 8192; }\n"
            f"http {{ access_log off; keepalive_requests 1000000; {temporary(place)}\n"
            f"server {{ listen 80 backlog=4096; root {place}; }} }}\n"
        )
        self.children.append(spawn(["nginx", "-e", "stderr", "-c", place / "nginx.conf"], SERVERS[number], folder, place.name))


class Haproxy:
    """haproxy in TCP mode, in the relay's place."""

    # Where the processes are that have a budget, if there is one.
    budgeted = (RELAY,)

    def __init__(self, folder, target, budget=None):
        self.folder, self.target, self.budget = folder, target, budget
        self.children = []

    def __enter__(self):
        forget_connections()
        try:
            self.start()
            Lab.eventually(lambda: run(f"curl -s --max-time 1 http://{ADDRESS}/", CLIENT, check=False) == PAGE)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        end(self.children)

    def start(self):
        servers = "".join(f"  server server{n} 198.51.100.{n + 1}:80\n" for n in (1, 2))
        (self.folder / "haproxy.cfg").write_text(
            "global\n  maxconn 8192\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
            f"listen web\n  bind {ADDRESS}:80 backlog 4096\n  balance roundrobin\n{servers}"
        )
        self.spawn(["haproxy", "-db", "-f", self.folder / "haproxy.cfg"], RELAY, "haproxy")

    def spawn(self, words, namespace, name):
        budget = self.budget if namespace in self.budgeted else None
        self.children.append(spawn(words, namespace, self.folder.parent, f"{self.folder.name}-{name}", budget))
        return self.children[-1]


class NginxStream(Haproxy):
    """nginx as a TCP proxy, in the relay's place."""

    def start(self):
        (self.folder / "nginx.conf").write_text(
            f"load_module {STREAM}; user root; daemon off; worker_processes auto; pid {self.folder}/pid; error_log stderr;\n"
            "worker_rlimit_nofile 20000; events { worker_connections 8192; }\n"
            "stream { upstream web { server 198.51.100.2:80; server 198.51.100.3:80; }\n"
            f"server {{ listen {ADDRESS}:80 backlog=4096; proxy_pass web; }} }}\n"
        )
        self.spawn(["nginx", "-e", "stderr", "-c", self.folder / "nginx.conf"], RELAY, "nginx")


class KernelNat(Haproxy):
    """The kernel's own address translation, in the relay's place: what a balancer that costs next to nothing reaches here,
    as the client and the servers need most of this machine's cores themselves."""

    def start(self):
        for namespace in SERVERS:
            run(f"ip -n {namespace} route replace {CLIENT_ADDRESS} via 198.51.100.1")
        run("sysctl -qw net.ipv4.ip_forward=1", RELAY)
        servers = ", ".join(f"{n} : 198.51.100.{n + 2}" for n in range(len(SERVERS)))
        (self.folder / "nft").write_text(
            "table ip bench {\nchain in {\ntype nat hook prerouting priority dstnat;\n"
            f"ip daddr {ADDRESS} tcp dport 80 dnat to numgen inc mod {len(SERVERS)} map {{ {servers} }}\n}}\n}}\n"
        )
        run(["nft", "-f", self.folder / "nft"], RELAY)

    def __exit__(self, *_):
        run("nft delete table ip bench", RELAY, check=False)
        run("sysctl -qw net.ipv4.ip_forward=0", RELAY)
        for namespace in SERVERS:
            run(f"ip -n {namespace} route del {CLIENT_ADDRESS}", check=False)


class L2link(Haproxy):
    """This product, with sealed data frames."""

    link = ""

    def start(self):
        (self.folder / "psk").write_text(run(["openssl", "rand", "-base64", "32"]))
        (self.folder / "psk").chmod(0o600)
        self.daemon("relay", "relay1", RELAY, '[[port]]\ninterface = "eth1"\n[[port.allow]]\ncontrol = "*"\n')
        symbol = '[[symbol]]\nkind = "interface"\nrelay = "relay1"\nport = "eth1"\n'
        self.controls = [
            self.daemon("control", f"control{n}", namespace, symbol) for n, namespace in enumerate(SERVERS, start=1)
        ]
        self.serve("tcp", 80)

    def daemon(self, kind, name, namespace, more):
        link = f'[link]\ninterface = "lan0"\npsk_file = "psk"\n{self.link}'
        socket_path = f'[api]\nsocket = "{self.folder}/{name}.sock"\n'
        (self.folder / f"{name}.toml").write_text(f'name = "{name}"\n{link}{socket_path}{more}')
        return self.spawn([self.target / f"l2{kind}", "--config", self.folder / f"{name}.toml"], namespace, name)

    def serve(self, protocol, port):
        """Waits until the relay has a rule of both servers for a port."""
        Lab.eventually(lambda: len(self.servers(protocol, port)) == len(SERVERS))

    def servers(self, protocol, port):
        words = [str(self.target / "l2ctl"), "--socket", f"{self.folder}/relay1.sock", "show", "rules", "--json"]
        rules = json.loads(run(words, check=False) or "[]")
        wanted = (protocol, port, "active", None)
        of_port = [r for r in rules if (r["protocol"], r["port_number"], r["state"], r["remote"]) == wanted]
        return {rule["control"] for rule in of_port}


class Clear(L2link):
    link = 'data = "clear"\n'


class Kernel(L2link):
    """With the fast path in the kernel."""

    link = 'data = "clear"\nfast_path = "require"\n'


class Whole(L2link):
    """The controls, which are on the servers' machines, have to make do with the relay's budget."""

    budgeted = (RELAY, *SERVERS)


class WholeKernel(Kernel):
    budgeted = (RELAY, *SERVERS)


# Those whose processes can have a budget: all but the kernel's own.
LIMITED = {"haproxy, TCP": Haproxy, "nginx stream": NginxStream, "l2link": L2link, "l2link clear": Clear,
           "l2link kernel": Kernel, "l2link, all": Whole, "l2link kernel, all": WholeKernel}


def forget_connections():
    """What the contender before has left in TIME-WAIT: tens of thousands, of which a control tells its relay when they meet."""
    for namespace in (CLIENT, RELAY, *SERVERS):
        run("ss --kill --no-header state time-wait", namespace, check=False)


def temporary(place):
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{name}_temp_path {place}/tmp;" for name in names)


def spawn(words, namespace, folder, name, budget=None):
    words = ["ip", "netns", "exec", namespace, *map(str, words)]
    with open(Path(folder) / f"{name}.log", "wb") as log:
        join = budget.join if budget else None
        return subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, preexec_fn=join)


def end(children):
    for child in reversed(children):
        child.terminate()
    for child in children:
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    children.clear()


# ----------------------------------------------------------------------------------------------------------------------
# Load


def load(seconds, budget=None):
    set_up = wrk(seconds, "Connection: close", budget)
    requests = wrk(seconds, "Connection: keep-alive", budget)
    rows = (SET_UP, SET_UP_COST, MACHINE_SET_UP_COST, EXHAUSTED[0]), (REQUESTS, REQUEST_COST, MACHINE_REQUEST_COST, EXHAUSTED[1])
    return dict(zip(rows[0], set_up)) | dict(zip(rows[1], requests))


def wrk(seconds, header, budget):
    """Requests per second; the balancer's and the whole machine's processor time for each in µs; and the share of periods of
    the budget in which it was used up. No request may fail."""
    periods_before = budget.periods() if budget else (0, 0)
    before, machine_before = processor_time(), machine_time()
    connections = CONNECTIONS_LIMITED if budget else CONNECTIONS
    words = f"wrk -t 1 -c {connections} -d {seconds}s --timeout 5s".split()
    said = run([*words, "-H", header, f"http://{ADDRESS}/"], CLIENT, timeout=seconds + 30)
    complaints = [line for line in said.splitlines() if "Socket errors" in line or "Non-2xx" in line]
    if complaints:
        print(f"  {header}: {complaints}", flush=True)
    count = int(re.search(r"(\d+) requests in", said)[1])
    cost, machine_cost = ((processor_time() - before) * 1e6 / count, (machine_time() - machine_before) * 1e6 / count)
    periods, exhausted = (now - then for now, then in zip(budget.periods() if budget else (0, 0), periods_before))
    return float(re.search(r"Requests/sec: +([\d.]+)", said)[1]), cost, machine_cost, exhausted / max(periods, 1)


def processor_time():
    """Seconds of user and system time that all processes in the balancer's namespace have taken."""
    ticks = 0
    for pid in run(f"ip netns pids {RELAY}").split():
        # proc_pid_stat(5): utime and stime are fields 14 and 15; the name, field 2, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def show(figures, rows):
    names, peers = list(figures), [name for name in figures if not name.startswith("l2link")]
    width = max(map(len, rows))
    print(f"\n{'':{width}}" + "".join(f"{name:>16}" for name in names))
    for row in rows:
        print(f"{row:{width}}" + "".join(f"{figures[name][row]:16,.{0 if row in (SET_UP, REQUESTS) else 1}f}" for name in names))
    for peer in peers:
        print(f"\nratio to {peer}")
        for row in rows:
            of_peer = figures[peer][row]
            ratios = (f"{figures[name][row] / of_peer:16.2f}" if of_peer else f"{'-':>16}" for name in names)
            print(f"{row:{width}}" + "".join(ratios))
    print()


# ----------------------------------------------------------------------------------------------------------------------
# Times


def opened_to_served(target, count):
    """From `listen()` to a client's first connection, which it tries to make all the time; on either server."""
    figures = {}
    for server in SERVERS:
        words = [target / "l2bench", "reach", "--listen", f"{ADDRESS}:{OPENED_PORT}", "--netns", CLIENT, "--count", str(count)]
        report = json.loads(run(words, server, timeout=60 + count))
        figures |= {f"listen() to first connection, {server.removeprefix(PREFIX)}, {name}, ms": report[f"{name}_us"] / 1e3
                    for name in ("p50", "p99")}
    return figures


def silent_to_served(pair, count):
    """From a control's silence (its daemon is stopped) to the last datagram of a new flow that is lost."""
    named = []
    for number, namespace in enumerate(SERVERS, start=1):
        with inside(namespace):
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("0.0.0.0", NAMED_PORT))
        threading.Thread(target=answer, args=(server, str(number).encode()), daemon=True).start()
        named.append(server)
    pair.serve("udp", NAMED_PORT)
    times = []
    for number in range(count):
        control = pair.controls[number % len(SERVERS)]
        times.append(dark(control) * 1e3)
        pair.serve("udp", NAMED_PORT)
        time.sleep(0.3)
    return {"silent control to its share re-hashed, p50, ms": statistics.median(times),
            "silent control to its share re-hashed, longest, ms": max(times)}


def answer(server, name):
    while True:
        _, peer = server.recvfrom(100)
        server.sendto(name, peer)


def dark(control):
    """Asks from a new port every millisecond while a control is stopped; seconds to the last question that got no answer."""
    sent, poll = {}, select.poll()
    with inside(CLIENT):
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(900)]
    for client in sockets:
        client.setblocking(False)
        poll.register(client, select.POLLIN)
    by_number = {client.fileno(): client for client in sockets}
    stopped = None
    for count, client in enumerate(sockets):
        if count == 100:
            control.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
        sent[client.fileno()] = time.monotonic()
        client.sendto(b"x", (ADDRESS, NAMED_PORT))
        until = sent[client.fileno()] + PROBE_S
        while (left := until - time.monotonic()) > 0:
            for number, _ in poll.poll(left * 1e3):
                by_number[number].recv(100)
                sent.pop(number, None)
                poll.unregister(number)
    for number, _ in poll.poll(200):
        sent.pop(number, None)
    control.send_signal(signal.SIGCONT)
    for client in sockets:
        client.close()
    return max((when - stopped for when in sent.values()), default=0.0)

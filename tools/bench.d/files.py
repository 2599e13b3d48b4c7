"""Packets per second that one program reads and writes through the files of a port, beside a program with a packet socket at the
symbol of kind interface: the same relay, link and control, one system call for each packet."""

import json
import os
import socket
import struct
import subprocess
import time

from carrier import inside
from contenders import CLIENT_ADDRESS, SERVER_ADDRESS, Sealed
from lab import CLIENT, CONTROL, RELAY, Lab, run
from report import table

PORT = 9
SO_RCVBUFFORCE, ETH_P_ALL = 33, 3  # asm-generic/socket.h, linux/if_ether.h
RECEIVE_BUFFER = 4 << 20  # what the queue of a file holds
LOSS = 0.001  # share of packets that may be lost and the rate still counts
READ, WRITE, ROUTED = "packets/s read, k", "packets/s written, k", "packets/s written to be routed, k"


def study(folder, target, quick):
    results = {}
    for contender in (PacketSocket, Files):
        print(f"measuring: {contender.name}", flush=True)
        with Lab(folder, target) as lab:
            lab.cables()
            program = contender(lab)
            try:
                program.setup()
                program.ready()
                results[contender.name] = program.measure(quick)
            finally:
                program.stop()
    table(results)
    base, files = results[PacketSocket.name], results[Files.name]
    for row in (READ, WRITE):
        files[f"{row}, ratio"] = files[row] / base[row]
        print(f"{row}: files to packet socket {files[f'{row}, ratio']:.2f}")
    return results


class PacketSocket(Sealed):
    """A program with a packet socket at the symbol."""

    name = "packet socket"

    def ready(self):
        self.lab.eventually(lambda: SERVER_ADDRESS in run(f"ip -n {CONTROL} -o addr show"))
        time.sleep(0.5)

    def program(self, verb, *more):
        return ["ip", "netns", "exec", CONTROL, self.lab.target / "l2bench", verb, "--socket", *more]

    def end(self):
        """What the program has as its standard input."""
        with inside(CONTROL):
            end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            end.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            end.bind(("eth1", ETH_P_ALL))
        return end

    def reader(self):
        return self.program("receive", "--port", str(PORT))

    def measure(self, quick):
        self.lab.eventually(self.answers)
        return {READ: highest(self.read, quick), WRITE: highest(self.write, quick)}

    def answers(self):
        """The neighbors know each other."""
        return run(f"ping -c 1 -W 1 {SERVER_ADDRESS}", CLIENT, check=False).count("1 received")

    def read(self, rate=None):
        """Offers datagrams at a rate, or as fast as can be; how many left, and how many the program read."""
        with self.end() as end:
            reader = subprocess.Popen(self.reader(), stdin=end, stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)
        flood = [self.lab.target / "l2bench", "flood", "--to", f"{SERVER_ADDRESS}:{PORT}", "--bytes", "64", "--seconds", "1"]
        sent = json.loads(run(flood + (["--rate", str(rate)] if rate else []), CLIENT))["sent"]
        output, _ = reader.communicate(timeout=40)
        return sent, json.loads(output)["received"]

    def write(self, rate=None, words=None):
        """The program writes at a rate, or as fast as can be; how many it wrote, and how many arrived."""
        where = f"{CLIENT_ADDRESS}:{PORT}"
        command = ["ip", "netns", "exec", CLIENT, self.lab.target / "l2bench", "sink", "--listen", where]
        sink = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)
        words = words or self.program("transmit", "--packet", frame().hex())
        words = [*words, "--seconds", "1", *(["--rate", str(rate)] if rate else [])]
        with self.end() as end:
            sent = json.loads(run(words, stdin=end))["sent"]
        output, _ = sink.communicate(timeout=40)
        return sent, json.loads(output)["received"]


class Files(PacketSocket):
    """A program with a file."""

    name = "files"

    def setup(self):
        super().setup()
        control = self.children[1]
        control.terminate()
        control.wait()
        config = self.lab.folder / "files" / "control.toml"
        self.mount = self.lab.folder / "mounted"
        text = config.read_text().replace('"interface"\nrelay', '"files"\nrelay')
        config.write_text(f'{text}[files]\nmount = "{self.mount}"\n')
        self.control = self.spawn([self.lab.target / "l2control", "--config", config], CONTROL, "l2control.log")

    def ready(self):
        attributes = self.mount / "relay1/eth1/attributes"
        self.lab.eventually(lambda: '"up"' in run([*self.inside(), "cat", attributes], check=False))

    def inside(self):
        return ["nsenter", "-t", str(self.control.pid), "-m", "-n"]

    def program(self, verb, *more, file="packets"):
        path = self.mount / "relay1/eth1" / file
        return [*self.inside(), self.lab.target / "l2bench", verb, "--file", path, *more]

    def end(self):
        return open(os.devnull)

    def reader(self):
        return self.program("receive", file=f"udp/{PORT}")

    def measure(self, quick):
        routed = self.program("transmit", "--packet", frame()[14:].hex(), file="udp/1000")
        return super().measure(quick) | {ROUTED: highest(lambda rate=None: self.write(rate, routed), quick)}


def highest(offer, quick):
    """The highest rate that arrives whole, by search (as RFC 2544, 26.1), in thousands."""
    reached, refused = 0.0, offer()[0]
    while refused - reached > (0.06 if quick else 0.03) * refused:
        rate = (reached + refused) / 2
        if any(carried(*offer(rate), rate) for _ in range(2)):  # on a busy machine one trial may fail by itself
            reached = rate
        else:
            refused = rate
    return reached / 1e3


def carried(sent, received, rate):
    return received >= sent * (1 - LOSS) and sent >= 0.9 * rate


def frame():
    """A datagram of 64 bytes from the port to the client."""

    def mac(namespace, interface):
        row = json.loads(run(f"ip -n {namespace} -json link show dev {interface}"))[0]
        return bytes.fromhex(row["address"].replace(":", ""))

    udp = struct.pack("!HHHH", 1000, PORT, 8 + 64, 0) + b"Z" * 64
    addresses = socket.inet_aton(SERVER_ADDRESS) + socket.inet_aton(CLIENT_ADDRESS)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[12:]
    return mac(CLIENT, "eth0") + mac(RELAY, "eth1") + b"\x08\x00" + header + udp

"""From carrier loss at the relay's port to the symbol down, as the control's kernel tells its programs."""

import ctypes
import os
import select
import socket
import statistics
import struct
import time

from router import CONTROL, LEFT, RELAY, Router

RTM_NEWLINK, NLM_F_REQUEST, NLM_F_ACK, RTMGRP_LINK = 16, 1, 4, 1  # linux/rtnetlink.h
IFF_UP, IFF_LOWER_UP = 1, 1 << 16  # linux/if.h
NLMSG_HEADER = struct.Struct("=IHHII")
IFINFO = struct.Struct("=BxHiII")
CLONE_NEWNET = 0x40000000
PAUSE = 1.2  # Linux tells of one carrier change a second at once and of most others late (net/core/link_watch.c)
PATIENCE = 5


def study(folder, target, quick):
    durations = []
    with Router(folder, target) as router:
        far = Link(LEFT, "eth0")
        port, symbol = Link(RELAY, "eth1"), Link(CONTROL, "eth1")
        for _ in range(20 if quick else 40):
            time.sleep(PAUSE)
            begin = time.monotonic()
            far.set_up(False)
            durations.append((symbol.await_carrier(False) - begin) * 1e3)
            port.await_carrier(False)
            time.sleep(PAUSE)
            far.set_up(True)
            port.await_carrier(True)
            symbol.await_carrier(True)
        router.show("control", "symbols")
    figures = {"p50, ms": statistics.median(durations), "max, ms": max(durations), "count": len(durations)}
    print(
        f"\ncarrier loss at the relay's port to symbol down, {len(durations)} times: "
        f"median {figures['p50, ms']:.2f} ms, longest {figures['max, ms']:.2f} ms"
    )
    return figures


class Link:
    """An interface of a namespace, watched and set by rtnetlink."""

    def __init__(self, namespace, interface):
        with inside(namespace):
            self.index = socket.if_nametoindex(interface)
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self.socket.bind((0, RTMGRP_LINK))

    def set_up(self, up):
        body = IFINFO.pack(socket.AF_UNSPEC, 0, self.index, IFF_UP if up else 0, IFF_UP)
        self.socket.send(NLMSG_HEADER.pack(NLMSG_HEADER.size + len(body), RTM_NEWLINK, NLM_F_REQUEST, 0, 0) + body)

    def await_carrier(self, carrier):
        """Waits until the kernel tells of this carrier; returns when it did."""
        deadline = time.monotonic() + PATIENCE
        while select.select([self.socket], [], [], max(0, deadline - time.monotonic()))[0]:
            data = self.socket.recv(1 << 16)
            now = time.monotonic()
            if any(seen == carrier for seen in self._carriers(data)):
                return now
        raise RuntimeError(f"no carrier {'gain' if carrier else 'loss'} was told within {PATIENCE} s")

    def _carriers(self, data):
        while len(data) >= NLMSG_HEADER.size:
            length, kind, *_ = NLMSG_HEADER.unpack_from(data)
            if kind == RTM_NEWLINK:
                _, _, index, flags, _ = IFINFO.unpack_from(data, NLMSG_HEADER.size)
                if index == self.index:
                    yield bool(flags & IFF_LOWER_UP)
            data = data[(length + 3) & ~3 :]


class inside:
    """This thread in a network namespace for a while."""

    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, namespace):
        self.namespace = f"/run/netns/{namespace}"

    def __enter__(self):
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(self.namespace, os.O_RDONLY)
        self._enter(there)
        os.close(there)

    def __exit__(self, *_):
        self._enter(self.home)
        os.close(self.home)

    def _enter(self, descriptor):
        if self.libc.setns(descriptor, CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

"""Asks every few milliseconds from a new local port, and tells at SIGTERM who answered and what was lost:
tcp|udp ADDRESS PORT"""
import collections
import json
import selectors
import signal
import socket
import sys
import time

INTERVAL, PATIENCE = 0.004, 2.0

kind, address, port = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
answered, lost = collections.Counter(), []
waiting, buffers = {}, collections.defaultdict(bytes)
selector = selectors.DefaultSelector()
ending = False


def end(*_):
    global ending
    ending = True


signal.signal(signal.SIGTERM, end)


def ask():
    now = time.time()
    client = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    client.setblocking(False)
    waiting[client] = now
    client.connect_ex((address, int(port)))
    if kind == "udp":
        client.send(b"x")
    selector.register(client, selectors.EVENT_READ if kind == "udp" else selectors.EVENT_WRITE)


def forget(client, name):
    sent = waiting.pop(client)
    buffers.pop(client, None)
    selector.unregister(client)
    client.close()
    if name:
        answered[name] += 1
        if sum(answered.values()) == 20:
            print("answered 20")
    else:
        lost.append(sent)


def ready(client, event):
    try:
        if event & selectors.EVENT_WRITE:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            selector.modify(client, selectors.EVENT_READ)
            return
        data = client.recv(65536)
        buffers[client] += data
        if kind == "udp" or not data:
            words = buffers[client].decode().split()
            forget(client, words[0] if kind == "udp" else words[-1] if words else None)
    except OSError:
        forget(client, None)


following = time.time()
while not ending or waiting:
    for key, event in selector.select(0.001):
        ready(key.fileobj, event)
    now = time.time()
    if now >= following and not ending:
        following = max(following + INTERVAL, now - 0.1)
        ask()
    for client in [client for client, sent in waiting.items() if now - sent > PATIENCE]:
        forget(client, None)
print(json.dumps({"answered": answered, "lost": sorted(lost)}))

"""Long-lived UDP sockets that ask every 50 ms; prints a list of who answered each, once a round: ADDRESS PORT FLOWS"""
import json
import select
import socket
import sys
import time

address, port, count = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
flows = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(int(count))]
for flow in flows:
    flow.connect((address, int(port)))
names = [None] * len(flows)
told = False
while True:
    for flow in flows:
        flow.send(b"x")
    end = time.monotonic() + 0.05
    while (left := end - time.monotonic()) > 0:
        for flow in select.select(flows, [], [], left)[0]:
            try:
                names[flows.index(flow)] = flow.recv(1000).decode().split()[0]
            except OSError as error:
                names[flows.index(flow)] = str(error)
    if None not in names:
        if not told:
            print("all answered")
            told = True
        print(json.dumps(names))

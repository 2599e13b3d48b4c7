"""Asks from new local ports and prints how often each name answered: tcp|udp ADDRESS PORT COUNT [LENGTH]"""
import collections
import json
import socket
import sys

kind, address, port, count, *length = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
names = collections.Counter()


def by_tcp():
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect((address, int(port)))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while data := client.recv(65536):
            answer += data
        return answer.decode().rpartition("\r\n\r\n")[2]


def by_udp():
    size = int(length[0]) if length else 10
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((address, int(port)))
        client.send(bytes(size))
        name, received = client.recv(65536).decode().split()
        if int(received) != size:
            sys.exit(f"{name} got {received} bytes of {size}")
        return name


for _ in range(int(count)):
    names[by_tcp() if kind == "tcp" else by_udp()] += 1
print(json.dumps(names))

"""Sends bytes to a server and compares what comes back: tcp|udp ADDRESS PORT BYTES"""
import os
import socket
import sys

kind, address, port, length = sys.argv[1:]
data = os.urandom(int(length))
family = socket.AF_INET6 if ":" in address else socket.AF_INET
client = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
client.settimeout(5)
client.connect((address, int(port)))
if kind == "udp":
    client.send(data)
    back = client.recv(65536)
else:
    client.sendall(data)
    back = b""
    while len(back) < len(data):
        piece = client.recv(65536)
        if not piece:
            sys.exit("the server closed the connection")
        back += piece
if back != data:
    sys.exit(f"sent {len(data)} bytes, got {len(back)} others back")

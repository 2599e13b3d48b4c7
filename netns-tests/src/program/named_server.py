"""Answers every datagram with its name, a space, and the datagram's length: PORT NAME"""
import select
import socket
import sys

port, name = sys.argv[1:]
# One for each version of IP: an answer leaves from the address that was asked, whatever other addresses there are.
servers = []
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    server = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET:
        server.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    else:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    server.bind((address, int(port)))
    servers.append(server)

print("listening")


def answer(server):
    data, control, _, peer = server.recvmsg(65536, 512)
    if server.family == socket.AF_INET:
        # The interface is left to the routes.
        control = [(level, kind, bytes(4) + info[4:]) for level, kind, info in control]
    server.sendmsg([f"{name} {len(data)}".encode()], control, 0, peer)


while True:
    for server in select.select(servers, [], [])[0]:
        answer(server)

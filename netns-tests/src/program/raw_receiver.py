"""Prints what a raw IP socket gets: 4|6 PROTOCOL [GROUP INTERFACE]"""
import socket
import struct
import sys

version, protocol, *joined = sys.argv[1:]
family = socket.AF_INET if version == "4" else socket.AF_INET6
receiver = socket.socket(family, socket.SOCK_RAW, int(protocol))
if joined:
    group, interface = socket.inet_pton(family, joined[0]), socket.if_nametoindex(joined[1])
    if version == "4":
        request = struct.pack("4s4si", group, bytes(4), interface)
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    else:
        request = struct.pack("16si", group, interface)
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
print("listening")
while True:
    data, peer = receiver.recvfrom(65536)
    # IPv4 raw sockets get the header, IPv6 ones do not.
    print("got", data[20:] if version == "4" else data, "from", peer[0])

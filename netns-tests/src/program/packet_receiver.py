"""Prints the frames that a packet socket gets: INTERFACE PROTOCOL [join=MAC]"""
import socket
import struct
import sys

SOL_PACKET, ADD_MEMBERSHIP, MULTICAST, UNICAST = 263, 1, 0, 3

interface, protocol, *options = sys.argv[1:]
receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
receiver.bind((interface, int(protocol, 0)))
for option in options:
    mac = bytes.fromhex(option.removeprefix("join=").replace(":", ""))
    kind = MULTICAST if mac[0] & 1 else UNICAST
    index = socket.if_nametoindex(interface)
    receiver.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, struct.pack("IHH8s", index, kind, len(mac), mac))
print("listening")
while True:
    frame = receiver.recv(65536)
    print("got", frame[0:6].hex(":"), frame[12:14].hex(), frame[14:].rstrip(b"\0"))

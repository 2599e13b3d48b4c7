"""Sends back what it gets: tcp|udp|mptcp ADDRESS PORT [reuseport] [v6only|dual] [device=NAME] [fork]"""
import os
import socket
import sys
import threading

kind, address, port, *options = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
IPPROTO_MPTCP = 262
stream = kind != "udp"
server = socket.socket(
    family,
    socket.SOCK_STREAM if stream else socket.SOCK_DGRAM,
    IPPROTO_MPTCP if kind == "mptcp" else 0,
)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
for option in options:
    if option == "reuseport":
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    elif option in ("v6only", "dual"):
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, option == "v6only")
    elif option.startswith("device="):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, option[7:].encode())
server.bind((address, int(port)))
if stream:
    server.listen(16)
if "fork" in options:
    # Each of the two holds the listener; the child outlives the parent's death.
    child = os.fork()
    if child:
        print("child", child)

print("listening")


def serve(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


while True:
    if stream:
        connection, _ = server.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()
    else:
        data, peer = server.recvfrom(65536)
        try:
            server.sendto(data, peer)
        except OSError:
            pass  # the way back is gone

"""Sends a frame: INTERFACE DESTINATION TYPE TEXT; TYPE is an EtherType, or `llc` for a frame with a length"""
import socket
import sys

interface, destination, kind, text = sys.argv[1:]
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
sender.bind((interface, 0))
data = text.encode()
if kind == "llc":
    # LLC of IS-IS: ISO network layer protocols, unnumbered information.
    data = bytes.fromhex("fefe03") + data
    middle = len(data).to_bytes(2, "big")
else:
    middle = int(kind, 0).to_bytes(2, "big")
address = bytes.fromhex(destination.replace(":", ""))
sender.send((address + sender.getsockname()[4] + middle + data).ljust(60, b"\0"))

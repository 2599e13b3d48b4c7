"""Sends a packet from a raw IP socket: DESTINATION PROTOCOL INTERFACE TEXT"""
import socket
import sys

destination, protocol, interface, text = sys.argv[1:]
family = socket.AF_INET6 if ":" in destination else socket.AF_INET
sender = socket.socket(family, socket.SOCK_RAW, int(protocol))
sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
sender.sendto(text.encode(), (destination, 0))

"""One UDP socket that asks an echo server again and again, and prints how often it was answered: ADDRESS PORT LENGTH"""
import os
import socket
import sys
import time

address, port, length = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
client = socket.socket(family, socket.SOCK_DGRAM)
client.settimeout(0.2)
count = 0
while True:
    data = os.urandom(int(length))
    try:
        client.sendto(data, (address, int(port)))
        while client.recv(65536) != data:
            pass  # a late answer
        count += 1
        if count % 20 == 0:
            print("answered", count)
    except OSError:
        pass
    time.sleep(0.001)

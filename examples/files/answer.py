"""Answers every UDP packet of a file with itself: python3 answer.py MOUNT/RELAY/PORT/udp/PORT"""
import os, sys

file = os.open(sys.argv[1], os.O_RDWR)
while packet := bytearray(os.read(file, 65536)):
    begin, size, header = (12, 4, 4 * (packet[0] & 15)) if packet[0] >> 4 == 4 else (8, 16, 40)
    source, destination = packet[begin:begin + size], packet[begin + size:begin + 2 * size]
    packet[begin:begin + 2 * size] = destination + source
    packet[header:header + 4] = packet[header + 2:header + 4] + packet[header:header + 2]
    os.write(file, packet)

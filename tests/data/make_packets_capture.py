#!/usr/bin/env python3
"""Writes packets.pcap: one Ethernet frame of each kind that the packets service decodes, for the
comparison with tshark. demo.pcap, which was captured, has TCP over IPv4 only.

Usage: make_packets_capture.py > packets.pcap
"""

import struct
import sys

SYN_OPTIONS = bytes([2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7])


def tcp(payload=b"hello", options=b"", flags=0x18, reserved=0):
    return struct.pack(">HHIIBBHHH", 4000, 80, 0xfffffff0, 0x80000001,
                       (5 + len(options) // 4) << 4 | reserved, flags, 64240, 0xabcd,
                       7) + options + payload


def udp(payload=b"hello", length=None):
    return struct.pack(">HHHH", 53, 5353, 8 + len(payload) if length is None else length,
                       0x1234) + payload


def ipv4(payload, protocol=6, fragment=0, options=b""):
    return struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, 20 + len(options) + len(payload),
                       1, fragment, 64, protocol, 0) + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + \
        options + payload


def ipv6(payload, next_header=6):
    return struct.pack(">IHBB", 0x60000000, len(payload), next_header, 64) + \
        b"\x20\x01\x0d\xb8" + bytes(11) + b"\1" + b"\xfd" + bytes(14) + b"\2" + payload


def ethernet(packet, tags=()):
    kind = 0x800 if packet[0] >> 4 == 4 else 0x86dd
    types = [*tags, kind]
    frame = b"\2" * 12 + struct.pack(">H", types[0])
    for inner in types[1:]:
        frame += struct.pack(">HH", 5, inner)
    return frame + packet


HOP_BY_HOP = bytes([60, 0, 1, 4, 0, 0, 0, 0])
DESTINATION = bytes([6, 0, 1, 4, 0, 0, 0, 0])

FRAMES = [
    *(ethernet(ipv4(tcp(flags=1 << bit))) for bit in range(8)),
    ethernet(ipv4(tcp(reserved=1))),
    ethernet(ipv4(tcp(b"", SYN_OPTIONS, 2))),
    ethernet(ipv4(tcp(options=bytes([1, 1, 0, 9, 9, 9, 9, 9])))),  # bytes behind End-of-Options
    ethernet(ipv4(tcp(options=bytes([1] * 40)))),
    ethernet(ipv4(tcp(options=bytes([1, 3, 40, 9])))),  # an option longer than the header
    ethernet(ipv4(tcp(bytes(range(256)) * 5))),
    ethernet(ipv4(tcp(b"x"))) + bytes(5),  # padding
    ethernet(ipv4(tcp(), options=bytes([7, 4, 4, 0]))),
    ethernet(ipv4(udp(), 17)),
    ethernet(ipv4(udp(b""), 17)) + bytes(18),
    ethernet(ipv6(tcp(options=SYN_OPTIONS))),
    ethernet(ipv6(udp(), 17)),
    ethernet(ipv6(HOP_BY_HOP + DESTINATION + tcp(), 0)),
    ethernet(ipv6(bytes([6, 0, 0, 0, 0, 0, 0, 9]) + tcp(), 44)),  # whole in one fragment
    ethernet(ipv4(tcp(b"z" * 100), fragment=0x2000)),
    ethernet(ipv4(b"z" * 100, fragment=0x2001)),
    ethernet(ipv4(b"z" * 100, fragment=1)),
    ethernet(ipv6(bytes([17, 0, 0, 1, 0, 0, 0, 9]) + udp(b"z" * 100, 300), 44)),
    ethernet(ipv4(tcp()), [0x8100]),
    ethernet(ipv6(udp(), 17), [0x88a8, 0x8100]),
    ethernet(ipv4(bytes(20), 1)),  # ICMP
    b"\xff" * 12 + struct.pack(">H", 0x806) + bytes(28),  # ARP
]


def main():
    out = sys.stdout.buffer
    out.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1))
    for number, frame in enumerate(FRAMES):
        out.write(struct.pack("<IIII", 1_700_000_000 + number, 1000 * number, len(frame),
                              len(frame)) + frame)
    whole = ethernet(ipv4(tcp(b"snapped" * 10, SYN_OPTIONS)))
    for size in (54, 60, 74, 100):
        out.write(struct.pack("<IIII", 1_700_001_000, 0, size, len(whole)) + whole[:size])


if __name__ == "__main__":
    main()

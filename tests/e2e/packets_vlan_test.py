#!/usr/bin/env python3
"""Filters of live captures find packets in VLAN tags, which the kernel takes off one way and libpcap
puts back another, and behind IPv6 extension headers.

Usage: packets_vlan_test.py <directory of the built programs>, as root. Runs itself again in a
network namespace of its own, which is gone with it.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))
import make_packets_capture as make  # noqa: E402
from packets_page_test import answers, eventually, running  # noqa: E402

HOP_BY_HOP = bytes([17, 0, 1, 4, 0, 0, 0, 0])
UDP4 = make.ipv4(make.udp(), 17)
UDP6 = make.ipv6(make.udp(), 17)
EXTENDED = make.ipv6(HOP_BY_HOP + make.udp(b"hello!"), 0)
FRAMES = {
    "plain": make.ethernet(UDP4),
    "tagged": make.ethernet(UDP4, [0x8100]),
    "QinQ": make.ethernet(UDP4, [0x88a8, 0x8100]),
    "IPv6": make.ethernet(UDP6),
    "tagged IPv6": make.ethernet(UDP6, [0x8100]),
    "QinQ IPv6": make.ethernet(UDP6, [0x88a8, 0x8100]),
    "extended": make.ethernet(EXTENDED),
    "tagged extended": make.ethernet(EXTENDED, [0x8100]),
}
V4 = {"plain", "tagged", "QinQ"}
# make_packets_capture sends from port 53 to 5353, from 10.0.0.1 and 2001:db8::1.
EXPECTED = {
    "": set(FRAMES),
    "p=53": set(FRAMES),
    "udp=true&p.dst=5353": set(FRAMES),
    "h=10.0.0.1": V4,
    "h.src=10.0.0.1&p.src=53": V4,
    "h.src=2001:db8::1": set(FRAMES) - V4,
    "bpf=vlan+5": {"tagged", "tagged IPv6", "tagged extended"},
    "p=54": set(),
    "p=tcp": set(),
}


def captured(query: str, link: socket.socket) -> set[str]:
    """The names of the frames that a client with this query gets, told apart by their sizes. A
    second client, which gets all, says when they have passed."""
    with socket.create_connection(("127.0.0.1", 8080), 20) as client:
        client.sendall(f"GET /api/capture?i=veth-b&{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        lines = client.makefile("rb")
        while lines.readline() not in (b"\r\n", b""):
            pass
        with socket.create_connection(("127.0.0.1", 8080), 20) as witness:
            witness.sendall(b"GET /api/capture?i=veth-b&count=%d HTTP/1.1\r\nHost: x\r\n\r\n" %
                            len(FRAMES))
            ends = witness.makefile("rb")
            while ends.readline() not in (b"\r\n", b""):
                pass
            for frame in FRAMES.values():
                link.send(frame)
            while b"event: close" not in ends.readline():
                pass
        # Of what came before it nothing can follow this.
        client.settimeout(1)
        names = {len(frame): name for name, frame in FRAMES.items()}
        found = set()
        try:
            for line in lines:
                if line.startswith(b"data: {\"timestamp"):
                    found.add(names[json.loads(line[6:])["packet_size"]])
        except TimeoutError:
            pass
        return found


def run(programs: Path, work: Path) -> int:
    for command in ("link set lo up", "link add veth-a type veth peer name veth-b",
                    "link set veth-a up", "link set veth-b up"):
        subprocess.run(["ip", *command.split()], check=True)
    wrong = 0
    with running([str(programs / "stream-serverd"), "--runtime-dir", str(work / "run"), "packets",
                  "-port", "8080"], work / "log"):
        eventually(lambda: answers(8080), "the server")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
            link.bind(("veth-a", 0))
            for query, expected in EXPECTED.items():
                found = captured(query, link)
                if found != expected:
                    wrong += 1
                    print(f"'{query}': missing {sorted(expected - found)}, "
                          f"too many {sorted(found - expected)}")
    print(f"{len(EXPECTED)} filters, {wrong} wrong")
    return 1 if wrong else 0


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 64
    if os.environ.get("PACKETS_VLAN_NAMESPACE") is None:
        os.environ["PACKETS_VLAN_NAMESPACE"] = "own"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    with tempfile.TemporaryDirectory() as work:
        return run(Path(sys.argv[1]).resolve(), Path(work))


if __name__ == "__main__":
    sys.exit(main())

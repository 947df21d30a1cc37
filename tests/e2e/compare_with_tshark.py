#!/usr/bin/env python3
"""Compares, packet by packet, the events of TCP and UDP packets with what tshark(1) finds in them.

Usage: compare_with_tshark.py [--verbose] <packet_events> <capture or directory> ...
       compare_with_tshark.py [--verbose] <packet_events> --fetch

<packet_events> is the program built from tests/worker. --fetch downloads the captures that come
with Debian's source packages tcpdump and wireshark to a temporary directory. Figures:
compare_with_tshark.md. Exit: 0 no difference that is not explained below, 1 differences or nothing
to compare, 2 bad usage.
"""

import argparse
import base64
import collections
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator, Optional

SUFFIXES = {".pcap", ".pcapng", ".cap", ".ntar", ".dmp"}
PACKAGES = ["tcpdump", "wireshark"]

# What the events have, as tshark calls it. No other protocol may claim the payload.
FIELDS = ["frame.number", "frame.protocols", "frame.len", "frame.cap_len", "frame.time_epoch",
          "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.ack_raw",
          "tcp.hdr_len", "tcp.flags", "tcp.window_size_value", "tcp.checksum",
          "tcp.urgent_pointer", "tcp.options", "tcp.len", "tcp.payload", "udp.srcport", "udp.dstport",
          "udp.length", "udp.checksum", "udp.payload"]
PROTOCOLS = {"frame", "eth", "ethertype", "vlan", "ieee8021ad", "sll", "null", "raw", "ip", "ipv6",
             "ipv6.hopopts", "ipv6.routing", "ipv6.dstopts", "ipv6.fraghdr", "ah", "mipv6", "tcp",
             "udp", "data", "ipv6.routing.type.rt0", "ipv6.routing.type.srh",
             "ipv6.routing.type.mipv6", "ipv6.routing.type.crh"}
PREFERENCES = ["ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE",
               "tcp.relative_sequence_numbers:FALSE", "tcp.analyze_sequence_numbers:FALSE",
               "ip.tso_support:TRUE"]


def disable_other_protocols(config: Path) -> None:
    """Writes a configuration directory for tshark."""
    listed = subprocess.run(["tshark", "-G", "protocols"], capture_output=True, check=True)
    names = [line.split("\t")[2] for line in listed.stdout.decode().splitlines()]
    (config / "disabled_protos").write_text(
        "".join(f"{name}\n" for name in names if name not in PROTOCOLS))
    os.environ["WIRESHARK_CONFIG_DIR"] = str(config)


def tshark(capture: Path) -> Iterator[dict[str, str]]:
    command = ["tshark", "-n", "-r", str(capture), "-T", "fields", "-E", "separator=/t", "-E",
               "occurrence=f"]
    for preference in PREFERENCES:
        command += ["-o", preference]
    for field in FIELDS:
        command += ["-e", field]
    result = subprocess.run(command, capture_output=True, timeout=300, check=False)
    for line in result.stdout.decode().splitlines():
        yield dict(zip(FIELDS, line.split("\t")))


class Unusable(Exception):
    """packet_events cannot read the capture."""


def events(program: str, capture: Path) -> Iterator[tuple[int, tuple[int, str]]]:
    """By frame number: the bytes captured, and the JSON or why there is none."""
    result = subprocess.run([program, str(capture)], capture_output=True, timeout=300, check=False)
    if result.returncode == 1:
        raise Unusable(result.stderr.decode().strip())
    if result.returncode != 0:
        raise SystemExit(f"{capture}: packet_events ended with {result.returncode}:\n"
                         f"{result.stderr.decode()}")
    for line in result.stdout.decode().splitlines():
        frame, size, text = line.split("\t", 2)
        yield int(frame), (int(size), text)


def hexadecimal(text: Optional[str]) -> str:
    return base64.b64decode(text or "", validate=True).hex()


def option_bytes(tcp: dict) -> str:
    """The options as they stand in the header."""
    parts = []
    for option in tcp["options"] or []:
        parts.append(f"{option['type']:02x}")
        if option["data"] is not None:
            parts.append(f"{option['length']:02x}{hexadecimal(option['data'])}")
    return "".join(parts) + hexadecimal(tcp["Padding"])


FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "NS"]
BEYOND_CLOCKS = 7_258_118_400_000  # milliseconds; libpcap's reader and tshark's cut such times
RST = 1 << FLAGS.index("RST")


def ours(event: dict) -> dict:
    fields = {"timestamp": event["timestamp"], "length": event["packet_size"],
              "source": event["src_ip"], "destination": event["dst_ip"], "proto": event["proto"]}
    transport = event[event["proto"]]
    fields |= {"source port": transport["src"], "destination port": transport["dst"],
               "checksum": transport["checksum"], "payload": hexadecimal(transport["payload"])}
    if event["proto"] == "udp":
        return fields | {"udp length": transport["length"]}
    return fields | {"seq": transport["seq"], "ack": transport["ack"],
                     "header": transport["data_offset"] * 4,
                     "flags": sum(transport[name] << bit for bit, name in enumerate(FLAGS)),
                     "window": transport["window"], "urgent": transport["urgent"],
                     "options": option_bytes(transport)}


def number(text: str) -> Optional[int]:
    return int(text, 0) if text else None


def milliseconds(time: str) -> int:
    seconds, _, fraction = time.partition(".")
    return int(seconds) * 1000 + int((fraction + "000")[:3])


def theirs(row: dict[str, str], proto: str) -> dict:
    fields = {"timestamp": milliseconds(row["frame.time_epoch"]), "length": int(row["frame.len"]),
              "source": row["ip.src"] or row["ipv6.src"],
              "destination": row["ip.dst"] or row["ipv6.dst"], "proto": proto,
              "source port": number(row[f"{proto}.srcport"]),
              "destination port": number(row[f"{proto}.dstport"]),
              "checksum": number(row[f"{proto}.checksum"]), "payload": row[f"{proto}.payload"]}
    if proto == "udp":
        return fields | {"udp length": number(row["udp.length"])}
    flags = number(row["tcp.flags"])
    return fields | {"seq": number(row["tcp.seq_raw"]), "ack": number(row["tcp.ack_raw"]),
                     "header": number(row["tcp.hdr_len"]),
                     "flags": None if flags is None else flags & 0x1ff,
                     "window": number(row["tcp.window_size_value"]),
                     "urgent": number(row["tcp.urgent_pointer"]),
                     "options": row["tcp.options"].replace("<MISSING>", "")}


EXTENSIONS = {"ipv6.hopopts", "ipv6.routing", "ipv6.dstopts", "ipv6.fraghdr", "ah", "mipv6"}


def transport_of(protocols: str) -> Optional[str]:
    """tcp or udp where it is the payload of the outermost IP packet."""
    names = protocols.split(":")
    begin = next((i for i, name in enumerate(names) if name in ("ip", "ipv6")), len(names))
    rest = [name for name in names[begin + 1:] if name not in EXTENSIONS]
    return rest[0] if rest and rest[0] in ("tcp", "udp") else None


def ends_at_broken_option(mine: str, other: str) -> bool:
    """Events have options up to one that is cut or whose length cannot be."""
    if not re.fullmatch("[0-9a-f]*", other) or not other.startswith(mine):
        return False
    rest = bytes.fromhex(other[len(mine):])
    return len(rest) > 0 and rest[0] > 1 and (
        len(rest) < 2 or rest[1] < 2 or rest[1] > len(rest))


Verdict = tuple[str, str]  # a heading of the table, and details


def compare_packet(row: dict[str, str], text: str) -> Verdict:
    proto = transport_of(row["frame.protocols"])
    if not text.startswith("{"):
        if proto is None:
            return "not TCP or UDP, both say", ""
        last = {"tcp": "tcp.urgent_pointer", "udp": "udp.checksum"}[proto]
        if text == "malformed" and not row[last]:
            return "header cut, both say", ""
        return f"event missing: {text}", row["frame.protocols"]
    mine = ours(json.loads(text))
    if proto is None:
        return "tshark finds no TCP or UDP", row["frame.protocols"]
    other = theirs(row, proto)
    if proto == "tcp" and mine["flags"] & RST and row["tcp.len"] == str(len(mine["payload"]) // 2):
        other["payload"] = mine["payload"]  # tshark calls it the reset's cause, not payload
    if mine["timestamp"] == 0:
        other["timestamp"] = 0
    wrong = {name: (mine[name], other[name]) for name in mine if mine[name] != other[name]}
    if not wrong:
        return f"{proto} equal", ""
    if set(wrong) == {"options"} and ends_at_broken_option(*wrong["options"]):
        return "tcp equal, options up to one that cannot be", ""
    if set(wrong) == {"payload"} and proto == "udp" and other["payload"].startswith(
            mine["payload"]) and len(mine["payload"]) // 2 == mine["udp length"] - 8:
        return "udp equal, payload to the end of the UDP length, tshark's to IP's", ""
    if set(wrong) == {"timestamp"} and other["timestamp"] > BEYOND_CLOCKS:
        return f"{proto} equal, but for a time after the year 2200 in a damaged file", ""
    return "differs", json.dumps(wrong)


def captures(arguments: list[str]) -> Iterator[Path]:
    for argument in map(Path, arguments):
        if argument.is_dir():
            yield from sorted(path for path in argument.rglob("*")
                              if path.suffix in SUFFIXES and path.is_file())
        else:
            yield argument


def compare(program: str, capture: Path, verbose: bool, total: collections.Counter) -> None:
    try:
        said = dict(events(program, capture))
    except Unusable as error:
        total["captures not compared: libpcap cannot read them"] += 1
        if verbose:
            print(f"{capture}: {error}")
        return
    if said and all(text == "other link type" for _, text in said.values()):
        total["captures not compared: of a link type that we do not strip"] += 1
        return
    total["captures compared"] += 1
    for row in tshark(capture):
        frame = int(row["frame.number"])
        if frame not in said:
            total["packets behind where libpcap stops"] += 1
            continue
        size, text = said[frame]
        if size != int(row["frame.cap_len"]):
            total["packets not compared: libpcap cuts at the file's snap length, tshark not"] += 1
            continue
        heading, details = compare_packet(row, text)
        total[heading] += 1
        if details:
            print(f"{capture}:{frame}: {heading}: {details}", flush=True)


def fetch(directory: Path) -> Path:
    apt = directory / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True)
    (apt / "sources.list").write_text("deb-src http://deb.debian.org/debian bookworm main\n")
    (apt / "apt.conf").write_text(
        f'Dir::Etc::SourceList "{apt}/sources.list"; Dir::Etc::SourceParts "-";\n'
        f'Dir::State::Lists "{apt}/lists"; Dir::Cache "{apt}/cache"; APT::Sandbox::User "root";\n')
    environment = {**os.environ, "APT_CONFIG": str(apt / "apt.conf")}
    subprocess.run(["apt-get", "-qq", "update"], env=environment, check=True)
    source = directory / "source"
    source.mkdir()
    # Old Debian patches may be gone from the mirror; only the original tarballs matter here.
    subprocess.run(["apt-get", "-qq", "source", "--download-only", *PACKAGES], env=environment,
                   cwd=source, check=False)
    for tarball in sorted(source.glob("*.orig.tar.*")):
        if tarball.suffix == ".asc":
            continue
        target = directory / "captures" / tarball.name.split("_")[0]
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-xf", str(tarball), "-C", str(target), "--wildcards",
                        *("*" + suffix for suffix in SUFFIXES)], stderr=subprocess.DEVNULL,
                       check=False)
    return directory / "captures"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("program", metavar="packet_events")
    parser.add_argument("captures", nargs="*")
    arguments = parser.parse_args()
    total: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory() as temporary:
        disable_other_protocols(Path(temporary))
        if arguments.fetch:
            arguments.captures.append(str(fetch(Path(temporary))))
        for capture in captures(arguments.captures):
            compare(arguments.program, capture, arguments.verbose, total)
    for heading, count in sorted(total.items()):
        print(f"{count:8} {heading}")
    equal = total["tcp equal"] + total["udp equal"]
    wrong = sum(total[heading] for heading in total
                if heading == "differs" or heading.startswith("event missing"))
    return 0 if equal > 0 and wrong == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

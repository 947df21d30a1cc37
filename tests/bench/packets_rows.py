"""The packets service: how many packets a second, how late, for how many clients, beside others."""

import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import threading
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Callable, Iterator, Optional

from processes import BenchError, Process, children_of, is_listening, wait_until
from server import Ours
from setting import Line, Setting, free_ports

PAYLOAD = 64
LAG = 1.0  # seconds behind the last packet within which its capture must have come
HEAD = b"GET %s HTTP/1.1\r\nHost: bench\r\n\r\n"


class PacketsServer(Ours):
    """stream-serverd with one packets port, on all addresses; `namespace`: in that one."""

    def __init__(self, setting: Setting, namespace: Optional[str] = None, **keys) -> None:
        super().__init__(setting, free_ports(1), False)
        lines = "".join(f"{key} = {value}\n" for key, value in keys.items())
        self.config.write_text(
            f'[daemon]\nuser = ""\n[[service]]\nname = "packets"\nprotocol = "packets"\n'
            f'listen = ["0.0.0.0:{self.ports[0]}"]\n{lines}')
        self._start([*within(namespace), setting.program("stream-serverd"), "--runtime-dir",
                     str(self.directory / "run"), "-c", str(self.config)])

    def workers(self) -> list[int]:
        return children_of(self.process.pid)


def within(namespace: Optional[str]) -> list[str]:
    return ["ip", "netns", "exec", namespace] if namespace else []


class EventStream:
    """A client of /api/capture that has seen the response's head."""

    def __init__(self, port: int, query: str, host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), 10)
        self.socket.sendall(HEAD % f"/api/capture?{query}".encode())
        self.rest = b""
        while b"\r\n\r\n" not in self.rest:
            self._receive()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"/api/capture?{query}: {head.decode()}")

    def _receive(self) -> None:
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise BenchError("the event stream has ended")
        self.rest += piece

    def next_packet(self) -> dict:
        """The next packet event's JSON."""
        while not (found := re.search(rb"\nevent: packet\ndata: (.*)\n\n", self.rest)):
            self._receive()
        self.rest = self.rest[found.end():]
        return json.loads(found[1])

    def close(self) -> None:
        self.socket.close()


class Counter(threading.Thread):
    """Counts a text in what comes from a descriptor, until its end. To be joined before the
    descriptor is closed."""

    def __init__(self, fd: int, text: bytes) -> None:
        super().__init__(daemon=True)
        self._fd = fd
        self._text = text
        self.count = 0
        self.start()

    def run(self) -> None:
        rest = b""
        while piece := self._read():
            whole = rest + piece
            self.count += whole.count(self._text)
            rest = whole[len(whole) - len(self._text) + 1:]

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, 1 << 20)
        except OSError:
            return b""

    def reaches(self, expected: int) -> bool:
        """Whether the count is so high within a short while. tshark loses nothing but falls behind:
        its packets wait in a file."""
        deadline = time.monotonic() + LAG
        while self.count < expected and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.count >= expected


# --- highest rate without a drop


class Link:
    """Two namespaces and a veth pair. What is sent from one goes nowhere in the other."""

    TARGET = "10.98.1.1"  # behind the other end, which does not forward

    def __init__(self) -> None:
        self.sender = f"bench-{os.getpid()}-a"
        self.receiver = f"bench-{os.getpid()}-b"
        self.interface = "veth-b"
        for namespace in (self.sender, self.receiver):
            self._ip("netns", "add", namespace)
            self._ip("-n", namespace, "link", "set", "lo", "up")
        self._ip("-n", self.sender, "link", "add", "veth-a", "type", "veth", "peer", "name",
                 self.interface, "netns", self.receiver)
        self._ip("-n", self.receiver, "link", "set", self.interface, "address",
                 "02:00:00:00:00:0b", "up")
        self._ip("-n", self.sender, "addr", "add", "10.98.0.1/24", "dev", "veth-a")
        self._ip("-n", self.sender, "link", "set", "veth-a", "up")
        self._ip("-n", self.sender, "neigh", "add", "10.98.0.2", "lladdr", "02:00:00:00:00:0b",
                 "dev", "veth-a", "nud", "permanent")
        self._ip("-n", self.sender, "route", "add", f"{self.TARGET}/32", "via", "10.98.0.2")

    @staticmethod
    def _ip(*arguments: str) -> None:
        result = subprocess.run(["ip", *arguments], capture_output=True, check=False)
        if result.returncode != 0:
            raise BenchError(f"ip {' '.join(arguments)}: {result.stderr.decode()}")

    def close(self) -> None:
        for namespace in (self.sender, self.receiver):
            subprocess.run(["ip", "netns", "delete", namespace], stderr=DEVNULL, check=False)

    def send(self, setting: Setting, rate: float, count: int) -> float:
        """The rate that was really reached."""
        process = setting.processes.start(
            [*within(self.sender), setting.program("bench_packet_sender"), "--host", self.TARGET,
             "--port", "9", "--rate", str(rate), "--count", str(count), "--size", str(PAYLOAD)],
            stdout=PIPE, text=True)
        result = json.loads(process.output(60))
        return result["sent"] / result["seconds"]


# Captures while it is open; gives a counter of the packets.
Capturing = Callable[[], contextlib.AbstractContextManager[Counter]]


@contextlib.contextmanager
def _namespace_of(namespace: str) -> Iterator[None]:
    """This thread's sockets belong to the namespace."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net", "rb") as own, open(f"/run/netns/{namespace}", "rb") as other:
        if libc.setns(other.fileno(), 0) != 0:
            raise BenchError(f"setns: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            libc.setns(own.fileno(), 0)


def _by_server(link: Link, server: PacketsServer) -> Capturing:
    @contextlib.contextmanager
    def capturing() -> Iterator[Counter]:
        with _namespace_of(link.receiver):
            stream = EventStream(server.ports[0], f"i={link.interface}&p=udp")
            stream.socket.settimeout(None)  # its descriptor is read
        counter = Counter(stream.socket.fileno(), b"\nevent: packet\n")
        try:
            yield counter
        finally:
            stream.socket.shutdown(socket.SHUT_RDWR)
            counter.join()
            stream.close()
    return capturing


def _by_program(setting: Setting, link: Link, command: list[str], text: bytes,
                ready: str) -> Capturing:
    @contextlib.contextmanager
    def capturing() -> Iterator[Counter]:
        log = setting.new_directory() / "log"
        with open(log, "wb") as errors:
            process = setting.processes.start([*within(link.receiver), *command], stdout=PIPE,
                                              stderr=errors, bufsize=0)
        try:
            wait_until(lambda: ready in log.read_text(errors="replace"), f"{command[0]} captures")
            counter = Counter(process.popen.stdout.fileno(), text)
            try:
                yield counter
            finally:
                process.end()
                counter.join()
        finally:
            process.end()
            process.popen.stdout.close()
    return capturing


def _keeps_up(setting: Setting, link: Link, capturing: Capturing, rate: float) -> bool:
    count = int(rate * setting.amount(1.5, 1.0, 0.2))
    with capturing() as counter:
        begun = _begun(setting, link, counter)
        reached = link.send(setting, rate, count)
        return counter.reaches(begun + count) and reached > 0.9 * rate


def _begun(setting: Setting, link: Link, counter: Counter) -> int:
    """Sends single packets until one is captured: programs say too early that they capture."""
    for _ in range(100):
        link.send(setting, 1, 1)
        if counter.reaches(1):
            return counter.count
    raise BenchError("nothing is captured")


def _highest_rate(setting: Setting, link: Link, capturing: Capturing, first: float) -> float:
    """To within an eighth: doubled from `first` until packets are lost or late, then three
    halvings."""
    good, rate = 0.0, first
    while _keeps_up(setting, link, capturing, rate):
        good, rate = rate, rate * 2
        if rate > 4e6:
            return good
    bad = rate
    for _ in range(3):
        rate = (good + bad) / 2
        if _keeps_up(setting, link, capturing, rate):
            good = rate
        else:
            bad = rate
    return good


def rate(setting: Setting) -> list[Line]:
    if setting.smoke:
        return []
    link = Link()
    try:
        server = PacketsServer(setting, link.receiver)
        marker = b"x" * PAYLOAD
        contenders = {
            "ours": _by_server(link, server),
            "tshark": _by_program(setting, link, ["tshark", "-l", "-n", "-T", "ek", "-i",
                                                  link.interface, "-f", "udp"], b'{"timestamp"',
                                  "Capturing on"),
            "tcpdump": _by_program(setting, link, ["tcpdump", "-i", link.interface, "-U", "-w",
                                                   "-", "udp"], marker, "listening on")}
        last = dict.fromkeys(contenders, 0.0)

        def highest(name: str) -> float:
            last[name] = _highest_rate(setting, link, contenders[name], max(8000, last[name] / 2))
            return last[name]

        rates = setting.alternate({name: lambda name=name: highest(name) for name in contenders},
                                  min(setting.rounds, 3))
        server.stop()
    finally:
        link.close()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratio = statistics.median(a / b if b else 0 for a, b in zip(rates["ours"], rates["tshark"]))
    return [Line("packets-rate", "packets/s to one SSE client, none lost or 1 s late",
                 f"{medians['ours']:,.0f}/s", f"{medians['tshark']:,.0f}/s tshark -l -T ek", ratio,
                 ">= 3", ratio >= 3, rates),
            Line("packets-rate", "the same written to a file", "",
                 f"{medians['tcpdump']:,.0f}/s tcpdump -w -")]


# --- the others


def latency(setting: Setting) -> list[Line]:
    """From just before a datagram is sent to its event, on the loopback interface."""
    server = PacketsServer(setting)
    port = free_ports(1)[0]
    stream = EventStream(server.ports[0], f"i=lo&p.dst={port}&udp=true")
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    late = []
    for _ in range(setting.amount(300, 100, 5)):
        time.sleep(0.01)  # a low rate
        begin = time.monotonic()
        sender.sendto(b"x" * PAYLOAD, ("127.0.0.1", port))
        stream.next_packet()
        late.append((time.monotonic() - begin) * 1e3)
    stream.close()
    server.stop()
    median = statistics.median(late)
    return [Line("packets-latency", "wire to event, 100 packets/s: median", f"{median:.2f} ms", "",
                 None, "<= 5 ms", median <= 5, {"ms": late}),
            Line("packets-latency", "the same: 99th percentile",
                 f"{sorted(late)[int(len(late) * 0.99)]:.2f} ms")]


def _memory_of(pid: int) -> int:
    """Bytes of its own and of its capture rings, which are mapped from sockets."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024


def clients(setting: Setting) -> list[Line]:
    """Each watches a port of its own; packets go to all ports in turn."""
    count = setting.amount(100, 100, 5)
    packets = setting.amount(200, 100, 10)
    ring = 4096
    server = PacketsServer(setting, ring_kib=ring, max_captures=count)
    ports = free_ports(count)
    worker = server.workers()[0]
    before = _memory_of(worker)
    streams = [EventStream(server.ports[0], f"i=lo&p.dst={port}&udp=true") for port in ports]
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(packets):
        for port in ports:
            sender.sendto(str(number).encode(), ("127.0.0.1", port))
        time.sleep(0.01)
    exact = 0
    for port, stream in zip(ports, streams):
        stream.socket.settimeout(10)
        got = [stream.next_packet()["udp"] for _ in range(packets)]
        stream.socket.settimeout(0.01)
        exact += all(udp["dst"] == port for udp in got) and not _more(stream)
    each = (_memory_of(worker) - before) / count / 1024
    for stream in streams:
        stream.close()
    server.stop()
    return [Line("packets-clients", f"of {count} clients with filters, got exactly their packets",
                 str(exact), "", None, f"{count}", exact == count),
            Line("packets-clients", f"memory of each, with a ring of {ring} KiB",
                 f"{each:,.0f} KiB")]


def _more(stream: EventStream) -> bool:
    try:
        stream.next_packet()
    except TimeoutError:
        return False
    return True


NGINX = """worker_processes 1; daemon off; pid {directory}/pid; error_log {directory}/error;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
keepalive_requests 1000000000;
server {{ listen 127.0.0.1:{port}; root {directory}/files; }} }}
"""


def _wrk(setting: Setting, url: str) -> float:
    result = subprocess.run(["wrk", "-t", "1", "-c", "32", "-d",
                             f"{setting.amount(3, 1, 1)}s", url], capture_output=True, text=True,
                            check=False, timeout=60)
    found = re.search(r"Requests/sec:\s+([\d.]+)", result.stdout)
    if not found or "Non-2xx" in result.stdout:
        raise BenchError(f"wrk {url}: {result.stdout}{result.stderr}")
    return float(found[1])


def _nginx(setting: Setting, content: bytes) -> tuple[Process, int]:
    directory = setting.new_directory()
    directory.chmod(0o755)
    directory.parent.chmod(0o755)
    (directory / "files").mkdir()
    (directory / "files" / "interfaces").write_bytes(content)
    port = free_ports(1)[0]
    (directory / "conf").write_text(NGINX.format(directory=directory, port=port))
    with open(directory / "log", "wb") as log:
        process = setting.processes.start(["nginx", "-c", str(directory / "conf"), "-p",
                                           str(directory), "-e", str(directory / "error")],
                                          stdout=log, stderr=log)
    wait_until(lambda: is_listening(port) or process.ended_within(0), "nginx listens")
    return process, port


def requests(setting: Setting) -> list[Line]:
    if setting.smoke:
        return []
    server = PacketsServer(setting)
    with socket.create_connection(("127.0.0.1", server.ports[0]), 10) as client:
        client.sendall(HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") %
                       b"/api/interfaces")
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
    process, port = _nginx(setting, answer.split(b"\r\n\r\n", 1)[1])
    rates = setting.alternate({
        "ours": lambda: _wrk(setting, f"http://127.0.0.1:{server.ports[0]}/api/interfaces"),
        "nginx": lambda: _wrk(setting, f"http://127.0.0.1:{port}/interfaces")})
    process.end()
    server.stop()
    ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["nginx"]))
    return [Line("packets-requests", "GET /api/interfaces, 32 connections",
                 f"{statistics.median(rates['ours']):,.0f}/s",
                 f"{statistics.median(rates['nginx']):,.0f}/s nginx, a file of that size", ratio,
                 ">= 0.5", ratio >= 0.5, rates)]


ROWS = {"packets-rate": rate, "packets-latency": latency, "packets-clients": clients,
        "packets-requests": requests}

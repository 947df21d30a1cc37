"""Many small things: short connections, short messages."""

from typing import Callable

import peers
from server import Server
from setting import Line, Sample, Setting, median_of, paired_ratio

SIZE = 100
CLIENTS = 8


def _per_second(samples: list[Sample], unit: str) -> str:
    return f"{median_of(samples, lambda s: s.rate):,.0f} {unit}/s"


def _compare(row: str, what: str, unit: str, samples: dict[str, list[Sample]], peer: str,
             least: float, ours: str = "ours") -> Line:
    ratio = paired_ratio(samples[ours], samples[peer], lambda s: s.rate)
    return Line(row, what, _per_second(samples[ours], unit),
                f"{_per_second(samples[peer], unit)} {peer}", ratio, f">= {least:g}",
                ratio >= least,
                {name: {"per_s": [s.rate for s in samples[name]],
                        "cpu_us_each": [s.cpu * 1e6 / s.amount for s in samples[name]]}
                 for name in (ours, peer)})


def _cpu_each(row: str, samples: dict[str, list[Sample]], peer: str) -> Line:
    """Without a target: where the load generator is the slower one, this shows the difference."""
    def microseconds(sample: Sample) -> float:
        return sample.cpu * 1e6 / sample.amount

    return Line(row, "CPU of the server for each",
                f"{median_of(samples['ours'], microseconds):.2f} us",
                f"{median_of(samples[peer], microseconds):.2f} us {peer}",
                paired_ratio(samples["ours"], samples[peer], microseconds))


def short(setting: Setting) -> list[Line]:
    count = setting.amount(20_000, 6_000, 800)
    shared = Server(setting)
    quiet = Server(setting, log_level="warning")
    apart = Server(setting, files="per-connection")

    def load(ports, number: int) -> dict:
        return setting.load("short", ports, clients=CLIENTS, count=number, size=SIZE)

    def ours(server: Server) -> Callable[[], Sample]:
        return lambda: server.measure(lambda: load(server.ports, count), count, count * SIZE)

    def peer(command: peers.Command, number: int) -> Callable[[], Sample]:
        return lambda: peers.measure(setting, command, lambda ports: load(ports, number), number,
                                     number * SIZE, ends_by_itself=False)

    contenders = {"ours": ours(shared), "ours quiet": ours(quiet), "ours apart": ours(apart),
                  "bare loop": peer(peers.bare("short"), count)}
    if not setting.smoke:
        contenders["tcpserver + cat"] = peer(peers.tcpserver_cat, count // 8)
    samples = setting.alternate(contenders)
    for server in (shared, quiet, apart):
        server.stop()
    lines = [_compare("short", "connect, 100 bytes, close; 8 clients", "conn", samples,
                      "bare loop", 0.7),
             _compare("short", "the same, without the log's lines", "conn", samples, "bare loop",
                      0.7, "ours quiet")]
    lines[1].target, lines[1].reached = "", None
    lines.append(_cpu_each("short", samples, "bare loop"))
    if not setting.smoke:
        lines.append(_compare("short", "the same, a file each", "conn", samples,
                              "tcpserver + cat", 10, "ours apart"))
    return lines


def messages(setting: Setting) -> list[Line]:
    count = setting.amount(1_000_000, 400_000, 20_000)
    server = Server(setting)

    def load(ports) -> dict:
        return setting.load("messages", ports, clients=1000, count=count, size=SIZE)

    def ours() -> Sample:
        return server.measure(lambda: load(server.ports), count, count * SIZE)

    def bare() -> Sample:
        return peers.measure(setting, peers.bare("messages"), load, count, count * SIZE,
                             ends_by_itself=False)

    samples = setting.alternate({"ours": ours, "bare epoll loop": bare})
    server.stop()
    return [_compare("messages", "100-byte messages on 1,000 connections", "msg", samples,
                     "bare epoll loop", 0.7),
            _cpu_each("messages", samples, "bare epoll loop")]


ROWS = {"short": short, "messages": messages}

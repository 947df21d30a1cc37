"""What the sandbox of the workers costs, and the descriptors that a service manager keeps: the same
server with and without."""

import statistics
from typing import Callable

from crash_rows import interval_of_median
from processes import BenchError
from server import Server
from setting import MIB, Line, Sample, Setting, median_of, paired_ratio

SIZE = 100
CLIENTS = 8

Pair = Callable[[Setting], dict[str, Server]]


def _sandbox(setting: Setting) -> dict[str, Server]:
    return {"with": Server(setting, sandbox="required"), "without": Server(setting, sandbox="off")}


def _store(setting: Setting) -> dict[str, Server]:
    return {"with": Server(setting, store=True), "without": Server(setting)}


def _alternate(setting: Setting, servers: dict[str, Server],
               load: Callable[[Server], Sample], pairs: int) -> dict[str, list[Sample]]:
    return setting.alternate({name: (lambda it=server: load(it))
                              for name, server in servers.items()}, pairs)


def _end(servers: dict[str, Server], needs_store: bool) -> None:
    if needs_store and not servers["with"].manager.keeps_something():
        raise BenchError("nothing was kept:\n" + servers["with"].log.read_text()[-2000:])
    for server in servers.values():
        server.stop()


def _cpu(row: str, what: str, pair: Pair) -> Callable[[Setting], list[Line]]:
    def measure(setting: Setting) -> list[Line]:
        size = setting.amount(512, 128, 64) * MIB
        pairs = setting.amount(max(31, setting.rounds), max(15, setting.rounds), 3)
        servers = pair(setting)
        samples = _alternate(setting, servers, lambda server: server.measure(
            lambda: setting.load("bulk", server.ports, bytes=size), size, size), pairs)
        _end(servers, pair is _store)
        ratios = [a.cpu / b.cpu for a, b in zip(samples["with"], samples["without"])]
        low, high = interval_of_median(ratios)
        return [Line(row, f"CPU with {what} against without ({len(ratios)} pairs)",
                     f"{median_of(samples['with'], lambda s: s.cpu_per_gb):.3f} s/GB",
                     f"{median_of(samples['without'], lambda s: s.cpu_per_gb):.3f} s/GB without",
                     statistics.median(ratios), f"noise: {low:.3f} to {high:.3f} has 1",
                     low <= 1, {"ratios": ratios})]
    return measure


def _accept(row: str, what: str, pair: Pair) -> Callable[[Setting], list[Line]]:
    """Short connections, a log line for each in a file."""
    def measure(setting: Setting) -> list[Line]:
        count = setting.amount(20_000, 6_000, 800)
        servers = pair(setting)
        samples = _alternate(setting, servers, lambda server: server.measure(
            lambda: setting.load("short", server.ports, clients=CLIENTS, count=count, size=SIZE),
            count, count * SIZE), setting.amount(max(15, setting.rounds), setting.rounds, 3))
        _end(servers, pair is _store)
        ratio = paired_ratio(samples["with"], samples["without"], lambda s: s.rate)
        return [Line(row, f"connect, 100 bytes, close with {what}; 8 clients",
                     f"{median_of(samples['with'], lambda s: s.rate):,.0f} conn/s",
                     f"{median_of(samples['without'], lambda s: s.rate):,.0f} conn/s without",
                     ratio, ">= 0.8", ratio >= 0.8,
                     {name: [s.rate for s in values] for name, values in samples.items()})]
    return measure


ROWS = {"sandbox-cpu": _cpu("sandbox-cpu", "the sandbox", _sandbox),
        "sandbox-accept": _accept("sandbox-accept", "the sandbox", _sandbox),
        "store-cpu": _cpu("store-cpu", "kept descriptors", _store),
        "store-accept": _accept("store-accept", "kept descriptors", _store)}

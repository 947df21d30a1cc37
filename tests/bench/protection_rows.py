"""What it costs to be protected: the same server with a keeper, a sandbox, a store of descriptors, and
without."""

import statistics
from typing import Callable, Sequence

from server import LoneWorker, Ours, Server
from setting import MIB, Line, Sample, Setting, median_of, paired_ratio

SIZE = 100
CLIENTS = 8

Pair = Callable[[Setting], dict[str, Ours]]


def _keeper(setting: Setting) -> dict[str, Ours]:
    return {"with": Server(setting), "without": LoneWorker(setting)}


def _sandbox(setting: Setting) -> dict[str, Ours]:
    return {"with": Server(setting, sandbox="required"), "without": Server(setting, sandbox="off")}


def _store(setting: Setting) -> dict[str, Ours]:
    return {"with": Server(setting, store=True), "without": Server(setting)}


def _alternate(setting: Setting, pair: Pair, load: Callable[[Ours], Sample],
               rounds: int) -> dict[str, list[Sample]]:
    servers = pair(setting)
    samples = setting.alternate({name: (lambda it=server: load(it))
                                 for name, server in servers.items()}, rounds)
    for server in servers.values():
        server.stop()
    return samples


def _interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """The sign test's interval of about 95 %: it assumes nothing about the noise's shape."""
    ordered = sorted(values)
    margin = int(0.98 * len(ordered) ** 0.5 + 0.5)
    middle = len(ordered) / 2
    first = max(0, int(middle - margin))
    last = min(len(ordered) - 1, int(middle + margin))
    return ordered[first], ordered[last]


def _cpu(row: str, what: str, pair: Pair) -> Callable[[Setting], list[Line]]:
    def measure(setting: Setting) -> list[Line]:
        size = setting.amount(512, 128, 64) * MIB
        pairs = setting.amount(max(31, setting.rounds), max(15, setting.rounds), 3)
        samples = _alternate(setting, pair, lambda server: server.measure(
            lambda: setting.load("bulk", server.ports, bytes=size), size, size), pairs)
        ratios = [a.cpu / b.cpu for a, b in zip(samples["with"], samples["without"])]
        low, high = _interval_of_median(ratios)
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
        samples = _alternate(setting, pair, lambda server: server.measure(
            lambda: setting.load("short", server.ports, clients=CLIENTS, count=count, size=SIZE),
            count, count * SIZE), setting.amount(max(15, setting.rounds), setting.rounds, 3))
        ratio = paired_ratio(samples["with"], samples["without"], lambda s: s.rate)
        return [Line(row, f"connect, 100 bytes, close with {what}; 8 clients",
                     f"{median_of(samples['with'], lambda s: s.rate):,.0f} conn/s",
                     f"{median_of(samples['without'], lambda s: s.rate):,.0f} conn/s without",
                     ratio, ">= 0.8", ratio >= 0.8,
                     {name: [s.rate for s in values] for name, values in samples.items()})]
    return measure


ROWS = {"keeper-cpu": _cpu("keeper-cpu", "a keeper", _keeper),
        "sandbox-cpu": _cpu("sandbox-cpu", "the sandbox", _sandbox),
        "sandbox-accept": _accept("sandbox-accept", "the sandbox", _sandbox),
        "store-cpu": _cpu("store-cpu", "kept descriptors", _store),
        "store-accept": _accept("store-accept", "kept descriptors", _store)}

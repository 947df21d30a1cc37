"""What the sandbox of the workers costs: the same server with and without it."""

import statistics

from crash_rows import interval_of_median
from server import Server
from setting import MIB, Line, Sample, Setting, median_of, paired_ratio

SIZE = 100
CLIENTS = 8


def _with_and_without(setting: Setting) -> dict[str, Server]:
    return {"with": Server(setting, sandbox="required"), "without": Server(setting, sandbox="off")}


def cpu(setting: Setting) -> list[Line]:
    size = setting.amount(512, 128, 64) * MIB
    pairs = setting.amount(max(31, setting.rounds), max(15, setting.rounds), 3)
    servers = _with_and_without(setting)

    def run(server: Server) -> Sample:
        return server.measure(lambda: setting.load("bulk", server.ports, bytes=size), size, size)

    samples = setting.alternate({name: (lambda it=server: run(it))
                                 for name, server in servers.items()}, pairs)
    for server in servers.values():
        server.stop()
    ratios = [a.cpu / b.cpu for a, b in zip(samples["with"], samples["without"])]
    low, high = interval_of_median(ratios)
    return [Line("sandbox-cpu", f"CPU with the sandbox against without ({pairs} pairs)",
                 f"{median_of(samples['with'], lambda s: s.cpu_per_gb):.3f} s/GB",
                 f"{median_of(samples['without'], lambda s: s.cpu_per_gb):.3f} s/GB without",
                 statistics.median(ratios), f"noise: {low:.3f} to {high:.3f} has 1",
                 low <= 1, {"ratios": ratios})]


def accept(setting: Setting) -> list[Line]:
    """Short connections, a log line for each in a file."""
    count = setting.amount(20_000, 6_000, 800)
    servers = _with_and_without(setting)

    def run(server: Server) -> Sample:
        return server.measure(lambda: setting.load("short", server.ports, clients=CLIENTS,
                                                   count=count, size=SIZE), count, count * SIZE)

    samples = setting.alternate({name: (lambda it=server: run(it))
                                 for name, server in servers.items()},
                                setting.amount(max(15, setting.rounds), setting.rounds, 3))
    for server in servers.values():
        server.stop()
    ratio = paired_ratio(samples["with"], samples["without"], lambda s: s.rate)
    return [Line("sandbox-accept", "connect, 100 bytes, close with the sandbox; 8 clients",
                 f"{median_of(samples['with'], lambda s: s.rate):,.0f} conn/s",
                 f"{median_of(samples['without'], lambda s: s.rate):,.0f} conn/s without",
                 ratio, ">= 0.8", ratio >= 0.8,
                 {name: [s.rate for s in values] for name, values in samples.items()})]


ROWS = {"sandbox-cpu": cpu, "sandbox-accept": accept}

"""What a worker's death costs, and what it costs to be able to survive it."""

import json
import os
import shutil
import statistics
from pathlib import Path
from subprocess import PIPE

from processes import BenchError
from server import RESTART_AT_ONCE, Server
from setting import LIFETIME, MIB, Line, Sample, Setting, median_of, paired_ratio


def _probe(setting: Setting, connections: int, kills: int) -> dict[str, list[float]]:
    server = Server(setting, restart=RESTART_AT_ONCE, max_connections=connections + 16)
    probe = setting.processes.start(
        [setting.program("bench_recovery_probe"), "--supervisor", str(server.process.pid),
         "--port", str(server.ports[0]), "--connections", str(connections), "--kills", str(kills),
         "--worker-binary", setting.program("stream-worker"), "--lifetime", str(LIFETIME)],
        stdout=PIPE, text=True)
    try:
        figures = json.loads(probe.output(LIFETIME + 10))
    except BenchError as error:
        raise BenchError(f"{error}; the server's log:\n{server.log.read_text()[-4000:]}")
    server.stop()
    return figures


def _probe_rounds(setting: Setting, connections: int, kills: int) -> tuple[list, list]:
    """Recoveries and starts, in ms."""
    recoveries: list[float] = []
    starts: list[float] = []
    for _ in range(setting.rounds):
        figures = _probe(setting, connections, kills)
        recoveries += figures["recovery_ms"]
        starts += figures["start_ms"]
    return recoveries, starts


def recovery_1(setting: Setting) -> list[Line]:
    recoveries, starts = _probe_rounds(setting, 1, setting.amount(40, 20, 5))
    ours, start = statistics.median(recoveries), statistics.median(starts)
    ratio = statistics.median(a / b for a, b in zip(recoveries, starts))
    return [Line("recovery-1", f"SIGKILL to the next byte read ({len(recoveries)} kills)",
                 f"{ours:.2f} ms", f"{start:.2f} ms start+end of worker", ratio, "<= 4",
                 ratio <= 4, {"recovery_ms": recoveries, "start_ms": starts})]


def recovery_5000(setting: Setting) -> list[Line]:
    recoveries, starts = _probe_rounds(setting, setting.amount(5000, 5000, 500),
                                       setting.amount(10, 5, 2))
    ours = statistics.median(recoveries)
    return [Line("recovery-5000", f"the same with 5,000 connections ({len(recoveries)} kills)",
                 f"{ours:.1f} ms", "", None, "<= 150 ms", ours <= 150,
                 {"recovery_ms": recoveries, "start_ms": starts})]


def _with_starved_worker(setting: Setting) -> Path:
    """A directory with our supervisor beside a worker program that lets one port's worker die."""
    directory = setting.new_directory()
    shutil.copy2(setting.program("stream-serverd"), directory / "stream-serverd")
    shutil.copy2(setting.program("bench_starved_worker"), directory / "stream-worker")
    return directory / "stream-serverd"


# The shortest wait of the default settings, for ever: far more restarts than these would make.
LOOPING = 'initial = "100ms"\nmaximum = "100ms"\nquarantine_after = 1000'
PORTS = 64


def _deaths_at_start(server: Server) -> int:
    return server.log.read_text().count("; next start in")


def crash_loop(setting: Setting) -> list[Line]:
    program = _with_starved_worker(setting)
    size = setting.amount(32, 16, 4) * MIB
    deaths: list[float] = []

    def run(starved: bool) -> Sample:
        server = Server(setting, PORTS, program=str(program), restart=LOOPING,
                        variables=lambda ports: {
                            "BENCH_WORKER": setting.program("stream-worker"),
                            "BENCH_STARVED_PORT": str(ports[-1]) if starved else "none"})
        others = server.ports[:-1]
        setting.warm(server.output, size * len(others))
        before = _deaths_at_start(server)
        result = setting.load("bulk", others, bytes=size)
        after = _deaths_at_start(server)
        if (after > 0) != starved:
            raise BenchError(f"{after} workers died; the log:\n{server.log.read_text()[-2000:]}")
        if starved:
            deaths.append((after - before) / result["seconds"])
        if server.stored() != size * len(others):
            raise BenchError("not everything was stored")
        server.stop()
        shutil.rmtree(server.directory)
        return Sample(result["seconds"], 0, size * len(others))

    # Many and short: what is wanted lies within the noise of a few rounds.
    samples = setting.alternate({"alone": lambda: run(False), "beside": lambda: run(True)},
                                setting.amount(max(15, setting.rounds), setting.rounds, 3))
    ratio = paired_ratio(samples["beside"], samples["alone"], lambda s: s.rate)
    shutil.rmtree(os.path.dirname(program))
    return [Line("crash-loop",
                 f"63 ports beside one that dies {statistics.median(deaths):.1f} times a second",
                 f"{median_of(samples['beside'], lambda s: s.rate) / 1e9:.2f} GB/s",
                 f"{median_of(samples['alone'], lambda s: s.rate) / 1e9:.2f} GB/s without it",
                 ratio, ">= 0.95", ratio >= 0.95,
                 {name: [s.rate for s in values] for name, values in samples.items()})]


ROWS = {"recovery-1": recovery_1, "recovery-5000": recovery_5000,
        "crash-loop": crash_loop}

"""What connections cost that do nothing."""

import statistics

from processes import open_files_of, private_dirty_of, wait_until
from server import Server
from setting import MIB, Held, Line, Sample, Setting, median_of, paired_ratio

ROOM = 9_500


def _hold(setting: Setting, server: Server, count: int) -> Held:
    """Until the worker has accepted them all."""
    held = setting.hold(server.ports[0], count)
    worker = server.workers()[0]
    wait_until(lambda: sum(path.startswith("socket:") for path in open_files_of(worker)) >= count,
               f"{count} connections are accepted")
    return held


def _release(held: Held, server: Server) -> None:
    """Until the worker has closed them all, which its few descriptors show."""
    held.release()
    worker = server.workers()[0]
    wait_until(lambda: len(open_files_of(worker)) < 64, "all connections are closed")
    server.clear()


def idle(setting: Setting) -> list[Line]:
    numbers = setting.amount([0, 1000, 5000, 9000], [0, 1000, 5000, 9000], [0, 100])
    size = setting.amount(1024, 256, 64) * MIB
    server = Server(setting, max_connections=ROOM)

    def beside(count: int) -> Sample:
        held = _hold(setting, server, count) if count > 0 else None
        sample = server.measure(lambda: setting.load("bulk", server.ports, bytes=size), size, size)
        if held is not None:
            _release(held, server)
        return sample

    samples = setting.alternate({count: (lambda it=count: beside(it)) for count in numbers})
    server.stop()
    setting.plots["idle"] = [[count, median_of(values, lambda s: s.cpu_per_gb),
                              median_of(values, lambda s: s.rate / 1e9)]
                             for count, values in samples.items()]
    alone = samples[0]
    return [_idle_line(count, samples[count], alone) for count in numbers[1:]]


def _idle_line(count: int, samples: list[Sample], alone: list[Sample]) -> Line:
    ratio = paired_ratio(samples, alone, lambda s: s.rate)
    return Line("idle", f"one busy connection beside {count:,} idle ones",
                f"{median_of(samples, lambda s: s.rate) / 1e9:.2f} GB/s",
                f"{median_of(alone, lambda s: s.rate) / 1e9:.2f} GB/s alone", ratio, ">= 0.9",
                ratio >= 0.9, {"gb_per_s": [s.rate / 1e9 for s in samples],
                               "cpu_s_per_gb": [s.cpu_per_gb for s in samples]})


def idle_memory(setting: Setting) -> list[Line]:
    count = setting.amount(5000, 5000, 200)

    def private(server: Server) -> int:
        return sum(private_dirty_of(pid) for pid in server.worker_and_keeper())

    def each() -> float:
        server = Server(setting, max_connections=ROOM)
        without = private(server)
        held = _hold(setting, server, count)
        more = private(server) - without
        _release(held, server)
        server.stop()
        return more / count

    values = [each() for _ in range(setting.rounds)]
    ours = statistics.median(values)
    return [Line("idle-memory", f"private memory of a connection, of {count:,} idle ones",
                 f"{ours:.0f} bytes", "", None, "<= 1024 bytes", ours <= 1024,
                 {"bytes": values})]


ROWS = {"idle": idle, "idle-memory": idle_memory}

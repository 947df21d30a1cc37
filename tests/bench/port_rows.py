"""What ports cost: starting them, and the memory of a worker with its keeper."""

import statistics
from dataclasses import dataclass

from processes import children_of, private_dirty_of, wait_until
from server import Server
from setting import MIB, Line, Setting

# Per port, the largest number against the smallest but one; the smallest still shows what the
# supervisor itself costs.
LINEAR = 1.3


@dataclass
class Start:
    seconds: float
    memory: float  # private bytes of the largest worker with its keeper


def _memory_of(worker: int) -> int:
    wait_until(lambda: len(children_of(worker)) == 1, "the worker has a keeper")
    return private_dirty_of(worker) + sum(map(private_dirty_of, children_of(worker)))


def _start(setting: Setting, count: int) -> Start:
    server = Server(setting, count)
    memory = max(map(_memory_of, server.workers()))
    server.stop()
    return Start(server.started_in, memory)


def ports200(setting: Setting) -> list[Line]:
    numbers = setting.amount([25, 50, 100, 200], [25, 50, 100, 200], [2, 4, 8])
    samples = setting.alternate({count: (lambda it=count: _start(setting, it))
                                 for count in numbers})
    seconds = {count: statistics.median(s.seconds for s in values)
               for count, values in samples.items()}
    memory = {count: statistics.median(s.memory for s in values) / MIB
              for count, values in samples.items()}
    setting.plots["ports"] = [[count, seconds[count], memory[count]] for count in numbers]
    most, few = numbers[-1], numbers[1]
    growth = (seconds[most] / most) / (seconds[few] / few)
    return [Line("ports200", f"{most} ports ready", f"{seconds[most]:.2f} s", "", None, "<= 2 s",
                 seconds[most] <= 2, {str(count): [s.seconds for s in values]
                                      for count, values in samples.items()}),
            Line("ports200", f"a port of {most} against a port of {few}",
                 f"{seconds[most] / most * 1e3:.2f} ms", f"{seconds[few] / few * 1e3:.2f} ms",
                 growth, f"<= {LINEAR:g} (linear)", growth <= LINEAR),
            Line("ports200", "private memory of an idle worker with its keeper",
                 f"{memory[most]:.2f} MiB", "", None, "<= 1 MiB", memory[most] <= 1)]


ROWS = {"ports200": ports200}
